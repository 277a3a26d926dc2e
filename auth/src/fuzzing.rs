//! Checks of what comes from strangers or from an operator's editor: tokens with their header, key sets, policies. See
//! the root crate's `fuzzing`.

use tidings::{
    access::{Grant, Verb},
    limits::COMMAND_TOKEN_LIFETIME,
};

use crate::{
    KeySource, Policy, SigningKey, Wanted,
    authenticator::bearer,
    keys::{Expected, Keys},
    policy::Named,
};

const SECRET: &[u8] = b"a secret that is long enough for this";
const SUBJECT: &str = "alice";

fn expected() -> Expected {
    Expected { issuer: "issuer".to_owned(), audience: "tidings".to_owned() }
}

fn keys() -> Keys {
    KeySource::Secret(Default::default()).read(SECRET).expect("a secret")
}

fn good() -> String {
    let wanted = Wanted {
        issuer: "issuer".to_owned(),
        audience: "tidings".to_owned(),
        subject: SUBJECT.to_owned(),
        groups: vec!["sales".to_owned()],
        grants: vec![(Verb::Publish, Grant::Prefix("orders.".to_owned()))],
        lifetime: COMMAND_TOKEN_LIFETIME,
    };
    SigningKey::read(SECRET).and_then(|key| key.mint(&wanted)).expect("a token")
}

/// The value of an `authorization` header: a token that is believed is one that was signed, with all that it says.
pub fn check_token(bytes: &[u8]) {
    let Some(token) = bearer(bytes) else { return };
    if let Ok(claims) = keys().check(token, &expected()) {
        assert_eq!(claims.sub, SUBJECT);
        assert_eq!(claims.publish, ["orders.*"]);
        assert!(claims.subscribe.is_empty() && claims.manage.is_empty());
    }
}

/// Tokens that are good, and some that are nearly.
pub fn token_seeds() -> Vec<Vec<u8>> {
    let good = good();
    let parts: Vec<&str> = good.split('.').collect();
    let others = [format!("{}..{}", parts[0], parts[2]), format!("{}.{}.", parts[0], parts[1]), "a.b.c".to_owned()];
    others.into_iter().chain([good.clone()]).map(|token| format!("Bearer {token}").into_bytes()).collect()
}

/// A key set: whatever it is, no token that a stranger made up is believed by it.
pub fn check_key_set(bytes: &[u8]) {
    let Ok(keys) = KeySource::Jwks(Default::default()).read(bytes) else { return };
    // It was signed with a secret, and a key set has none.
    assert!(keys.check(&good(), &expected()).is_err());
}

/// Key sets that are good, and some that are nearly.
pub fn key_set_seeds() -> Vec<Vec<u8>> {
    let (_, public) = SigningKey::generate().expect("a key");
    let rsa = r#"{"keys":[{"kty":"RSA","alg":"RS256","kid":"a","n":"sXch8P0","e":"AQAB"}]}"#;
    let secret = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#;
    [public.as_str(), rsa, secret, r#"{"keys":[]}"#].map(|text| text.as_bytes().to_vec()).into()
}

/// A policy: what it decides is what callers may do.
pub fn check_policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    for (subject, groups) in [(None, &[][..]), (Some(SUBJECT), &[]), (Some("bob"), &["sales".to_owned()])] {
        let named = Named { subject: subject.map(str::to_owned), groups: groups.to_vec() };
        let rights = policy.rights(&named);
        for channel in ["orders.eu", "orders", "news.eu", "a"] {
            for verb in Verb::ALL {
                let decided = matches!(policy.decide(subject, groups, verb, channel), crate::Decision::Yes { .. });
                // Beyond the limit of grants there is less.
                assert!(decided || !rights.covers(verb, channel), "{subject:?} {verb} {channel}");
            }
        }
    }
}

/// Policies that say something.
pub fn policy_seeds() -> Vec<Vec<u8>> {
    let whole = "anonymous = [\"v\"]\n[roles.v]\nsubscribe = [\"news.*\"]\n[roles.c]\npublish = [\"orders.*\", \"a\"]\n\
                 [subjects]\nalice = [\"c\"]\n[groups]\nsales = [\"c\", \"v\"]\n";
    ["", whole, "[roles.a]\nmanage = [\"*\"]\n[subjects]\n\"bob\" = [\"a\"]\n", "[roles.\"a b\"]\n"]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        check_token(token_seeds().last().expect("a good one"));
        tidings_testing::bytes::throw(&token_seeds(), check_token);
    }

    #[test]
    fn key_sets() {
        tidings_testing::bytes::throw(&key_set_seeds(), check_key_set);
    }

    #[test]
    fn policies() {
        tidings_testing::bytes::throw(&policy_seeds(), check_policy);
    }
}

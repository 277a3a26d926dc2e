//! Checks of what comes from strangers or from an operator's editor: headers, tokens, certificates, key sets, policies.
//! See the root crate's `fuzzing`.

use tidings::{
    access::{Grant, Verb},
    limits::{COMMAND_TOKEN_LIFETIME, GRANTS, SUBJECT_BYTES},
};

use crate::{
    ClientCertificate, Decision, Identity, Policy, SigningKey, Wanted,
    certificate::{is_host_name, is_spiffe_id},
    credentials,
    keys::{Expected, Keys},
};

const SECRET: &[u8] = b"a secret that is long enough for this";
const SUBJECT: &str = "alice";

fn expected() -> Expected {
    Expected { issuer: "issuer".to_owned(), audience: "tidings".to_owned() }
}

fn keys() -> Keys {
    Keys::secret(SECRET).expect("a secret")
}

fn good() -> String {
    let wanted = Wanted {
        issuer: "issuer".to_owned(),
        audience: "tidings".to_owned(),
        subject: SUBJECT.to_owned(),
        groups: vec!["sales".to_owned()],
        grants: vec![
            (Verb::Publish, Grant::Prefix("orders.".to_owned())),
            (Verb::Consume, Grant::Exact("mail".to_owned())),
        ],
        lifetime: COMMAND_TOKEN_LIFETIME,
    };
    SigningKey::read(SECRET).and_then(|key| key.mint(&wanted)).expect("a token")
}

/// The value of an `authorization` header: a token that is believed is one that was signed, with all that it says.
pub fn check_token(bytes: &[u8]) {
    let Ok(Some(token)) = credentials::token([bytes].into_iter()) else { return };
    if let Ok(claims) = keys().check(token, &expected()) {
        assert_eq!(claims.sub, SUBJECT);
        assert_eq!(claims.publish, ["orders.*"]);
        assert_eq!(claims.consume, ["mail"]);
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

/// The `authorization` headers of a call, a line each: a token of them is all of one header but its scheme.
pub fn check_headers(bytes: &[u8]) {
    let headers: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    match credentials::token(headers.iter().copied()) {
        Err(credentials::NoToken) => {}
        Ok(None) => panic!("there is a header, and it is passed over"),
        Ok(Some(token)) => {
            assert_eq!(headers.len(), 1, "which of them counts?");
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "{token:?}");
            let (scheme, rest) = headers[0].split_at("bearer ".len());
            assert!(scheme.eq_ignore_ascii_case(b"bearer "));
            assert_eq!(rest.trim_ascii(), token.as_bytes());
        }
    }
}

/// Headers that hold a token, and some that nearly do.
pub fn header_seeds() -> Vec<Vec<u8>> {
    let good = [b"Bearer ", good().as_bytes()].concat();
    let twice = [&good[..], b"\n", &good].concat();
    [&b""[..], b"Bearer", b"bearer  a.b.c ", b"Basic YTpi", b"Bearer a b", b"BEARER\ta", &good, &twice]
        .map(<[u8]>::to_vec)
        .into()
}

/// A client's certificate in DER: whoever it is said to be has exactly one name, written in one way.
pub fn check_certificate(bytes: &[u8]) {
    let Ok(certificate) = ClientCertificate::read(bytes) else { return };
    let name = certificate.name();
    let is_host = is_host_name(name) && name == name.to_ascii_lowercase();
    assert!(is_host != is_spiffe_id(name), "{name:?}");
    assert!(name.len() <= SUBJECT_BYTES);
    // It stands there as it is said, but for a host's capitals.
    let stands = bytes.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
    assert!(stands, "{name:?} is not in it");
}

/// Certificates with names of all kinds: those of `certificate/seeds`, and nearly some.
pub fn certificate_seeds() -> Vec<Vec<u8>> {
    let seeds = [&include_bytes!("certificate/seeds/spiffe.der")[..], include_bytes!("certificate/seeds/dns.der")];
    seeds.into_iter().chain([&b""[..], b"\x30\x00"]).map(<[u8]>::to_vec).collect()
}

/// A key set: whatever it is, no token that a stranger made up is believed by it.
pub fn check_key_set(bytes: &[u8]) {
    let Ok(keys) = Keys::jwks(bytes) else { return };
    // It was signed with a secret, and a key set has none.
    assert!(keys.check(&good(), &expected()).is_err());
}

/// Key sets that are good, and some that are nearly.
pub fn key_set_seeds() -> Vec<Vec<u8>> {
    let (_, public) = SigningKey::generate().expect("a key");
    let rsa = r#"{"keys":[{"kty":"RSA","alg":"RS256","kid":"a","n":"sXch8P0","e":"AQAB"}]}"#;
    let mixed = r#"{"keys":[{"kty":"RSA","use":"enc","alg":"RSA-OAEP","n":"sXch8P0","e":"AQAB"},{"kty":"EC","crv":"P-256","key_ops":["verify"],"x":"AA","y":"AA"}]}"#;
    let secret = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#;
    [public.as_str(), rsa, mixed, secret, r#"{"keys":[]}"#].map(|text| text.as_bytes().to_vec()).into()
}

/// A policy: what it decides is what callers may do.
pub fn check_policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    let sales = || vec!["sales".to_owned()];
    for (subject, groups, certificate) in [
        (None, Vec::new(), None),
        (Some(SUBJECT), Vec::new(), None),
        (Some("bob"), sales(), None),
        (None, Vec::new(), Some("a.example")),
        (Some("bob"), sales(), Some("spiffe://a/b")),
        (Some("root"), sales(), Some("spiffe://a/b")),
    ] {
        let [subject, certificate] = [subject, certificate].map(|name| name.map(str::to_owned));
        let identity = Identity { subject, groups, certificate };
        let rights = policy.rights(&identity);
        for name in ["orders.eu", "orders", "news.eu", "a"] {
            for verb in Verb::ALL {
                let decided = matches!(policy.decide(&identity, verb, name), Decision::Yes(_));
                assert_eq!(decided, rights.covers(verb, name), "{identity:?} {verb} {name}");
            }
        }
    }
}

/// Policies that say something.
pub fn policy_seeds() -> Vec<Vec<u8>> {
    let whole = "anonymous = [\"v\"]\n[roles.v]\nsubscribe = [\"news.*\"]\n[roles.c]\npublish = [\"orders.*\", \"a\"]\n\
                 consume = [\"orders.*\"]\n\
                 [subjects]\nalice = [\"c\"]\n[groups]\nsales = [\"c\", \"v\"]\n[certificates]\n\"a.example\" = [\"v\"]\n\
                 \"spiffe://a/*\" = [\"c\"]\n";
    let small = ["", whole, "[roles.a]\nmanage = [\"*\"]\n[subjects]\n\"bob\" = [\"a\"]\n", "[roles.\"a b\"]\n"];
    small.into_iter().map(str::to_owned).chain([full_policy()]).map(String::into_bytes).collect()
}

/// More grants than are looked at: each role is within its limit, and those of two together are not; nor is what a
/// token and a certificate have in common.
fn full_policy() -> String {
    let names = |from: usize, last: &str| {
        let names = (from..from + GRANTS - 1).map(|n| format!("\"n{n}\", ")).collect::<String>();
        format!("publish = [{names}\"{last}\"]")
    };
    format!(
        "[roles.a]\n{}\n[roles.b]\n{}\n[roles.c]\npublish = [\"n*\", \"o*\", \"a\", \"news.eu\"]\n\
         [subjects]\nalice = [\"a\", \"b\"]\nbob = [\"b\"]\nroot = [\"c\"]\n\
         [groups]\nsales = [\"a\"]\n[certificates]\n\"spiffe://a/*\" = [\"c\"]\n",
        names(0, "orders"),
        names(GRANTS, "a"),
    )
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
    fn headers() {
        tidings_testing::bytes::throw(&header_seeds(), check_headers);
    }

    #[test]
    fn certificates() {
        for (seed, name) in certificate_seeds().iter().zip(["spiffe://prod.example/ns/shop", "orders.shop.example"]) {
            assert_eq!(ClientCertificate::read(seed).expect("a certificate").name(), name);
        }
        tidings_testing::bytes::throw(&certificate_seeds(), check_certificate);
    }

    #[test]
    fn key_sets() {
        tidings_testing::bytes::throw(&key_set_seeds(), check_key_set);
    }

    #[test]
    fn policies() {
        let full = full_policy();
        assert!(Policy::parse(&full).is_ok());
        check_policy(full.as_bytes());
        tidings_testing::bytes::throw(&policy_seeds(), check_policy);
    }
}

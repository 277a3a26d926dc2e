use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"a secret that is long enough for this";

fn expected() -> Expected {
    Expected { issuer: "https://issuer".to_owned(), audience: "tidings".to_owned() }
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).expect("it is not that late") + seconds
}

fn good() -> Value {
    json!({"sub": "alice", "iss": "https://issuer", "aud": "tidings", "exp": in_seconds(600)})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn signed(claims: &Value) -> String {
    signed_with(&Header::new(Algorithm::HS256), claims)
}

fn signed_with(header: &Header, claims: &Value) -> String {
    encode(header, claims, &EncodingKey::from_secret(SECRET).expect("a key")).expect("a token")
}

fn keys() -> Keys {
    Keys::secret(SECRET).expect("a secret")
}

#[test]
fn a_good_token_is_believed() {
    let claims = keys().check(&signed(&good()), &expected()).expect("believed");
    assert_eq!(claims.sub, "alice");
    for claims in [with("aud", json!(["other", "tidings"])), with("nbf", json!(in_seconds(-5))), with("x", json!(1))] {
        keys().check(&signed(&claims), &expected()).expect("believed");
    }
    // The key has no name, so whatever the token calls it is no matter.
    let named = Header { kid: Some("a".to_owned()), ..Header::new(Algorithm::HS512) };
    keys().check(&signed_with(&named, &good()), &expected()).expect("believed");
}

#[test]
fn a_token_grants_by_verb_and_without_a_claim_nothing() {
    let old = keys().check(&signed(&good()), &expected()).expect("believed");
    assert!(Verb::ALL.iter().all(|verb| old.grants(*verb).is_empty()));
    for granted in Verb::ALL {
        let token = signed(&with(granted.as_str(), json!(["mail.*"])));
        let claims = keys().check(&token, &expected()).expect("believed");
        for verb in Verb::ALL {
            let expected: &[&str] = if verb == granted { &["mail.*"] } else { &[] };
            assert_eq!(claims.grants(verb), expected, "{granted} {verb}");
        }
        assert!(!claims.others.contains_key(granted.as_str()), "{granted}");
    }
}

#[test]
fn what_is_not_right_is_not_believed() {
    for claims in [
        without("sub"),
        without("iss"),
        without("aud"),
        without("exp"),
        with("sub", json!("")),
        with("sub", json!("a\nb")),
        with("sub", json!("a".repeat(SUBJECT_BYTES + 1))),
        with("sub", json!(7)),
        with("sub", json!(["alice"])),
        with("iss", json!("https://other")),
        with("iss", json!(["https://issuer"])),
        with("aud", json!("other")),
        with("aud", json!([])),
        with("nbf", json!(in_seconds(600))),
        with("exp", json!("soon")),
        with("publish", json!("orders")),
        with("consume", json!("orders")),
        with("consume", json!([7])),
        json!([]),
    ] {
        let refused = keys().check(&signed(&claims), &expected());
        // An issuer among several is one that is expected.
        if claims["iss"] == json!(["https://issuer"]) && refused.is_ok() {
            continue;
        }
        assert_eq!(refused.err(), Some(Refused::Untrusted), "{claims}");
    }
    assert_eq!(keys().check(&signed(&with("exp", json!(in_seconds(-40)))), &expected()).err(), Some(Refused::Expired));
    keys().check(&signed(&with("exp", json!(in_seconds(-10)))), &expected()).expect("clocks differ");
    let other = encode(
        &Header::new(Algorithm::HS256),
        &good(),
        &EncodingKey::from_secret(b"another secret that is long enough").expect("a key"),
    )
    .expect("a token");
    // Nothing is said of a stranger's token, not even that it is too late.
    assert_eq!(keys().check(&other, &expected()).err(), Some(Refused::Untrusted));
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
    assert_eq!(keys().check(&signed_with(&critical, &good()), &expected()).err(), Some(Refused::Untrusted));
}

#[test]
fn a_token_has_no_say_in_how_it_is_checked() {
    let token = signed(&good());
    let (_, rest) = token.split_once('.').expect("three parts");
    let (payload, signature) = rest.split_once('.').expect("three parts");
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None", "typ": "JWT"}),
        json!({"alg": "RS256"}),
        json!({"alg": "EdDSA"}),
        json!({}),
        json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
    ] {
        let header = encode_part(&header);
        for signature in ["", signature] {
            let forged = format!("{header}.{payload}.{signature}");
            assert_eq!(keys().check(&forged, &expected()).err(), Some(Refused::Untrusted), "{forged}");
        }
    }
    for broken in ["", ".", "..", "a.b.c", &token[..token.len() - 1], &format!("{token}x"), &"a".repeat(9_000)] {
        assert_eq!(keys().check(broken, &expected()).err(), Some(Refused::Untrusted), "{broken}");
    }
}

/// JSON as a token has it. Any claims will do to have a part encoded.
fn encode_part(json: &Value) -> String {
    let token = signed(json);
    token.split('.').nth(1).expect("three parts").to_owned()
}

#[test]
fn a_secret_can_not_be_guessed() {
    assert!(matches!(Keys::secret(b"short"), Err(InvalidKeys::ShortSecret(5))));
    assert!(matches!(Keys::secret(&[b'a'; 31]), Err(InvalidKeys::ShortSecret(31))));
    assert!(Keys::secret(&[b'a'; 32]).is_ok());
    // The end of line that editors add is not part of it.
    let line = [SECRET, b"\r\n"].concat();
    Keys::secret(&line).expect("a secret").check(&signed(&good()), &expected()).expect("believed");
}

#[test]
fn a_key_set_has_public_keys() {
    let secret = json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA"});
    let private = with_member(&pair("b").1, "d", json!("AA"));
    for (secret, words) in [(secret, "key 2: it is a secret"), (private, "key 2: it is a private key")] {
        let set = json!({"keys": [pair("a").1, secret]});
        let error = Keys::jwks(set.to_string().as_bytes()).expect_err("a secret").to_string();
        assert!(error.starts_with(words), "{error}");
    }
    for text in ["", "{}", "{\"keys\": {}}", "[]", "{\"keys\": [{\"kty\": \"RSA\"}]}", "{\"keys\": [1]}"] {
        assert!(Keys::jwks(text.as_bytes()).is_err(), "{text}");
    }
    assert!(matches!(Keys::jwks(b"{\"keys\": []}"), Err(InvalidKeys::Count(0))));
}

/// A key that signs, and its public half in a set.
fn pair(kid: &str) -> (crate::SigningKey, Value) {
    let (private, public) = crate::SigningKey::generate().expect("a key");
    let set: Value = serde_json::from_str(&public).expect("JSON");
    let private = crate::SigningKey::read(private.as_bytes()).expect("a key");
    let mut jwk = set["keys"][0].clone();
    // Tokens of such a key name it by the name that it was made with.
    if kid != "own" {
        jwk["kid"] = json!(kid);
    }
    (private, jwk)
}

fn with_member(jwk: &Value, name: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    jwk
}

#[test]
fn keys_of_a_set_that_are_for_something_else_are_passed_over() {
    let (signing, own) = pair("own");
    let wanted = crate::Wanted {
        issuer: "https://issuer".to_owned(),
        audience: "tidings".to_owned(),
        subject: "alice".to_owned(),
        groups: Vec::new(),
        grants: Vec::new(),
        lifetime: Duration::from_secs(600),
    };
    let token = signing.mint(&wanted).expect("a token");
    let foreign = [
        // As Keycloak publishes it.
        json!({"kid": "e", "kty": "RSA", "alg": "RSA-OAEP", "use": "enc", "n": "sXch8P0", "e": "AQAB", "x5c": ["AA"]}),
        json!({"kid": "k", "kty": "EC", "crv": "secp256k1", "alg": "ES256K", "use": "sig", "x": "AA", "y": "AA"}),
        json!({"kid": "p", "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kid": "q", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        json!({"kid": "o", "kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kid": "r", "kty": "RSA", "alg": "ES256", "n": "sXch8P0", "e": "AQAB"}),
        json!({"kid": "s", "kty": "RSA", "n": "sXch8P0"}),
        json!({"kid": "t", "kty": "OKP", "crv": "Ed25519", "x": "not base64!"}),
        json!({"kid": 7, "kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        json!({"kid": "u"}),
        json!("a text"),
    ];
    for one in foreign.iter().map(std::slice::from_ref).chain([&foreign[..]]) {
        let both = [one, std::slice::from_ref(&own)].concat();
        let set = json!({"keys": both, "more": 1});
        let keys = Keys::jwks(set.to_string().as_bytes()).expect("one is good");
        assert_eq!(keys.keys.len(), 1, "{one:?}");
        keys.check(&token, &expected()).expect("believed");
        let alone = json!({"keys": one});
        let error = Keys::jwks(alone.to_string().as_bytes()).expect_err("none is good").to_string();
        assert!(error.starts_with(&format!("none of its {} keys can check a token; key 1: ", one.len())), "{error}");
    }
    // What a key is for counts, however good its signature.
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!(["sig"])),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!("verify")),
        ("key_ops", json!([])),
        ("alg", json!("ES256")),
        ("alg", json!(7)),
    ] {
        let alone = json!({"keys": [with_member(&own, name, value.clone())]});
        assert!(Keys::jwks(alone.to_string().as_bytes()).is_err(), "{name}: {value}");
        // Beside another key it is not believed either.
        let beside = json!({"keys": [pair("b").1, with_member(&own, name, value.clone())]});
        let keys = Keys::jwks(beside.to_string().as_bytes()).expect("one is good");
        assert!(keys.check(&token, &expected()).is_err(), "{name}: {value}");
    }
    for (name, value) in [("use", json!("sig")), ("key_ops", json!(["sign", "verify"])), ("alg", json!("EdDSA"))] {
        let set = json!({"keys": [with_member(&own, name, value)]});
        Keys::jwks(set.to_string().as_bytes()).expect("good").check(&token, &expected()).expect("believed");
    }
}

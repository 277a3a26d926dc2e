//! One key of a set: RFC 7517, with the members of RFC 7518 (RSA, EC) and RFC 8037 (OKP).

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// A key's `kid`, what it may have signed with, and the key.
pub(super) type Usable = (Option<String>, Vec<Algorithm>, DecodingKey);

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// What is wrong with a key that whoever may read the set could sign with; `None` for public keys.
pub(super) fn secret(jwk: &Value) -> Option<&'static str> {
    if jwk["kty"] == "oct" {
        return Some("it is a secret; a key set has public keys, and a secret has a file of its own");
    }
    // RSA's exponent, or the number of an elliptic curve's key.
    jwk.get("d").map(|_| "it is a private key; a key set has public keys")
}

/// Reads a key that checks signatures; or why it is invalid, in words that repeat nothing of it.
pub(super) fn read(jwk: &Value) -> Result<Usable, &'static str> {
    let member = |name: &str| jwk.get(name).map(|value| value.as_str().unwrap_or_default());
    if member("use").is_some_and(|named| named != "sig") {
        return Err("its `use` is not `sig`");
    }
    let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
    if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
        return Err("its `key_ops` lack `verify`");
    }
    let part = |name: &str| member(name).filter(|text| !text.is_empty()).ok_or("it lacks a part of the key");
    let (algorithms, key) = match (member("kty"), member("crv")) {
        (Some("RSA"), _) => (RSA, DecodingKey::from_rsa_components(part("n")?, part("e")?)),
        (Some("EC"), Some("P-256")) => {
            (&[Algorithm::ES256][..], DecodingKey::from_ec_components(part("x")?, part("y")?))
        }
        (Some("EC"), Some("P-384")) => {
            (&[Algorithm::ES384][..], DecodingKey::from_ec_components(part("x")?, part("y")?))
        }
        (Some("OKP"), Some("Ed25519")) => (&[Algorithm::EdDSA][..], DecodingKey::from_ed_components(part("x")?)),
        _ => return Err("its kind (`kty`, `crv`) is not RSA, P-256, P-384 or Ed25519"),
    };
    let key = key.map_err(|_| "its parts can't be read")?;
    let algorithms = match member("alg") {
        None => algorithms.to_vec(),
        Some(named) => match named.parse().ok().filter(|named| algorithms.contains(named)) {
            Some(named) => vec![named],
            None => return Err("no signature of a token is made with its `alg`"),
        },
    };
    let id = match jwk.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err("its `kid` is no text"),
    };
    Ok((id, algorithms, key))
}

//! Tokens and keys for development and tests. Where people sign in, an identity provider makes them.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde::Serialize;
use tidings::{
    access::{Grant, Verb},
    limits::SECRET_BYTES,
};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// What tokens are signed with.
pub struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    id: Option<String>,
}

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum CantSign {
    /// The system gives no chance.
    #[error("no key can be made")]
    NoKey,
    /// A file that is neither.
    #[error("it is neither a private key, as `tidings token key` writes, nor a secret of {SECRET_BYTES} bytes or more")]
    Unreadable,
    /// Signing failed.
    #[error(transparent)]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// What a token is to say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Who issues it.
    pub issuer: String,
    /// For whom it is.
    pub audience: String,
    /// Whose it is.
    pub subject: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// What it allows.
    pub grants: Vec<(Verb, Grant)>,
    /// For how long.
    pub lifetime: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consume: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    manage: Vec<String>,
}

impl SigningKey {
    /// A new Ed25519 key: the private one as PEM (RFC 8410), and the public one as a key set.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn generate() -> Result<(String, String), CantSign> {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| CantSign::NoKey)?;
        let pem = format!("{BEGIN}\n{}\n{END}\n", BASE64_STANDARD.encode(der.as_ref()));
        let (key, id) = of_der(der.as_ref())?;
        let mut public = Jwk::from_encoding_key(&key, Algorithm::EdDSA)?;
        public.common.key_id = Some(id);
        let set = serde_json::to_string_pretty(&JwkSet { keys: vec![public] }).map_err(|_| CantSign::NoKey)?;
        Ok((pem, format!("{set}\n")))
    }

    /// Reads a private key, or a secret.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn read(bytes: &[u8]) -> Result<Self, CantSign> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if let Some(rest) = text.trim().strip_prefix(BEGIN) {
            let base64: String = rest.trim_end().trim_end_matches(END).split_whitespace().collect();
            let der = BASE64_STANDARD.decode(base64).map_err(|_| CantSign::Unreadable)?;
            let (key, id) = of_der(&der)?;
            return Ok(Self { key, algorithm: Algorithm::EdDSA, id: Some(id) });
        }
        let secret = crate::keys::secret_of(bytes);
        if secret.len() < SECRET_BYTES {
            return Err(CantSign::Unreadable);
        }
        Ok(Self { key: EncodingKey::from_secret(secret)?, algorithm: Algorithm::HS256, id: None })
    }

    /// Signs a token.
    ///
    /// # Errors
    ///
    /// The key can't be used.
    pub fn mint(&self, wanted: &Wanted) -> Result<String, CantSign> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let grants = |of: Verb| {
            let of_verb = wanted.grants.iter().filter(move |(verb, _)| *verb == of);
            of_verb.map(|(_, grant)| grant.to_string()).collect()
        };
        let claims = Claims {
            iss: &wanted.issuer,
            aud: &wanted.audience,
            sub: &wanted.subject,
            iat: now.as_secs(),
            exp: now.saturating_add(wanted.lifetime).as_secs(),
            groups: &wanted.groups,
            publish: grants(Verb::Publish),
            subscribe: grants(Verb::Subscribe),
            consume: grants(Verb::Consume),
            manage: grants(Verb::Manage),
        };
        let header = Header { kid: self.id.clone(), ..Header::new(self.algorithm) };
        Ok(encode(&header, &claims, &self.key)?)
    }
}

/// A key, and a name for it: the beginning of a hash of its public half.
fn of_der(der: &[u8]) -> Result<(EncodingKey, String), CantSign> {
    use aws_lc_rs::signature::KeyPair as _;
    let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| CantSign::Unreadable)?;
    let id = blake3::hash(pair.public_key().as_ref()).to_hex()[..16].to_owned();
    Ok((EncodingKey::from_ed_der(der), id))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

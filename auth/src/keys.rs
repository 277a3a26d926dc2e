//! The keys that tokens are checked with, and what a token says.

use std::{collections::BTreeMap, fmt};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use serde_json::Value;
use tidings::{
    access::Verb,
    limits::{JWKS_KEYS, SECRET_BYTES, SUBJECT_BYTES, TOKEN_BYTES, TOKEN_LEEWAY},
};

/// Why what a file holds, or a server answers, are no keys.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// A secret that can be guessed.
    #[error("the secret has {0} bytes; at least {SECRET_BYTES} are needed, such as `openssl rand -base64 48` writes")]
    ShortSecret(usize),
    /// No JSON Web Key Set. What is there instead is not repeated: it may be a secret.
    #[error("it is no JSON Web Key Set (line {line}, column {column})")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A key that can't be used.
    #[error("key {0}: {1}")]
    Key(usize, String),
    /// Keys, and none of them for the signatures of tokens.
    #[error("none of its {0} keys can check a token; key 1: {1}")]
    NoneUsable(usize, &'static str),
    /// None at all, or more than anybody rotates through.
    #[error("it has {0} keys; between 1 and {JWKS_KEYS} are needed")]
    Count(usize),
}

/// Some keys.
#[derive(Default)]
pub(crate) struct Keys {
    keys: Vec<Key>,
    /// Those of their set that are for something else, and why.
    passed: Vec<(usize, &'static str)>,
}

struct Key {
    id: Option<String>,
    /// With which this key may have been used. A token has no say in it.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    is_secret: bool,
}

/// A set as it is written. Providers add keys and members of their own: what is not understood is looked at one by one.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// What a good token says.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    /// Seconds since 1970.
    pub(crate) exp: f64,
    /// Grants, where the token has them.
    #[serde(default)]
    pub(crate) publish: Vec<String>,
    #[serde(default)]
    pub(crate) subscribe: Vec<String>,
    #[serde(default)]
    pub(crate) consume: Vec<String>,
    #[serde(default)]
    pub(crate) manage: Vec<String>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, Value>,
}

impl Claims {
    /// The grants of a verb.
    pub(crate) fn grants(&self, verb: Verb) -> &[String] {
        match verb {
            Verb::Publish => &self.publish,
            Verb::Subscribe => &self.subscribe,
            Verb::Consume => &self.consume,
            Verb::Manage => &self.manage,
        }
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Whatever is wrong with it.
    Untrusted,
    /// Its signature is good, and its time is over.
    Expired,
    /// It names a key that is not among these.
    UnknownKey,
}

/// Who must have issued a token, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audience: String,
}

impl Keys {
    pub(crate) fn secret(bytes: &[u8]) -> Result<Self, InvalidKeys> {
        let secret = secret_of(bytes);
        if secret.len() < SECRET_BYTES {
            return Err(InvalidKeys::ShortSecret(secret.len()));
        }
        let key = DecodingKey::from_secret(secret).map_err(|error| InvalidKeys::Key(1, error.to_string()))?;
        let algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Ok(Self { keys: vec![Key { id: None, algorithms, key, is_secret: true }], passed: Vec::new() })
    }

    /// Reads a set of public keys as providers publish them. A key that is for something else, or of a kind that is not
    /// known here, is passed over (RFC 7517, sections 4.2, 4.3 and 5).
    ///
    /// # Errors
    ///
    /// It is no set, has a secret, or no key that can check a token.
    pub(crate) fn jwks(bytes: &[u8]) -> Result<Self, InvalidKeys> {
        let set: Set = serde_json::from_slice(bytes)
            .map_err(|error| InvalidKeys::Json { line: error.line(), column: error.column() })?;
        if set.keys.is_empty() || set.keys.len() > JWKS_KEYS {
            return Err(InvalidKeys::Count(set.keys.len()));
        }
        let (mut keys, mut passed) = (Vec::new(), Vec::new());
        for (index, jwk) in (1..).zip(&set.keys) {
            if let Some(secret) = jwk::secret(jwk) {
                return Err(InvalidKeys::Key(index, secret.to_owned()));
            }
            match jwk::read(jwk) {
                Ok((id, algorithms, key)) => keys.push(Key { id, algorithms, key, is_secret: false }),
                Err(why) => passed.push((index, why)),
            }
        }
        match passed.first() {
            Some((_, why)) if keys.is_empty() => return Err(InvalidKeys::NoneUsable(set.keys.len(), why)),
            _ => {}
        }
        Ok(Self { keys, passed })
    }

    /// Says which keys of a set that has just come into force are passed over.
    pub(crate) fn log_passed(&self) {
        for (key, why) in &self.passed {
            tracing::info!(key, why, "a key of the set can't check tokens, and is passed over");
        }
    }

    /// Reads a token, and believes it if a key of these has signed it, for this server, and it is its time.
    pub(crate) fn check(&self, token: &str, expected: &Expected) -> Result<Claims, Refused> {
        if token.len() > TOKEN_BYTES {
            return Err(Refused::Untrusted);
        }
        let header = decode_header(token).map_err(|_| Refused::Untrusted)?;
        let candidates = self.keys.iter().filter(|key| match (&header.kid, &key.id) {
            _ if key.is_secret => true,
            (Some(wanted), id) => id.as_ref() == Some(wanted),
            // Without a name it is the only one, or none.
            (None, _) => self.keys.len() == 1,
        });
        let mut refused = match &header.kid {
            Some(kid) if !self.keys.iter().any(|key| key.is_secret || key.id.as_ref() == Some(kid)) => {
                Refused::UnknownKey
            }
            _ => Refused::Untrusted,
        };
        for key in candidates.filter(|key| key.algorithms.contains(&header.alg)) {
            match decode::<Claims>(token, &key.key, &validation(header.alg, expected)) {
                Ok(decoded) if is_subject(&decoded.claims.sub) && decoded.claims.exp.is_finite() => {
                    return Ok(decoded.claims);
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => refused = Refused::Expired,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

/// Whether a text can be a subject: it stands on messages, and in logs.
fn is_subject(text: &str) -> bool {
    !text.is_empty() && text.len() <= SUBJECT_BYTES && !text.chars().any(char::is_control)
}

/// A file's secret, without the end of line that editors add.
pub(crate) fn secret_of(bytes: &[u8]) -> &[u8] {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    secret.strip_suffix(b"\r").unwrap_or(secret)
}

fn validation(algorithm: Algorithm, expected: &Expected) -> Validation {
    let mut validation = Validation::new(algorithm);
    // By default a token without an issuer or audience passes, and one that is not valid yet.
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&expected.issuer]);
    validation.set_audience(&[&expected.audience]);
    validation.validate_nbf = true;
    validation.leeway = TOKEN_LEEWAY.as_secs();
    validation
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id.as_deref().unwrap_or("…"))).finish()
    }
}

mod jwk;
#[cfg(test)]
mod tests;

//! Limits of signing in: tokens, key sets, certificates and what they allow.

use std::time::Duration;

use super::READ_ATTRIBUTE_VALUE_BYTES;

/// Bytes of a token: what proxies take as a header.
pub const TOKEN_BYTES: usize = 8 << 10;
/// How far the clocks of who signs and who checks may be apart.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// Bytes of a secret that tokens are signed with: as many as SHA-256 has, RFC 7518 3.2.
pub const SECRET_BYTES: usize = 32;
/// Bytes of a subject, a token's `sub` or a certificate's name: it stands on messages as an attribute's value. OpenID
/// Connect allows 255, SPIFFE 2,048, of which nobody uses half.
pub const SUBJECT_BYTES: usize = 1 << 10;
const _: () = assert!(SUBJECT_BYTES <= READ_ATTRIBUTE_VALUE_BYTES);
/// How long a key server may take for its answer, from the name's look-up to the last byte: a call may wait for it.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a key server is asked: a key that it takes away is gone after so long.
pub const JWKS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How often it is asked at most, whatever tokens name as their key: anybody can name one that there is not.
pub const JWKS_PAUSE: Duration = Duration::from_secs(30);
/// How soon it is asked again while there are no keys at all, at first; each time twice as late, up to [`JWKS_PAUSE`].
pub const JWKS_FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long keys are believed of which their server says nothing any more: an outage over a night is noticed in the
/// morning.
pub const JWKS_OUTAGE: Duration = Duration::from_secs(24 * 3600);
/// Keys in a key set.
pub const JWKS_KEYS: usize = 64;
/// Bytes of a file of keys, of what a key server answers, or of a policy.
pub const AUTH_FILE_BYTES: u64 = 256 << 10;
/// How often these files are looked at: a right that is taken away is gone after so long at the latest.
pub const AUTH_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Tokens whose callers are remembered: 1.3 KiB each, with their subjects' accounts (`make bench-security`).
pub const KNOWN_TOKENS: usize = 10_000;
/// Grants of one verb that a caller may have: each is looked at for every publish.
pub const GRANTS: usize = 256;

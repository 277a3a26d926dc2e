//! Who calls, what they may do, and how much of it.
//!
//! A token, a client certificate, or both become a [`Caller`], once for each call, before any operation sees it; a
//! caller has [`Rights`](tidings::access::Rights), from the token's claims or from a [policy](Policy) file. Files are
//! read again when they change, and a key server is asked again: a new key, or a right that is taken away, needs no
//! restart. What can't be read at the start ends the program; what can't be read later leaves what there was, and is
//! logged.
//!
//! ```text
//! authorization: Bearer … → Keys → claims ↘
//!                                          Caller { identity, expiry } → Rights
//! client certificate → its one name       ↗        policy file, read again ↗
//! ```
//!
//! This crate knows no HTTP but a header's value, no TLS but a certificate that was verified, and no method.

mod authenticator;
mod caller;
mod certificate;
mod credentials;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identity;
mod key_ring;
mod key_server;
mod keys;
mod known;
mod mint;
mod policy;
mod quota;
mod recent;
mod watched;

pub use authenticator::{Authentication, Authenticator, Error, Peer, Settings};
pub use caller::{Caller, Expiry, Reason};
pub use certificate::{ClientCertificate, Unnamed};
pub use identity::Identity;
pub use key_ring::KeySource;
pub use key_server::{FetchError, FetchKeys};
pub use keys::InvalidKeys;
pub use mint::{CantSign, SigningKey, Wanted};
pub use policy::{Allowing, Decision, InvalidPolicy, Part, Policy};
pub use quota::{Account, Accounts, Exceeded, Held, HeldPattern, Quotas, Rated, Shares};
pub use recent::Recent;
pub use watched::Watched;

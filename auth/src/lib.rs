//! Who calls, what they may do, and how much of it.
//!
//! A token becomes a [`Caller`], once for each call, before any operation sees it; a caller has
//! [`Rights`](tidings::access::Rights), from the token's claims or from a [policy](Policy) file. Files are read again
//! when they change: a new key, or a right that is taken away, needs no restart. What can't be read at the start ends
//! the program; what can't be read later leaves what there was, and is logged.
//!
//! ```text
//! authorization: Bearer … → Keys → claims → Caller { subject, groups, expiry } → Rights
//!                                               policy file, read again ↗
//! ```
//!
//! This crate knows no HTTP but a header's value, and no method.

mod authenticator;
mod caller;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keys;
mod mint;
mod policy;
mod quota;
mod watched;

pub use authenticator::{Authenticator, Error, Settings};
pub use caller::Caller;
pub use keys::{InvalidKeys, KeySource};
pub use mint::{CantSign, SigningKey, Wanted};
pub use policy::{Decision, InvalidPolicy, Policy};
pub use quota::{Account, Accounts, Exceeded, Held, HeldPattern, Quotas, Rated};
pub use watched::Watched;

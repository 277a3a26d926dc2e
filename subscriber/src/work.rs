//! Durable subscriptions: work that one of several consumers must do.
//!
//! ```text
//! SubscriptionService → operation → Desk ──┬─ settings, lists, dead letters ──→ the broker's books
//!                                          └─ Dispatcher, one a subscription ─→ claims, settlements
//! stream (log and pushes) → Ahead → Dispatcher → Outbox of a consumer → ConsumeMessages
//!                                       └─ Post → the dead-letter channel
//! ```
//!
//! A replica has a [`dispatcher`] for each subscription that it has consumers of, or that was called lately. It reads
//! the channel as a stream does, leases what its consumers have credit for, and settles what they decide. Which message
//! is out, to whomever, is in the broker's books alone; what is here may be lost at any time, and then its leases end.

mod ahead;
mod claim;
mod clock;
mod consume;
mod consumers;
mod contents;
mod delivery;
mod desk;
mod dispatcher;
mod expiry;
mod holds;
mod leases;
mod letters;
mod looks;
mod losses;
mod mailbox;
mod manage;
#[cfg(test)]
mod model;
mod operation;
mod outbox;
mod outcome;
mod post;
mod request;
mod retry;
mod service;
mod settings;
mod settle;
mod share;
mod watch;

pub use self::holds::HoldLimits;
pub(crate) use self::{
    consumers::CreditLimit,
    expiry::expire,
    holds::Holds,
    letters::{Query, Which},
    mailbox::{Pull, Seat, Settling},
    manage::StartAt,
    outbox::Outbox,
    outcome::{Decision, Settle},
    retry::Failure,
    settings::{dead_letter_channel, within},
    share::share,
    watch::watch,
};
pub(crate) use self::{
    desk::{Desk, Given},
    service::Service,
};

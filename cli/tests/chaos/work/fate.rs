//! What a consumer decides of a delivery: most are done at once, and of the rest everything goes wrong that a worker
//! can do.

use std::time::Duration;

use fastrand::Rng;
use tidings::cursor::old_hash;
use tokio::time::Instant;

use super::story::{Deed, Delivery};

/// Something that is to be asked some time.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub(super) ack_id: String,
    pub(super) deed: Deed,
    pub(super) due: Instant,
    /// By a call at any replica, not on the stream.
    pub(super) is_elsewhere: bool,
}

/// Whether every worker fails at a message.
pub(super) fn is_poison(body: &str) -> bool {
    old_hash(body).is_multiple_of(12)
}

/// What is to become of a delivery with this deadline.
pub(super) fn fate(rng: &mut Rng, delivery: &Delivery, ack_deadline: Duration) -> Vec<Intent> {
    let now = Instant::now();
    let deadline = ack_deadline.as_millis() as u64;
    let soon = rng.u64(..150);
    let elsewhere = rng.u8(..5) == 0;
    let one = |deed, wait: u64, is_elsewhere| Intent {
        ack_id: delivery.ack_id.clone(),
        deed,
        due: now + Duration::from_millis(wait),
        is_elsewhere,
    };
    let fails = Deed::Reject { uncounted: false, dead: false, delay: None };
    if is_poison(&delivery.body) {
        return vec![one(fails, soon, elsewhere)];
    }
    match rng.u8(..100) {
        0..60 => vec![one(Deed::Acknowledge, soon, elsewhere)],
        // Asked twice, the second time perhaps at the same moment.
        60..66 => {
            let again = soon + rng.u64(..300) * u64::from(rng.bool());
            vec![one(Deed::Acknowledge, soon, elsewhere), one(Deed::Acknowledge, again, rng.bool())]
        }
        66..70 => vec![one(Deed::Acknowledge, deadline + rng.u64(..3_000), rng.bool())],
        70..82 => {
            let delay = rng.bool().then(|| Duration::from_millis(rng.u64(..2_000)));
            let deed = match rng.u8(..8) {
                0 => Deed::Reject { uncounted: false, dead: true, delay: None },
                1 | 2 => Deed::Reject { uncounted: true, dead: false, delay },
                _ => Deed::Reject { uncounted: false, dead: false, delay },
            };
            vec![one(deed, soon, elsewhere)]
        }
        82..90 => {
            let (at, time) = (rng.u64(..deadline), rng.u64(1_000..5_000));
            let extended = one(Deed::Extend(Duration::from_millis(time)), at, elsewhere);
            match rng.u8(..4) {
                0 => vec![extended],
                _ => vec![extended, one(Deed::Acknowledge, at + rng.u64(..time + 500), rng.bool())],
            }
        }
        90..93 => vec![one(Deed::Acknowledge, soon, true), one(fails, soon, false)],
        // Forgotten.
        _ => Vec::new(),
    }
}

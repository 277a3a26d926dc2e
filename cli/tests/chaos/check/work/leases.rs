//! One at a time: nobody gets a message while another has it for certain.

use std::time::Duration;

use super::{Case, Message, must};
use crate::work::story::{Deed, Delivery};

/// Times are told in milliseconds, and read one after the other.
const SLACK: Duration = Duration::from_millis(20);
/// How far behind a replica may take Redis's clock to be, by answers that were held up on their way: an extension ends
/// so much earlier.
const LATE_ANSWER: Duration = Duration::from_millis(2_600);
/// How long a message may be leased before it is sent, and the answer to that be on its way.
const UNSENT: Duration = Duration::from_secs(5);

pub(super) fn check(case: &Case, message: &Message) -> Result<(), String> {
    for (index, first) in message.deliveries.iter().enumerate() {
        for second in &message.deliveries[index + 1..] {
            must!(
                !overlaps(case, message, first, second),
                "is delivered at {:.3} as attempt {}, and is leased until {:.3} by the one of {:.3}, attempt {}",
                second.sent.as_secs_f64(),
                second.attempt,
                message.leased_until(case.story, &case.history.faults, first, second.sent).as_secs_f64(),
                first.sent.as_secs_f64(),
                first.attempt
            );
        }
    }
    Ok(())
}

fn overlaps(case: &Case, message: &Message, first: &Delivery, second: &Delivery) -> bool {
    let until = message.leased_until(case.story, &case.history.faults, first, second.sent);
    let is_extended = message.of(first).iter().any(|ask| matches!(ask.deed, Deed::Extend(_)));
    let slack = if is_extended { LATE_ANSWER } else { SLACK };
    // One of whom the books know nothing any more, or of whose extension.
    let leased = first.sent.saturating_sub(UNSENT);
    second.sent + slack < until && !case.forgets(leased, second.sent, second.received)
}

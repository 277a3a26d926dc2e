//! Many messages over one `PublishStream`: by default a summary is printed, as JSON each receipt. The first failure
//! ends the sending; what is under way by then is still answered and counted.

use std::ops::ControlFlow;

use tidings::{
    limits::{COMMAND_IN_FLIGHT, TAIL_FLUSH_EVENTS},
    pb::{PublishRequest, PublishResponse},
};

use super::{
    row,
    source::{Pace, Source},
};
use crate::{
    call::{self, Outcome, Requests},
    client::{Calls, PublisherAddress},
    error::{Error, Incomplete, describe},
    output::Out,
    progress::Progress,
    render,
};

/// What is to be done.
pub(super) struct Many<'a> {
    /// All but the payload.
    pub(super) template: PublishRequest,
    pub(super) source: Source,
    pub(super) pace: Pace,
    /// How many there are, where that is known.
    pub(super) total: Option<u64>,
    pub(super) is_json: bool,
    pub(super) publisher: &'a PublisherAddress,
    pub(super) calls: Calls,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    published: u64,
    failed: u64,
    first: Option<PublishResponse>,
    last: Option<PublishResponse>,
    failure: Option<String>,
}

impl Many<'_> {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let Self { template, source, pace, total, is_json, publisher, calls } = self;
        let (requests, mut outcomes) = call::open(publisher, calls, COMMAND_IN_FLIGHT).await?;
        let progress = match is_json && out.is_terminal() {
            true => Progress::hidden(),
            false => Progress::new(total),
        };
        let mut tally = Tally::default();
        let sending = send(template, source, pace, requests);
        let (sent, ended) = outcomes
            .drive(sending, |outcome, owed| {
                if is_json && let Ok(receipt) = &outcome {
                    out.line(render::receipt_json(receipt))?;
                    if owed == 0 || tally.published % TAIL_FLUSH_EVENTS as u64 == 0 {
                        out.flush()?;
                    }
                }
                let flow = if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
                tally.note(outcome);
                progress.set(tally.published);
                Ok(flow)
            })
            .await;
        drop(progress);
        let unanswered = outcomes.owed() as u64;
        let cause = match (tally.failure.take(), sent, ended) {
            (_, _, Err(gone)) if gone.is_closed_pipe() => return Err(gone),
            (Some(failure), _, _) => Some(failure),
            (None, Some(Err(error)), _) | (None, _, Err(error)) => Some(error.to_string()),
            // A call that ended before all was sent and answered, without saying why, is none that went well.
            (None, None, _) => Some("the server ended the call".to_owned()),
            (None, Some(Ok(())), Ok(())) => (unanswered > 0).then(|| "the server ended the call".to_owned()),
        };
        if let Some(cause) = cause {
            out.flush()?;
            let Tally { published, failed, .. } = tally;
            return Err(Error::Publishing(Incomplete { cause, published, failed, unanswered }));
        }
        if !is_json {
            tally.print(out)?;
        }
        Ok(out.flush()?)
    }
}

/// Sends all there is. Ends early, and well, when the call has ended, which says why itself.
async fn send(template: PublishRequest, mut source: Source, mut pace: Pace, requests: Requests) -> Result<(), Error> {
    while let Some(payload) = source.next().await? {
        pace.wait().await;
        if !requests.send(PublishRequest { payload: Some(payload), ..template.clone() }).await {
            break;
        }
    }
    Ok(())
}

impl Tally {
    fn note(&mut self, outcome: Outcome) {
        match outcome {
            Ok(receipt) => {
                self.published += 1;
                if self.first.is_none() {
                    self.first = Some(receipt.clone());
                }
                self.last = Some(receipt);
            }
            Err(status) => {
                self.failed += 1;
                let number = self.published + self.failed;
                self.failure.get_or_insert_with(|| format!("message {number}: {}", describe(&status)));
            }
        }
    }

    fn print(&self, out: &mut Out) -> Result<(), Error> {
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            row(out, "channel", &last.channel)?;
            row(out, "published", &self.published.to_string())?;
            row(out, "sequences", &format!("{} to {}", first.sequence, last.sequence))?;
            row(out, "epoch", &last.epoch)?;
            row(out, "cursor", &last.cursor)?;
        } else {
            row(out, "published", "0")?;
        }
        Ok(())
    }
}

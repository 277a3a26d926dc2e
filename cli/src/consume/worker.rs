//! What is done with deliveries: each is printed or has a command run for it, and the server is told what came of it.

use std::{future, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tidings::{
    limits::{
        ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MIN, CONSUME_EXTENSIONS, CONSUME_SETTLE_BACKOFF_MAX,
        CONSUME_SETTLE_BACKOFF_MIN,
    },
    pb::{LostMessages, ReceivedMessage, Subscription, consume_messages_response::Response},
};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::{
    exec::{Script, Verdict},
    ledger::{Decision, Key, Ledger},
    link::{Event, Link},
    signals::Signals,
};
use crate::{
    client::{Address, Calls},
    error::Error,
    output::{Out, note, reader_gone},
    render,
};

/// What is done with a message.
pub(super) enum Mode {
    Print {
        is_json: bool,
        /// What was printed is acknowledged.
        is_done: bool,
    },
    Run(Arc<Script>),
}

/// A consumer at work.
pub(super) struct Worker {
    mode: Mode,
    link: Link,
    ledger: Ledger,
    /// How many messages may be out at once.
    limit: i32,
    /// How many are still wanted.
    left: u64,
    running: FuturesUnordered<BoxFuture<'static, (Key, Verdict)>>,
    /// How long a delivery has, where this consumer says so.
    own_deadline: Option<Duration>,
    deadline: Duration,
    extend_at: Instant,
    /// When the server is told again what it does not know.
    repeat_at: Option<Instant>,
    /// Nothing more is begun.
    is_stopping: bool,
    /// Why nothing more can be printed.
    failed: Option<Error>,
    /// Why the last stream ended.
    lost: Option<Status>,
}

impl Worker {
    pub(super) fn new(mode: Mode, link: Link, limit: i32, count: Option<u64>) -> Self {
        Self {
            mode,
            link,
            ledger: Ledger::default(),
            limit,
            left: count.unwrap_or(u64::MAX),
            running: FuturesUnordered::new(),
            own_deadline: None,
            deadline: ACK_DEADLINE_DEFAULT,
            extend_at: Instant::now(),
            repeat_at: None,
            is_stopping: false,
            failed: None,
            lost: None,
        }
    }

    /// A stream is open; `own_deadline` is what this consumer asked for.
    pub(super) fn begin(&mut self, subscription: &Subscription, own_deadline: Option<Duration>) {
        let theirs = subscription.ack_deadline.and_then(|deadline| Duration::try_from(deadline).ok());
        self.own_deadline = own_deadline;
        self.deadline = own_deadline.or(theirs).unwrap_or(ACK_DEADLINE_DEFAULT).max(ACK_DEADLINE_MIN);
        // What is out was perhaps extended long ago.
        self.extend_at = Instant::now();
    }

    /// Works until it is told to stop or there were enough, and all is settled.
    pub(super) async fn run(
        mut self,
        out: &mut Out,
        signals: &Signals,
        calls: &Calls,
        address: &Address,
    ) -> Result<(), Error> {
        let mut give_up_at = None;
        let is_printing = matches!(self.mode, Mode::Print { .. });
        let gone = async {
            match is_printing {
                true => reader_gone().await,
                // What commands print is theirs.
                false => future::pending().await,
            }
        };
        tokio::pin!(gone);
        loop {
            self.advance();
            if self.is_finishing() {
                if self.ledger.is_empty() {
                    return self.failed.map_or(Ok(()), Err);
                }
                give_up_at.get_or_insert_with(|| Instant::now() + calls.duration());
            }
            tokio::select! {
                event = self.link.next() => self.happened(event?, out),
                Some((key, verdict)) = self.running.next(), if !self.running.is_empty() => self.ran(&key, verdict),
                () = sleep_until(self.extend_at) => self.extend(),
                () = until(self.repeat_at) => {
                    self.repeat_at = None;
                    self.ledger.tell_unknown_again();
                }
                () = signals.stopping(), if !self.is_stopping => self.stop(),
                () = &mut gone, if !self.is_stopping => self.is_stopping = true,
                () = signals.ending() => return Err(Error::Interrupted),
                () = until(give_up_at) => return Err(calls.unsettled(address, self.ledger.len())),
            }
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        match self.running.len() {
            0 => {}
            1 => note("waiting for the command that runs; a second signal kills it"),
            commands => note(format_args!("waiting for the {commands} commands that run; a second signal kills them")),
        }
    }

    /// Whether nothing more is begun.
    fn is_closing(&self) -> bool {
        self.is_stopping || self.left == 0
    }

    /// Whether all is decided.
    fn is_finishing(&self) -> bool {
        self.is_closing() && self.ledger.open() == 0
    }

    /// Tells the server what there is to tell.
    fn advance(&mut self) {
        if self.is_closing() && matches!(self.mode, Mode::Print { .. }) {
            self.ledger.give_back();
        }
        let is_finishing = self.is_finishing();
        if self.link.is_away() && (!is_finishing || self.ledger.has_untold()) {
            self.link.reopen(self.lost.take());
        }
        // Before something is settled, so that nothing comes in its place that nobody wants.
        let left = if self.is_stopping { 0 } else { self.left };
        let wanted = u64::try_from(self.ledger.open()).unwrap_or(u64::MAX).saturating_add(left);
        self.link.limit(i32::try_from(wanted).unwrap_or(i32::MAX).clamp(1, self.limit));
        if let Some(stream) = self.link.stream() {
            while let Some(settlement) = self.ledger.tell(stream) {
                self.link.settle(settlement);
            }
            if is_finishing {
                self.link.finish();
            }
        }
    }

    fn happened(&mut self, event: Event, out: &mut Out) {
        match event {
            Event::Opened(subscription) => self.begin(&subscription, self.own_deadline),
            Event::Ended(stream, status) => {
                self.ledger.ended(stream);
                self.lost = Some(status);
            }
            Event::Response(Response::Received(received)) => {
                if let Err(error) = self.receive(received.messages, out) {
                    self.failed.get_or_insert(Error::Output(error));
                    self.is_stopping = true;
                }
            }
            Event::Response(Response::Settled(settled)) => {
                self.ledger.settled(settled).iter().for_each(|warning| note(format_args!("warning: {warning}")));
                if let Some(tries) = self.ledger.unknown_tries() {
                    let pause = CONSUME_SETTLE_BACKOFF_MIN.saturating_mul(1 << tries.min(16));
                    let at = Instant::now() + pause.min(CONSUME_SETTLE_BACKOFF_MAX);
                    self.repeat_at.get_or_insert(at);
                }
            }
            Event::Response(Response::Lost(lost)) => note(format_args!("warning: {}", describe_loss(&lost))),
            Event::Response(Response::Draining(_)) if !self.is_finishing() => self.link.reopen(None),
            Event::Response(Response::Draining(_) | Response::Started(_) | Response::Heartbeat(_)) => {}
        }
    }

    fn receive(&mut self, messages: Vec<ReceivedMessage>, out: &mut Out) -> std::io::Result<()> {
        let mut printed = Vec::new();
        for received in messages {
            let Some(key) = self.ledger.take(&received) else { continue };
            if self.is_closing() {
                self.ledger.decide(&key, Decision::GiveBack);
                continue;
            }
            self.left -= 1;
            match &self.mode {
                Mode::Run(script) => {
                    let script = Arc::clone(script);
                    self.running.push(Box::pin(async move { (key, script.run(received).await) }));
                }
                Mode::Print { is_json, .. } => {
                    let palette = out.palette();
                    out.line(if *is_json {
                        render::received_json(&received)
                    } else {
                        render::received_line(&received, &palette)
                    })?;
                    printed.push(key);
                }
            }
        }
        out.flush()?;
        match self.mode {
            Mode::Print { is_done: true, .. } => {
                for key in &printed {
                    self.ledger.decide(key, Decision::Acknowledge);
                }
            }
            Mode::Print { is_json: false, .. } if !printed.is_empty() && self.ledger.open() >= self.limit as usize => {
                note("as many messages are out as --concurrency allows; they come back when this ends");
            }
            _ => {}
        }
        Ok(())
    }

    /// A command has ended.
    fn ran(&mut self, key: &Key, verdict: Verdict) {
        match verdict {
            Verdict::Done => drop(self.ledger.decide(key, Decision::Acknowledge)),
            Verdict::Failed { reason, is_final } => {
                let words = tidings::printable::printable(&reason).into_owned();
                let label = self.ledger.decide(key, Decision::Reject { reason, is_final });
                note(format_args!("{label}: {words}{}", if is_final { " (a dead letter)" } else { "" }));
            }
        }
    }

    fn extend(&mut self) {
        self.extend_at = Instant::now() + self.deadline / CONSUME_EXTENSIONS;
        self.ledger.extend(self.deadline).into_iter().for_each(|settlement| self.link.settle(settlement));
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}

fn describe_loss(lost: &LostMessages) -> String {
    let which = match (lost.first_sequence, lost.last_sequence) {
        (first, 0) => format!("messages from #{first} on"),
        (first, last) if first == last => format!("message #{first}"),
        (first, last) => format!("messages #{first} to #{last}"),
    };
    format!("{which} can't be delivered any more: trimmed from the log, or lost by Redis")
}

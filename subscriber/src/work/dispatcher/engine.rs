//! What a dispatcher does: round by round, with all that this replica knows of a subscription.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use tidings::{
    broker::{
        Error,
        subscriptions::{Books, Outcome as Carried, Place},
    },
    limits::{DUE_MESSAGES, SWEPT_BLOCKS, UNSENT},
    status::{self, Call},
};
use tokio::time::Instant;
use tonic::Status;

use super::{
    super::{
        ahead::Ahead,
        claim::Plan,
        contents::Contents,
        mailbox::{Opened, Request, Seat},
        post::Post,
        settings::Settings,
    },
    Ground,
    bundle::Bundle,
    ledger::{Ledger, Stop},
    pace::Pace,
    planner::Planner,
    recipients::Recipients,
    sending::Sending,
    settle_delay::SettleDelay,
    settler::Settler,
};

pub(super) struct Engine {
    ledger: Ledger,
    settler: Settler,
    planner: Planner,
    recipients: Recipients,
    settle_delay: SettleDelay,
    pace: Pace,
    /// A change that settled and claimed was not carried out: the next round does each by itself.
    joint_failed: bool,
    sending: Sending,
}

impl Engine {
    /// That of a subscription that was found so, when that was asked.
    pub(super) fn new(place: Place, ground: &Ground, settings: Settings, (books, asked): (&Books, Instant)) -> Self {
        let Ground { source, store, server, .. } = ground;
        let contents = Contents::new(Arc::clone(&source.broker), place.channel.clone());
        let (broker, dead_letters) = (Arc::clone(&source.broker), settings.dead_letter_channel.clone());
        let post = Post::new(broker, Arc::clone(store), place.clone(), dead_letters);
        let mut engine = Self {
            settler: Settler::new(contents),
            planner: Planner::new(Ahead::new(source.clone(), place.channel.clone(), server.clone())),
            ledger: Ledger::new(place, ground, settings, (books, asked)),
            recipients: Recipients::default(),
            settle_delay: SettleDelay::default(),
            pace: Pace::new(ground.looks),
            joint_failed: false,
            sending: Sending::new(post),
        };
        engine.note_unsent();
        engine
    }

    /// The server has ended. Nothing more is handed out; what its streams had is given back.
    pub(super) fn drain(&mut self) {
        self.pace.drain();
        self.recipients.fail_calls(self.settler.leases(), &status::draining(Call::Consume));
    }

    pub(super) fn is_draining(&self) -> bool {
        self.pace.is_draining()
    }

    /// Whether nobody needs it any more, or the server's time is over.
    pub(super) fn is_over(&self) -> bool {
        if self.pace.is_draining() {
            let is_left = self.recipients.consumers().is_empty() && self.ledger.said() == 0;
            return self.pace.is_drained() || is_left && self.settler.is_done();
        }
        !self.is_needed() && !self.sending.is_busy() && self.pace.is_idle()
    }

    /// Ready when something has come that is wanted, or dead letters were published.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wants() && self.poll_fill(cx).is_ready() {
            return Poll::Ready(());
        }
        self.sending.poll(cx)
    }

    /// Takes in what has come to be handed out. Ready where there is something new, or the stream of it has ended.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(status) = ready!(self.planner.poll_fill(cx)) {
            let subscription = self.name();
            tracing::debug!(subscription, %status, "the stream of a subscription ended; it is opened again");
            self.pace.look_now();
        }
        Poll::Ready(())
    }

    /// Whether the next round begins at once.
    pub(super) fn goes_on(&self) -> bool {
        self.pace.goes_on()
    }

    /// Whether it is time for a round; where there is nothing but settlements, these may wait.
    pub(super) fn is_due(&self, is_more: bool) -> bool {
        !self.pace.is_away() && (is_more || self.settle_at().is_none_or(|at| at <= Instant::now()))
    }

    /// Until when settlements wait for a claim to go with; `None` where they go at once, since somebody may wait for
    /// the credit.
    fn settle_at(&self) -> Option<Instant> {
        let came = self.settler.patient_since()?;
        let has_credit = self.wants() && self.recipients.consumers().all_have_room() && self.retry_room() > 0;
        self.settle_delay.until(came).filter(|_| has_credit)
    }

    /// When something is to be done, if nothing comes before.
    pub(super) fn next_time(&mut self) -> Instant {
        let times = [
            self.settler.next_over(),
            self.settle_at(),
            self.recipients.next_end(),
            self.sending.next_time(),
            if self.retry_room() > 0 { self.next_retry() } else { None },
        ];
        self.pace.next_time(self.is_needed(), times.into_iter().flatten())
    }

    /// When a message that waits is to be handed out.
    fn next_retry(&self) -> Option<Instant> {
        self.ledger.next_due().map(|due| self.pace.retry_at(due))
    }

    /// Whether messages are wanted.
    fn wants(&self) -> bool {
        self.pace.may_claim() && !self.ledger.settings().is_paused() && self.recipients.consumers().room() > 0
    }

    /// How many messages may be delivered again now.
    fn retry_room(&self) -> usize {
        if self.wants() { self.recipients.consumers().room().min(self.ledger.room()) } else { 0 }
    }

    /// Whether anybody needs it now.
    fn is_needed(&self) -> bool {
        !self.recipients.consumers().is_empty() || !self.settler.is_idle() || self.ledger.said() > 0
    }

    pub(super) fn name(&self) -> &str {
        self.ledger.place().name.as_str()
    }

    /// Takes in a request.
    pub(super) fn take(&mut self, request: Request) {
        self.pace.asked();
        match request {
            // Whoever asked asks again, and hears that the server stops.
            Request::Open(_, _, reply) if self.pace.is_draining() => drop(reply),
            Request::Open(consumer, handle, reply) => {
                let key = self.recipients.open(consumer);
                self.pace.look_now();
                let _gone = reply
                    .send(Opened { seat: Seat::new(key, handle), subscription: self.ledger.subscription().clone() });
            }
            Request::Pull(_, reply) if self.pace.is_draining() => {
                let _gone = reply.send(Err(status::draining(Call::Consume)));
            }
            Request::Credit(key, limit) => self.recipients.consumers_mut().set_limit(key, limit),
            Request::Pull(pull, reply) => {
                self.recipients.pull(pull, reply);
                self.pace.look_now();
            }
            Request::Settle(settles, asker, reply) => self.settler.batches().add(settles, asker, reply),
        }
    }

    /// A stream has ended, or a call.
    pub(super) fn close(&mut self, key: u64) {
        self.pace.used();
        self.recipients.close(key, &mut self.settler);
        if self.recipients.streams() < self.ledger.said() {
            // That is said in the books.
            self.pace.look_now();
        }
    }

    /// One round: looks into the books where that is due, settles, and hands out.
    pub(super) async fn cycle(&mut self) -> Result<(), Stop> {
        self.pace.begin();
        self.planner.begin();
        for key in self.recipients.abandoned() {
            self.close(key);
        }
        if self.ledger.take_went_back() {
            // What is ahead is read again from there.
            self.planner.ahead().close();
            self.pace.look_now();
        }
        // Another generation than is known here may be the present one.
        let has_other = self.settler.batches().have_other(self.ledger.state().generation);
        if self.is_needed() && (self.pace.is_look_due() || has_other) {
            let is_said = self.ledger.said() == self.recipients.streams();
            let is_at_rest = is_said && !has_other && self.planner.ahead().is_open() && self.settler.is_idle();
            if is_at_rest && self.ledger.is_unchanged().await? { self.pace.looked() } else { self.look().await? }
        }
        if self.recipients.consumers().is_empty() && self.planner.ahead().is_open() {
            self.planner.ahead().close();
        }
        self.recipients.give_back_over(&mut self.settler);
        let retries = self.plan_retries().await?;
        let round = match self.settler.begin(&self.ledger).await {
            Ok(round) => round,
            Err(stop) => {
                retries.iter().for_each(|plan| plan.abandon(self.recipients.consumers_mut()));
                return Err(stop);
            }
        };
        let mut bundle = Bundle::new(round, retries);
        let joint_failed = std::mem::take(&mut self.joint_failed);
        if !joint_failed && self.planner.has_more() {
            bundle.lend(&self.settler, self.recipients.consumers_mut());
        }
        if self.wants() {
            match self.planner.claims(bundle.lent(), &self.ledger, self.recipients.consumers_mut()).await {
                Ok(claims) => bundle.claims = claims,
                Err(stop) => return Err(self.failed(bundle, stop)),
            }
        }
        let (has_claims, room) = (!bundle.claims.is_empty(), self.recipients.consumers().room());
        // From when they were planned on: the answer may come late.
        let now = Instant::now();
        if has_claims {
            self.settle_delay.claimed(now);
        }
        let result = self.carry_out(bundle, now + UNSENT).await;
        for key in self.recipients.answer(self.settler.leases(), has_claims) {
            self.close(key);
        }
        result?;
        // What was claimed has left room for more, or what was settled has made some. What was asked meanwhile goes
        // with it.
        let is_more = has_claims || self.recipients.consumers().room() > room;
        if is_more && self.planner.has_more() {
            self.pace.go_on();
        } else {
            let is_due = self.ledger.next_due().is_some_and(|due| due <= Instant::now());
            let nothing = self.ledger.settings().is_paused() || self.ledger.state().ahead() == 0 && !is_due;
            self.recipients.end_calls(self.settler.leases(), nothing);
        }
        self.note_unsent();
        self.sending.begin(self.ledger.now_ms());
        self.pace.answered();
        Ok(())
    }

    /// Notes whether there may be dead letters that were not published.
    fn note_unsent(&mut self) {
        if self.ledger.take_unsent() {
            self.sending.want();
        }
    }

    /// Plans messages that are due, where there is credit.
    async fn plan_retries(&mut self) -> Result<Vec<Plan>, Stop> {
        let is_due = self.next_retry().is_some_and(|due| due <= Instant::now());
        let limit = if is_due { self.retry_room().min(DUE_MESSAGES) } else { 0 };
        if limit == 0 {
            return Ok(Vec::new());
        }
        let due = self.ledger.due(limit).await?;
        let found = self.settler.contents().find(due).await?;
        let plans = self.planner.retries(found, &self.ledger, self.recipients.consumers_mut());
        if plans.is_empty() {
            // No consumer has room for as many bytes, or another replica was faster.
            self.pace.retries_failed();
        }
        Ok(plans)
    }

    /// Settles what is decided and hands out what is planned, in one call of the broker, and in more where others have
    /// changed the same blocks.
    async fn carry_out(&mut self, mut bundle: Bundle, until: Instant) -> Result<(), Stop> {
        let answer = match bundle.apply(&mut self.ledger, self.recipients.consumers_mut()).await {
            Ok(answer) => answer,
            Err(stop) => return Err(self.failed(bundle, stop)),
        };
        self.joint_failed = answer.joint_failed;
        let Bundle { round, retries, claims, .. } = bundle;
        let (retried, claimed) = (answer.retried(), answer.claimed());
        if !retried.is_empty() && !retried.contains(&Carried::Done) {
            // Another replica was faster.
            self.pace.retries_failed();
        }
        for (plan, carried) in retries.into_iter().zip(retried).chain(claims.into_iter().zip(claimed)) {
            // Claims that were carried out come first: what they covered, losses too, is done once.
            if *carried == Carried::Done {
                self.planner.ahead().advance(plan.covers);
            }
            self.recipients.planned(plan, *carried, until, &self.ledger, self.settler.leases());
        }
        if claimed.contains(&Carried::Done) {
            self.pace.claimed();
        }
        let is_full = claimed.contains(&Carried::Full);
        let is_done = claimed.iter().all(|carried| *carried == Carried::Done);
        if is_full {
            self.pace.full();
        }
        let finished = if self.joint_failed {
            // Another replica has claimed, or one of the settlements comes too late: each for itself.
            self.settler.settle(round, &mut self.ledger).await
        } else {
            self.settler.finish(round, answer.settled(), &mut self.ledger).await
        };
        for (consumer, freed) in self.settler.take_freed() {
            self.recipients.consumers_mut().give_back(consumer, freed);
            self.pace.freed();
        }
        let lost = self.settler.take_lost();
        self.recipients.report(lost);
        finished?;
        // Which of both was wrong shows when the claim is tried by itself.
        if is_done || is_full || self.joint_failed { Ok(()) } else { self.differs().await }
    }

    /// Nothing of a bundle is known to be carried out.
    fn failed(&mut self, mut bundle: Bundle, stop: Stop) -> Stop {
        bundle.abandon(self.recipients.consumers_mut());
        if let Stop::Broker(Error::OutcomeUnknown(_)) = stop {
            self.settler.doubt(self.planner.blocks());
        }
        self.settler.failed(bundle.round, &stop);
        stop
    }

    /// Somebody else has claimed, or the settings or the history are others.
    async fn differs(&mut self) -> Result<(), Stop> {
        let (next, revision) = (self.ledger.state().next, self.ledger.revision());
        let follows = self.planner.follows(next);
        self.look().await?;
        if self.ledger.revision() != revision || self.ledger.state().next != next {
            return Ok(());
        }
        // What was read before, or came as a push, may be lost since. The stream reports that when it goes on.
        let head = self.settler.contents().head().await?;
        if self.planner.cut(head.as_ref()) {
            return Ok(());
        }
        if !follows {
            self.planner.ahead().close();
            self.pace.look_soon();
        }
        self.pace.full();
        // That may be once; where it stays so, nothing is delivered.
        if self.pace.refused() {
            let subscription = self.name();
            tracing::warn!(subscription, next, "the claims of a subscription are refused; its channel is read again");
            self.planner.ahead().close();
            self.pace.look_soon();
        }
        Ok(())
    }

    /// Looks into the books: at the settings, at what is due, and at leases of others that are over. Opens the stream
    /// of what is ahead where there is none.
    async fn look(&mut self) -> Result<(), Stop> {
        self.pace.looked();
        let books = self.ledger.look(self.recipients.streams()).await?;
        if self.ledger.take_went_back() {
            self.planner.ahead().close();
        }
        self.settler.give_back_doubtful(&mut self.ledger).await?;
        self.settler.sweep(&books.overdue, &mut self.ledger).await?;
        if books.overdue.len() == SWEPT_BLOCKS {
            // There may be more.
            self.pace.look_now();
        }
        if !self.recipients.consumers().is_empty() {
            self.planner.open(books.position, self.ledger.settings()).await?;
        }
        Ok(())
    }

    /// All leases are over: the subscription was moved.
    pub(super) fn moved(&mut self) {
        self.settler.forget_all();
        self.recipients.consumers_mut().reset();
        self.planner.ahead().close();
        self.pace.look_now();
    }

    /// The broker does not answer, or refuses. Streams wait for it; calls are told.
    pub(super) fn away(&mut self, error: &Error) {
        let pause = self.pace.away();
        tracing::debug!(subscription = self.name(), %error, ?pause, "the books of a subscription can't be reached");
        let status = status::from_broker(error.clone(), Call::Consume);
        self.recipients.fail_calls(self.settler.leases(), &status);
        self.settler.batches().unavailable(error);
    }

    /// The subscription is not there any more: its streams end. Calls are left without an answer and ask again, since
    /// there may be another of its name.
    pub(super) fn leave(mut self, status: &Status) {
        self.recipients.leave(self.settler.leases(), status);
    }

    /// Ends all streams and calls.
    pub(super) fn end(&mut self, status: &Status) {
        self.recipients.end(self.settler.leases(), status);
        self.settler.batches().refuse(status);
    }
}

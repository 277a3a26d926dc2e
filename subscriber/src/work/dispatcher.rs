//! The dispatcher of a subscription: hands messages out to the consumers of this replica, and settles what they decide.
//!
//! One task, which does one thing at a time: it takes in what was asked, makes changes of it, has the broker carry them
//! out in one call, and tells everybody what became of it. What comes meanwhile waits for the next call, so that the
//! busier it is, the more goes together. All its knowledge of what is out may be wrong; the books decide.

use std::{
    future::{poll_fn, ready},
    sync::{Arc, atomic::AtomicI64},
    task::Poll,
};

use tidings::{
    broker::{
        Error,
        subscriptions::{Books, Outcome as Carried, Place, Subscriptions},
    },
    channel::Names,
    limits::{DISPATCH_ROUND, DUE_MESSAGES, SWEPT_BLOCKS, UNSENT},
    status::{self, Call},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use self::{
    bundle::{Bundle, Credits},
    company::Company,
    joint::Joint,
    ledger::{Ledger, Stop},
    pace::Pace,
    planner::Planner,
    recipients::Recipients,
    round::Round,
    sending::Sending,
    settler::Settler,
};
use super::{
    ahead::{Ahead, Item},
    claim::Plan,
    contents::Contents,
    looks::Looks,
    mailbox::{Inbox, Opened, Request, Seat},
    post::Post,
    settings::Settings,
};
use crate::stream::Source;

mod batches;
mod bundle;
mod company;
mod joint;
mod ledger;
mod pace;
mod planner;
mod pulls;
mod recipients;
mod round;
mod sending;
mod settler;
mod want;

/// What a dispatcher works with.
pub(super) struct Ground {
    pub(super) store: Arc<dyn Subscriptions>,
    pub(super) source: Source,
    pub(super) names: Arc<Names>,
    /// How many bytes of a log a subscription may hold.
    pub(super) hold_bytes: u64,
    pub(super) server: CancellationToken,
    /// The backlog, for heartbeats.
    pub(super) backlog: Arc<AtomicI64>,
    pub(super) looks: Looks,
}

pub(super) struct Dispatcher {
    ground: Ground,
    inbox: Inbox,
    ledger: Ledger,
    settler: Settler,
    planner: Planner,
    recipients: Recipients,
    company: Company,
    pace: Pace,
    /// A change that settled and claimed was not carried out: the next round does each by itself.
    is_spoilt: bool,
    sending: Sending,
}

impl Dispatcher {
    /// A dispatcher of a subscription that was found so, when that was asked.
    pub(super) fn new(
        place: Place,
        ground: Ground,
        inbox: Inbox,
        settings: Settings,
        (books, asked): (&Books, Instant),
    ) -> Self {
        let Ground { source, store, server, .. } = &ground;
        let contents = Contents::new(Arc::clone(&source.broker), place.channel.clone());
        let (broker, dead_letters) = (Arc::clone(&source.broker), settings.dead_letter_channel.clone());
        let post = Post::new(broker, Arc::clone(store), place.clone(), dead_letters);
        let mut dispatcher = Self {
            settler: Settler::new(contents),
            planner: Planner::new(Ahead::new(source.clone(), place.channel.clone(), server.clone())),
            ledger: Ledger::new(place, &ground, settings, (books, asked)),
            recipients: Recipients::default(),
            company: Company::default(),
            pace: Pace::new(ground.looks),
            is_spoilt: false,
            sending: Sending::new(post),
            ground,
            inbox,
        };
        dispatcher.note_unsent();
        dispatcher
    }

    /// Works until nobody needs it any more, the subscription is gone, or the server has ended. Then its streams have
    /// ended before: what they had is given back.
    pub(super) async fn run(mut self) {
        let server = self.ground.server.clone();
        while !self.is_over() {
            let is_due = self.wait(&server).await;
            if !is_due {
                continue;
            }
            match self.cycle().await {
                Ok(()) => self.pace.answered(),
                Err(Stop::Missing) => {
                    let missing = status::not_found(self.name());
                    return self.end(&missing);
                }
                Err(Stop::Moved) => self.moved(),
                Err(Stop::Broker(error)) => self.away(&error),
            }
        }
        let draining = status::draining(Call::Consume);
        self.end(&draining);
    }

    /// The server has ended. Nothing more is handed out; what its streams had is given back.
    fn drain(&mut self) {
        self.pace.drain();
        self.recipients.fail_calls(self.settler.leases(), &status::draining(Call::Consume));
    }

    fn is_over(&self) -> bool {
        if self.pace.is_draining() {
            return self.pace.is_drained() || self.recipients.consumers().is_empty() && self.settler.is_done();
        }
        !self.is_needed() && !self.sending.is_busy() && self.pace.is_idle()
    }

    /// Waits until there is something to do, and takes in what was asked. False where it is too early for it.
    async fn wait(&mut self, server: &CancellationToken) -> bool {
        let (next, wants) = (self.next_time(), self.wants());
        let goes_on = self.pace.goes_on();
        let Self { inbox, planner, sending, .. } = self;
        let ahead = planner.ahead();
        // Whether there is more to do than to settle.
        let mut is_more = true;
        let (mut request, mut closed) = (None, None);
        let mut filled = Poll::Pending;
        tokio::select! {
            biased;
            () = server.cancelled(), if !self.pace.is_draining() => {
                self.drain();
                return false;
            }
            Some(key) = inbox.closed.recv() => closed = Some(key),
            Some(asked) = inbox.requests.recv() => {
                request = Some(asked);
                is_more = goes_on;
            }
            result = poll_fn(|cx| ahead.poll_fill(cx)), if wants && ahead.is_open() => filled = Poll::Ready(result),
            () = poll_fn(|cx| sending.poll(cx)), if sending.is_under_way() => {}
            () = ready(()), if goes_on => {}
            () = sleep_until(next) => {}
        }
        if request.is_some() && ahead.is_open() {
            // What has come goes with the settlements, and with the credit that they free.
            filled = poll_fn(|cx| Poll::Ready(ahead.poll_fill(cx))).await;
            is_more |= filled.is_ready();
        }
        if let Poll::Ready(Err(status)) = filled {
            tracing::debug!(subscription = self.name(), %status, "the stream of a subscription ended; it is opened again");
            self.pace.look_now();
        }
        while let Some(key) = closed {
            self.close(key);
            closed = self.inbox.closed.try_recv().ok();
        }
        let mut taken = 0;
        while let Some(asked) = request.take().or_else(|| self.inbox.requests.try_recv().ok()) {
            taken += asked.decisions();
            is_more |= !matches!(asked, Request::Settle(..));
            self.take(asked);
            if taken >= DISPATCH_ROUND {
                is_more = true;
                break;
            }
        }
        let now = Instant::now();
        !self.pace.is_away() && (is_more || self.settle_at().is_none_or(|at| at <= now))
    }

    /// Until when settlements wait for a claim to go with; `None` where they go at once, since somebody may wait for
    /// the credit.
    fn settle_at(&self) -> Option<Instant> {
        let came = self.settler.patient_since()?;
        let has_credit = self.wants() && self.recipients.consumers().all_have_room() && self.retry_room() > 0;
        self.company.until(came).filter(|_| has_credit)
    }

    /// When something is to be done, if nothing comes before.
    fn next_time(&mut self) -> Instant {
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
        let most = self.ledger.settings().max_outstanding.saturating_sub(self.ledger.state().out);
        let room = usize::try_from(most).unwrap_or(usize::MAX);
        if self.wants() { self.recipients.consumers().room().min(room) } else { 0 }
    }

    /// Whether anybody needs it now.
    fn is_needed(&self) -> bool {
        !self.recipients.consumers().is_empty() || !self.settler.is_idle()
    }

    fn name(&self) -> &str {
        self.ledger.place().name.as_str()
    }

    fn take(&mut self, request: Request) {
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
    fn close(&mut self, key: u64) {
        self.pace.used();
        self.recipients.close(key, &mut self.settler);
    }

    /// One round: looks into the books where that is due, settles, and hands out.
    async fn cycle(&mut self) -> Result<(), Stop> {
        self.pace.begin();
        for key in self.recipients.abandoned() {
            self.close(key);
        }
        if self.ledger.take_went_back() {
            // What is ahead is read again from there.
            self.planner.ahead().close();
            self.pace.look_now();
        }
        // Another generation than is known here may be the present one.
        let generation = self.ledger.state().generation;
        if self.is_needed() && self.settler.batches().have_other(generation) {
            self.look().await?;
        } else if self.is_needed() && self.pace.is_look_due() {
            let is_at_rest = self.planner.ahead().is_open() && self.settler.is_idle();
            match is_at_rest && self.ledger.is_unchanged().await? {
                true => self.pace.looked(),
                false => self.look().await?,
            }
        }
        if self.recipients.consumers().is_empty() && self.planner.ahead().is_open() {
            self.planner.ahead().close();
        }
        self.recipients.give_back_over(&mut self.settler);
        let retries = self.plan_retries().await?;
        let begun = self.settler.begin(&self.ledger).await;
        let round = match begun {
            Ok(round) => round,
            Err(stop) => {
                retries.iter().for_each(|plan| plan.abandon(self.recipients.consumers_mut()));
                return Err(stop);
            }
        };
        let lent = self.lend(&round);
        let planned = match self.wants() {
            true => {
                let settled = lent.iter().map(|(_, credit)| credit.messages).sum();
                self.planner.claims(settled, &self.ledger, self.recipients.consumers_mut()).await
            }
            false => Ok(Vec::new()),
        };
        let claims = match planned {
            Ok(claims) => claims,
            Err(stop) => {
                for (consumer, credit) in lent {
                    self.recipients.consumers_mut().take_back(consumer, credit);
                }
                retries.iter().for_each(|plan| plan.abandon(self.recipients.consumers_mut()));
                self.settler.failed(round, &stop);
                return Err(stop);
            }
        };
        let (has_claims, room) = (!claims.is_empty(), self.recipients.consumers().room());
        // From when they were planned on: the answer may come late.
        let now = Instant::now();
        if has_claims {
            self.company.claimed(now);
        }
        let result = self.carry_out(Bundle { round, lent, retries, claims }, now + UNSENT).await;
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

    /// Lends the credit that settlements give back to the claims that go with them, where somebody waits for it. Where
    /// all have some, each goes by itself, so that neither spoils the other.
    fn lend(&mut self, round: &Round) -> Credits {
        let was_spoilt = std::mem::take(&mut self.is_spoilt);
        let is_used = !was_spoilt && !self.recipients.consumers().all_have_room() && self.planner.has_more();
        let lent = if is_used && Joint::is_possible(&round.groups) { self.settler.frees(round) } else { Vec::new() };
        for (consumer, credit) in &lent {
            self.recipients.consumers_mut().give_back(*consumer, *credit);
        }
        lent
    }

    /// Settles what is decided and hands out what is planned, in one call of the broker, and in more where others have
    /// changed the same blocks.
    async fn carry_out(&mut self, mut bundle: Bundle, until: Instant) -> Result<(), Stop> {
        let applied = bundle.apply(&mut self.ledger, self.recipients.consumers_mut()).await;
        let answer = match applied {
            Ok(answer) => answer,
            Err(stop) => {
                bundle.abandon(self.recipients.consumers_mut());
                self.settler.failed(bundle.round, &stop);
                return Err(stop);
            }
        };
        self.is_spoilt = answer.is_spoilt;
        let Bundle { mut round, retries, claims, .. } = bundle;
        let (retried, claimed) = (answer.retried(), answer.claimed());
        if !retried.is_empty() && !retried.contains(&Carried::Done) {
            // Another replica was faster.
            self.pace.retries_failed();
        }
        for (plan, carried) in retries.into_iter().zip(retried) {
            self.recipients.planned(plan, *carried, until, &self.ledger, self.settler.leases());
        }
        for (plan, carried) in claims.into_iter().zip(claimed) {
            // Those that were carried out come first: what they covered, losses too, is done once.
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
        let finished = if self.is_spoilt {
            // Another replica has claimed, or one of the settlements comes too late: each for itself.
            match self.ledger.apply(round.changes()).await {
                Ok(settled) => self.settler.finish(round, &settled, &mut self.ledger).await,
                Err(stop) => {
                    self.settler.failed(round, &stop);
                    return Err(stop);
                }
            }
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
        if is_done || is_full || self.is_spoilt { Ok(()) } else { self.differs().await }
    }

    /// Somebody else has claimed, or the settings or the history are others.
    async fn differs(&mut self) -> Result<(), Stop> {
        let (next, revision) = (self.ledger.state().next, self.ledger.revision());
        self.planner.ahead().skip_to(next);
        let follows = matches!(self.planner.ahead().first(), Some(Item::Message(message)) if message.sequence == next);
        self.look().await?;
        if self.ledger.revision() != revision || self.ledger.state().next != next {
            return Ok(());
        }
        // What was read before, or came as a push, may be lost since. The stream reports that when it goes on.
        let head = self.settler.contents().head().await?;
        if !self.planner.cut(head.as_ref()) {
            if !follows {
                self.planner.ahead().close();
                self.pace.look_soon();
            }
            self.pace.full();
            self.refused();
        }
        Ok(())
    }

    /// A claim was refused, and nothing shows why. That may be once; where it stays so, nothing is delivered.
    fn refused(&mut self) {
        if !self.pace.refused() {
            return;
        }
        let next = self.ledger.state().next;
        tracing::warn!(
            subscription = self.name(),
            next,
            "the claims of a subscription are refused; its channel is read again"
        );
        self.planner.ahead().close();
        self.pace.look_soon();
    }

    /// Looks into the books: at the settings, at what is due, and at leases of others that are over. Opens the stream
    /// of what is ahead where there is none.
    async fn look(&mut self) -> Result<(), Stop> {
        self.pace.looked();
        let books = self.ledger.look().await?;
        if self.ledger.take_went_back() {
            self.planner.ahead().close();
        }
        self.settler.sweep(&books.overdue, &mut self.ledger).await?;
        if books.overdue.len() == SWEPT_BLOCKS {
            // There may be more.
            self.pace.look_now();
        }
        if !self.recipients.consumers().is_empty()
            && !self.planner.ahead().is_open()
            && !self.ledger.settings().is_paused()
        {
            let opened = self.planner.ahead().open(books.position, self.ledger.settings().is_ordered()).await;
            opened.map_err(|status| Error::Unavailable(status.message().to_owned()))?;
        }
        Ok(())
    }

    /// All leases are over: the subscription was moved.
    fn moved(&mut self) {
        self.settler.forget_all();
        self.recipients.consumers_mut().reset();
        self.planner.ahead().close();
        self.pace.look_now();
    }

    /// The broker does not answer, or refuses. Streams wait for it; calls are told.
    fn away(&mut self, error: &Error) {
        let pause = self.pace.away();
        tracing::debug!(subscription = self.name(), %error, ?pause, "the books of a subscription can't be reached");
        let status = status::from_broker(error.clone(), Call::Consume);
        self.recipients.fail_calls(self.settler.leases(), &status);
        self.settler.batches().unavailable(error);
    }

    /// Ends all streams and calls.
    fn end(&mut self, status: &Status) {
        self.recipients.end(self.settler.leases(), status);
        self.settler.batches().refuse(status);
        // Whoever asks from now on finds that it has ended, and asks another.
        self.inbox.requests.close();
        while let Ok(request) = self.inbox.requests.try_recv() {
            match request {
                Request::Pull(_, reply) => drop(reply.send(Err(status.clone()))),
                Request::Settle(_, _, reply) => drop(reply.send(Err(status.clone()))),
                Request::Open(..) | Request::Credit(..) => {}
            }
        }
    }
}

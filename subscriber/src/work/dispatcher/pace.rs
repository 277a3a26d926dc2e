//! When a dispatcher does what, and why it waits.

use std::time::Duration;

use tidings::{
    backoff::Backoff,
    limits::{CLAIMS_REFUSED, DISPATCH_FINISH, FULL_PAUSE, SUBSCRIPTION_IDLE},
};
use tokio::time::Instant;

use super::super::looks::Looks;

pub(super) struct Pace {
    looks: Looks,
    /// There is more to be handed out at once.
    goes_on: bool,
    /// When the books are looked into again.
    look_at: Instant,
    /// As many are out as may be: until then nothing is claimed.
    full_until: Option<Instant>,
    /// Nothing that is due could be handed out: until then that is not tried again.
    retries_at: Option<Instant>,
    /// Since when claims are refused, though nothing has changed that would say why.
    refused_since: Option<Instant>,
    /// Since when nobody needs it.
    idle_since: Instant,
    /// The server stops: until then streams may still settle, and what they have is given back.
    draining: Option<Instant>,
    /// The broker is away: until then nothing is asked of it.
    away_until: Option<Instant>,
    backoff: Backoff,
}

impl Pace {
    pub(super) fn new(looks: Looks) -> Self {
        let now = Instant::now();
        Self {
            looks,
            goes_on: false,
            look_at: now,
            full_until: None,
            retries_at: None,
            refused_since: None,
            idle_since: now,
            draining: None,
            away_until: None,
            backoff: Backoff::default(),
        }
    }

    /// When something is to be done, if nothing comes before. It has the times of others, and whether it is needed.
    pub(super) fn next_time(&self, is_needed: bool, others: impl IntoIterator<Item = Instant>) -> Instant {
        let rest = if is_needed { self.look_at } else { self.idle_since + SUBSCRIPTION_IDLE };
        let own = [self.draining, self.full_until].into_iter().flatten();
        let next = own.chain(others).fold(rest, Instant::min);
        self.away_until.map_or(next, |until| next.max(until))
    }

    /// A round begins.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        self.goes_on = false;
        self.full_until = self.full_until.filter(|until| *until > now);
    }

    /// Whether the next round is to begin at once.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The next round begins at once.
    pub(super) fn go_on(&mut self) {
        self.goes_on = true;
    }

    pub(super) fn is_look_due(&self) -> bool {
        self.look_at <= Instant::now()
    }

    pub(super) fn look_now(&mut self) {
        self.look_at = Instant::now();
    }

    /// Something is wrong that may take a moment: the books are looked into after that.
    pub(super) fn look_soon(&mut self) {
        self.look_at = Instant::now() + FULL_PAUSE;
    }

    /// The books are looked into now.
    pub(super) fn looked(&mut self) {
        self.look_at = self.looks.next(Instant::now());
    }

    /// Whether anything may be handed out.
    pub(super) fn may_claim(&self) -> bool {
        self.draining.is_none() && self.full_until.is_none()
    }

    /// As many are out as may be, or nothing can be claimed for another reason.
    pub(super) fn full(&mut self) {
        self.full_until = Some(Instant::now() + FULL_PAUSE);
    }

    /// Something was settled: there is room again.
    pub(super) fn freed(&mut self) {
        (self.full_until, self.retries_at) = (None, None);
    }

    /// A claim was carried out.
    pub(super) fn claimed(&mut self) {
        self.refused_since = None;
    }

    /// A claim was refused, and nothing shows why. Whether that has been so for long.
    pub(super) fn refused(&mut self) -> bool {
        let now = Instant::now();
        let is_long = *self.refused_since.get_or_insert(now) + CLAIMS_REFUSED <= now;
        if is_long {
            self.refused_since = Some(now);
        }
        is_long
    }

    /// When what is due at a time is to be handed out.
    pub(super) fn retry_at(&self, due: Instant) -> Instant {
        self.retries_at.map_or(due, |at| due.max(at))
    }

    /// Nothing that is due could be handed out.
    pub(super) fn retries_failed(&mut self) {
        self.retries_at = Some(Instant::now() + FULL_PAUSE);
    }

    /// Something was asked. There may be more credit.
    pub(super) fn asked(&mut self) {
        self.used();
        self.retries_at = None;
    }

    pub(super) fn used(&mut self) {
        self.idle_since = Instant::now();
    }

    /// Whether nobody has used it for so long that it may end.
    pub(super) fn is_idle(&self) -> bool {
        self.idle_since.elapsed() >= SUBSCRIPTION_IDLE
    }

    /// The server has ended.
    pub(super) fn drain(&mut self) {
        self.draining = Some(Instant::now() + DISPATCH_FINISH);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether the time is over in which streams may still settle.
    pub(super) fn is_drained(&self) -> bool {
        self.draining.is_some_and(|end| end <= Instant::now())
    }

    /// The broker does not answer. It is asked again after the pause that comes back.
    pub(super) fn away(&mut self) -> Duration {
        let (now, pause) = (Instant::now(), self.backoff.jittered());
        (self.away_until, self.look_at) = (Some(now + pause), now);
        pause
    }

    pub(super) fn is_away(&self) -> bool {
        self.away_until.is_some_and(|until| until > Instant::now())
    }

    /// The broker has answered.
    pub(super) fn answered(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use tidings::limits::LOOK_INTERVAL;
    use tokio::time::advance;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace::new(Looks::new())
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_while_it_is_needed_and_then_waits_until_it_is_idle() {
        let (mut pace, begin) = (pace(), Instant::now());
        assert!(pace.is_look_due());
        pace.looked();
        assert!(!pace.is_look_due());
        assert_eq!(pace.next_time(true, None), begin + LOOK_INTERVAL);
        assert_eq!(pace.next_time(true, [begin + 2 * MOMENT, begin + MOMENT]), begin + MOMENT);
        assert_eq!(pace.next_time(false, None), begin + SUBSCRIPTION_IDLE);
        advance(SUBSCRIPTION_IDLE - MOMENT).await;
        assert!(!pace.is_idle());
        pace.used();
        advance(MOMENT).await;
        assert!(!pace.is_idle() && pace.is_look_due());
        advance(SUBSCRIPTION_IDLE).await;
        assert!(pace.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_claimed_while_it_is_full() {
        let (mut pace, begin) = (pace(), Instant::now());
        pace.looked();
        pace.full();
        pace.begin();
        assert!(!pace.may_claim());
        assert_eq!(pace.next_time(true, None), begin + FULL_PAUSE);
        advance(FULL_PAUSE).await;
        assert!(!pace.may_claim(), "a round has to begin");
        pace.begin();
        assert!(pace.may_claim());
        pace.full();
        pace.freed();
        assert!(pace.may_claim());
    }

    #[tokio::test(start_paused = true)]
    async fn retries_that_failed_wait_until_something_changes() {
        let (mut pace, begin) = (pace(), Instant::now());
        let late = begin + 2 * FULL_PAUSE;
        assert_eq!(pace.retry_at(begin), begin);
        pace.retries_failed();
        assert_eq!((pace.retry_at(begin), pace.retry_at(late)), (begin + FULL_PAUSE, late));
        for change in [Pace::asked, Pace::freed] {
            pace.retries_failed();
            change(&mut pace);
            assert_eq!(pace.retry_at(begin), begin);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_said_where_they_last_and_not_each_time() {
        let mut pace = pace();
        assert!(!pace.refused());
        advance(CLAIMS_REFUSED - MOMENT).await;
        assert!(!pace.refused());
        advance(MOMENT).await;
        assert!(pace.refused() && !pace.refused());
        advance(CLAIMS_REFUSED).await;
        pace.claimed();
        assert!(!pace.refused());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_of_a_broker_that_is_away() {
        let (mut pace, begin) = (pace(), Instant::now());
        pace.looked();
        assert!(!pace.is_away());
        let pause = pace.away();
        assert!(pace.is_away() && pace.is_look_due());
        assert_eq!(pace.next_time(true, [begin]), begin + pause);
        advance(pause).await;
        assert!(!pace.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_hands_nothing_out_and_waits_for_a_while() {
        let mut pace = pace();
        assert!(!pace.is_draining() && !pace.is_drained());
        pace.drain();
        assert!(pace.is_draining() && !pace.is_drained() && !pace.may_claim());
        advance(DISPATCH_FINISH).await;
        assert!(pace.is_drained());
    }
}

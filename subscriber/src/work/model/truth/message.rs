//! What must be so of one message in one generation, by what consumers have seen. Its rules say why something may not
//! be.

use std::time::Duration;

use tidings::subscription::BlockId;
use tokio::time::Instant;

use super::{Asked, Deed};
use crate::work::outcome::Outcome;

/// Times are counted in milliseconds.
const SLACK: Duration = Duration::from_millis(2);

/// A lease that the broker has written.
struct Grant {
    block: BlockId,
    replica: usize,
    at: Instant,
    is_seen: bool,
}

/// A delivery that a consumer took.
struct Lease {
    block: BlockId,
    attempt: u32,
    /// Its deadline, or its last extension; the earlier where it is not known which.
    until: Instant,
    extensions: Vec<(Instant, Option<Instant>)>,
    /// When somebody first asked for its end.
    end_asked: Option<Instant>,
    /// Somebody asked for another end than an acknowledgement.
    is_given_back: bool,
    /// Somebody asked not to count it.
    may_not_count: bool,
    /// Whether it counted, where that is known.
    counted: Option<bool>,
}

impl Lease {
    /// Until when nobody else may have the message.
    fn valid_until(&self) -> Instant {
        self.end_asked.map_or(self.until, |asked| asked.min(self.until))
    }
}

#[derive(Default)]
pub(super) struct Message {
    /// The deliveries that counted before the next one: at least and at most.
    low: u32,
    high: u32,
    grant: Option<Grant>,
    last: Option<Lease>,
    pub(super) acknowledged: Option<Instant>,
    /// It is dead for sure.
    pub(super) is_dead: bool,
    redriven: Option<Instant>,
    pub(super) history: Vec<String>,
}

/// A delivery as a consumer took it.
pub(in super::super) struct Taken {
    pub(in super::super) block: BlockId,
    pub(in super::super) attempt: u32,
    pub(in super::super) until: Instant,
}

impl Message {
    /// The broker leases it. `faulted` says when something last went wrong at a replica.
    pub(super) fn granted(
        &mut self,
        block: BlockId,
        replica: usize,
        faulted: impl Fn(usize) -> Option<Instant>,
    ) -> Result<(), String> {
        let now = Instant::now();
        if let Some(Grant { replica, at, is_seen: false, .. }) = self.grant
            && faulted(replica).is_some_and(|faulted| faulted >= at)
        {
            // Whoever gave it back could not know that it was never sent.
            self.high += 1;
        }
        if self.grant.as_ref().is_some_and(|grant| grant.is_seen)
            && let Some(last) = &self.last
        {
            let may_not_count = last.may_not_count && last.counted.is_none() || last.counted == Some(false);
            let must_count = !may_not_count || last.counted == Some(true);
            self.low = last.attempt - u32::from(!must_count);
            self.high = last.attempt - u32::from(last.counted == Some(false));
        }
        self.grant = Some(Grant { block, replica, at: now, is_seen: false });
        if self.acknowledged.is_some() {
            return Err("leased after it was acknowledged".to_owned());
        }
        if self.is_dead {
            return Err("leased after it was dead".to_owned());
        }
        match self.last.as_ref().map(Lease::valid_until) {
            Some(until) if now + SLACK < until => Err(format!("leased again {:?} too early", until - now)),
            _ => Ok(()),
        }
    }

    /// A consumer took a delivery. `limit` is how many there may be; 0 where that is not known.
    pub(super) fn delivered(&mut self, taken: &Taken, limit: u32) -> Result<(), String> {
        let now = Instant::now();
        let Some(grant) = self.grant.as_mut().filter(|grant| grant.block == taken.block) else {
            return Err("delivered under a lease that is over".to_owned());
        };
        if std::mem::replace(&mut grant.is_seen, true) {
            return Err("delivered twice under one lease".to_owned());
        }
        if self.acknowledged.is_some() {
            return Err("delivered after it was acknowledged".to_owned());
        }
        if self.is_dead {
            return Err("delivered after it was dead".to_owned());
        }
        if let Some(until) = self.last.as_ref().map(Lease::valid_until)
            && now + SLACK < until
        {
            return Err(format!("delivered again {:?} too early", until - now));
        }
        let before = taken.attempt.wrapping_sub(1);
        if !(self.low..=self.high).contains(&before) {
            let (low, high) = (self.low + 1, self.high + 1);
            return Err(format!("attempt {}, and it should be {low} to {high}", taken.attempt));
        }
        if limit > 0 && taken.attempt > limit {
            return Err(format!("attempt {}, and at most {limit} are allowed", taken.attempt));
        }
        (self.low, self.high) = (before, before);
        self.last = Some(Lease {
            block: taken.block,
            attempt: taken.attempt,
            until: taken.until,
            extensions: Vec::new(),
            end_asked: None,
            is_given_back: false,
            may_not_count: false,
            counted: None,
        });
        Ok(())
    }

    fn lease(&mut self, block: BlockId) -> Option<&mut Lease> {
        self.last.as_mut().filter(|last| last.block == block)
    }

    /// Something is asked about a delivery.
    pub(super) fn asked(&mut self, block: BlockId, asked: &Asked) {
        let Some(lease) = self.lease(block) else { return };
        match asked.deed {
            Deed::Extend(time) => {
                lease.until = lease.until.min(asked.at + time);
                lease.extensions.push((asked.at, None));
            }
            Deed::Acknowledge => _ = lease.end_asked.get_or_insert(asked.at),
            Deed::Reject { is_uncounted, .. } => {
                lease.end_asked.get_or_insert(asked.at);
                lease.is_given_back = true;
                lease.may_not_count |= is_uncounted;
            }
        }
    }

    /// The stream that has a delivery was closed.
    pub(super) fn closed(&mut self, block: BlockId) {
        if let Some(lease) = self.lease(block) {
            lease.end_asked.get_or_insert_with(Instant::now);
            lease.is_given_back = true;
        }
    }

    /// What was asked is answered. `limit` is as for deliveries.
    pub(super) fn answered(
        &mut self,
        block: BlockId,
        asked: &Asked,
        outcome: Outcome,
        limit: u32,
    ) -> Result<(), String> {
        match (asked.deed, outcome) {
            (Deed::Acknowledge, Outcome::Done) => {
                self.acknowledged.get_or_insert_with(Instant::now);
            }
            (Deed::Acknowledge, Outcome::Stale) => return self.refused(block, asked),
            (Deed::Reject { is_uncounted, is_dead }, Outcome::Done) => {
                let redriven = self.redriven;
                if let Some(lease) = self.lease(block) {
                    lease.counted = Some(!is_uncounted);
                    let is_used_up = limit > 0 && !is_uncounted && lease.attempt >= limit;
                    self.is_dead |= (is_dead || is_used_up) && redriven.is_none_or(|redriven| redriven < asked.at);
                }
            }
            (Deed::Extend(time), Outcome::Done) => {
                let now = Instant::now();
                if let Some(lease) = self.lease(block) {
                    let others = lease.extensions.iter().filter(|(at, _)| *at != asked.at);
                    let overlaps = others.filter(|(_, end)| end.is_none_or(|end| end >= asked.at)).count();
                    let until = asked.at + time;
                    lease.until = if overlaps > 0 { lease.until.min(until) } else { until };
                    for extension in lease.extensions.iter_mut().filter(|(at, _)| *at == asked.at) {
                        extension.1 = Some(now);
                    }
                }
            }
            (Deed::Reject { .. } | Deed::Extend(_), Outcome::Stale) | (_, Outcome::Unknown) => {}
        }
        Ok(())
    }

    /// An acknowledgement came too late, it is said.
    fn refused(&mut self, block: BlockId, asked: &Asked) -> Result<(), String> {
        if self.acknowledged.is_some_and(|at| at <= asked.at) {
            return Err("acknowledged before, and now it is said to be stale".to_owned());
        }
        let Some(lease) = self.lease(block) else { return Ok(()) };
        if !lease.is_given_back && Instant::now() + SLACK < lease.until {
            return Err("the lease is not over, and it is said to be stale".to_owned());
        }
        Ok(())
    }

    /// It is dead no longer.
    pub(super) fn redriven(&mut self) {
        (self.low, self.high, self.grant, self.last, self.is_dead) = (0, 0, None, None, false);
        self.redriven = Some(Instant::now());
    }
}

//! Faults between a replica and the broker: calls that wait, fail before or after they were carried out, or are carried
//! out after their caller was told; a replica that is stopped for a while, or dies.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tidings::broker::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::truth::Shared;

/// Whether a replica runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// It goes on some time.
    Stopped,
    /// It never does.
    Dead,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Slow,
    Before,
    After,
    Late,
}

/// What one replica suffers.
pub(super) struct Faults {
    pub(super) replica: usize,
    pub(super) truth: Shared,
    gate: watch::Sender<Gate>,
    /// Whether calls fail by chance.
    is_on: AtomicBool,
    rng: Mutex<Rng>,
    /// The next call of this name is carried out, and not answered.
    unanswered: Mutex<Option<&'static str>>,
}

impl Faults {
    pub(super) fn new(replica: usize, truth: Shared, rng: Rng) -> Arc<Self> {
        let (gate, is_on) = (watch::Sender::new(Gate::Open), AtomicBool::new(false));
        Arc::new(Self { replica, truth, gate, is_on, rng: Mutex::new(rng), unanswered: Mutex::default() })
    }

    /// The next call of this name is carried out, and not answered.
    pub(super) fn leave_unanswered(&self, name: &'static str) {
        *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    pub(super) fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Relaxed);
    }

    pub(super) fn gate(&self) -> Gate {
        *self.gate.borrow()
    }

    pub(super) fn turn(&self, gate: Gate) {
        self.truth.fault(self.replica, &format!("{gate:?}"));
        // What is dead stays so.
        self.gate.send_if_modified(|now| *now != Gate::Dead && std::mem::replace(now, gate) != gate);
    }

    /// Waits until the replica runs.
    pub(super) async fn pass(&self) {
        let mut gate = self.gate.subscribe();
        if gate.wait_for(|gate| *gate == Gate::Open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn draw(&self) -> (Fate, Duration, Duration) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait = |ms: std::ops::Range<u64>| Duration::from_micros(rng.u64(ms.start * 1_000..ms.end * 1_000));
        let (there, back) = (wait(0..2), wait(0..2));
        if !self.is_on.load(Relaxed) {
            return (Fate::Fine, there, back);
        }
        match rng.u32(..1_000) {
            0..30 => (Fate::Before, there, back),
            30..60 => (Fate::After, there, back),
            60..70 => (Fate::Late, Duration::from_millis(rng.u64(1..3_000)), back),
            70..100 => (Fate::Slow, Duration::from_millis(rng.u64(1..4_000)), back),
            100..130 => (Fate::Slow, there, Duration::from_millis(rng.u64(1..4_000))),
            _ => (Fate::Fine, there, back),
        }
    }

    /// Makes a call, with what happens to it on the way.
    pub(super) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.pass().await;
        let (mut fate, there, back) = self.draw();
        if self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).take_if(|next| *next == name).is_some() {
            fate = Fate::After;
        }
        if fate != Fate::Fine {
            self.truth.fault(self.replica, &format!("{fate:?} {name} {there:?} {back:?}"));
        }
        if fate == Fate::Late {
            let late = Arc::clone(self);
            tokio::spawn(async move {
                sleep(there).await;
                drop(call.await);
                // Its caller knows of nothing that it did.
                late.truth.fault(late.replica, "a late call");
            });
            sleep(back).await;
            return Err(Error::OutcomeUnknown("a late one".to_owned()));
        }
        let begun = Instant::now();
        sleep(there).await;
        if fate == Fate::Before {
            return Err(Error::Unavailable("not done".to_owned()));
        }
        let answer = call.await;
        if self.gate() != Gate::Open {
            // What was on its way is carried out, and its caller is gone, or hears of it late.
            self.truth.fault(self.replica, &format!("{name} behind a closed gate"));
        }
        sleep(back).await;
        if self.gate() != Gate::Open {
            self.pass().await;
            // Who is served first when a replica goes on is chance: its consumers may be.
            sleep(back.min(Duration::from_millis(2)) * 30).await;
        }
        if begun.elapsed() > Duration::from_secs(1) {
            self.truth.fault(self.replica, "an answer that took long");
        }
        if fate == Fate::After { Err(Error::OutcomeUnknown("perhaps done".to_owned())) } else { answer }
    }
}

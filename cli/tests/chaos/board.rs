//! What all parts of a run share: the clock, the history that they write, where the services are, and how far the run
//! is.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use tidings::cursor::{Owner, old_hash};
use tidings_testing::free_port;
use tokio::sync::watch;

use crate::history::{At, History, Positions};

/// The channel on which what plain programs publish is taken into the log: the services' default.
pub(crate) const CAPTURED: &str = "channel1";
/// How the channels begin on which dead letters are published.
pub(crate) const LETTERS: &str = "dead-letter.";

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults happen, readers come and go.
    Wild,
    /// Faults are over; streams stay open.
    Calm,
    /// All ends.
    Over,
}

/// The shared part of a run.
pub(crate) struct Board {
    began: Instant,
    /// The same moment by the clock that services tell.
    began_clock: SystemTime,
    history: Mutex<History>,
    pub(crate) publishers: Vec<Slot>,
    pub(crate) subscribers: Vec<Slot>,
    /// All channels that are used, in the order in which they begin.
    pub(crate) channels: Vec<String>,
    /// These, and those on which only the services publish: dead letters.
    pub(crate) all_channels: Vec<String>,
    /// Where the present primary listens.
    pub(crate) primary: AtomicU16,
    pub(crate) phase: watch::Sender<Phase>,
    /// The positions of readers, and since when their streams are open.
    progress: Mutex<Vec<(At, Positions)>>,
    /// The bodies of numbered messages that streams delivered since all is calm: of open streams the history has
    /// nothing yet.
    numbered: Mutex<HashSet<String>>,
    calls: AtomicUsize,
}

/// A slot for a service: what runs there now.
pub(crate) struct Slot {
    pub(crate) address: SocketAddr,
    instance: AtomicUsize,
}

/// No one instance: while one service goes and another comes.
pub(crate) const NOBODY: usize = 0;

impl Board {
    /// A run's board, whose clock begins now.
    pub(crate) fn new(
        publishers: usize,
        subscribers: usize,
        readers: usize,
        channels: Vec<String>,
        letters: Vec<String>,
    ) -> Self {
        let mut instances = 1..;
        let mut slots = |count| -> Vec<Slot> {
            let slot = |instance| Slot {
                address: SocketAddr::from(([127, 0, 0, 1], free_port())),
                instance: AtomicUsize::new(instance),
            };
            instances.by_ref().take(count).map(slot).collect()
        };
        Self {
            began: Instant::now(),
            began_clock: SystemTime::now(),
            history: Mutex::default(),
            publishers: slots(publishers),
            subscribers: slots(subscribers),
            all_channels: channels.iter().cloned().chain(letters).collect(),
            channels,
            primary: AtomicU16::new(0),
            phase: watch::Sender::new(Phase::Wild),
            progress: Mutex::new(vec![(At::ZERO, Positions::new()); readers]),
            numbered: Mutex::default(),
            calls: AtomicUsize::new(0),
        }
    }

    pub(crate) fn now(&self) -> At {
        self.began.elapsed()
    }

    /// A moment that a service told.
    pub(crate) fn at(&self, time: SystemTime) -> At {
        time.duration_since(self.began_clock).unwrap_or_default()
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn trouble(&self, text: impl Into<String>) {
        self.history().troubles.push(text.into());
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    /// Waits until the run is as far as this.
    pub(crate) async fn reaches(&self, phase: Phase) {
        let mut now = self.phase.subscribe();
        // The board outlives all who wait.
        let _ = now.wait_for(|now| *now >= phase).await;
    }

    /// A number for a call.
    pub(crate) fn call(&self) -> usize {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// A reader is here now, on a stream that was opened then.
    pub(crate) fn moved(&self, reader: usize, opened: At, at: &Positions) {
        let (since, positions) = &mut self.progress.lock().unwrap_or_else(PoisonError::into_inner)[reader];
        *since = opened;
        positions.clone_from(at);
    }

    /// A stream delivered this message, which has a number.
    pub(crate) fn delivered(&self, body: &str) {
        if self.is(Phase::Calm) {
            self.numbered.lock().unwrap_or_else(PoisonError::into_inner).insert(body.to_owned());
        }
    }

    /// Whether a stream delivered this message with a number since all is calm.
    pub(crate) fn is_delivered(&self, body: &str) -> bool {
        self.numbered.lock().unwrap_or_else(PoisonError::into_inner).contains(body)
    }

    /// The positions of all readers, and since when their streams are open.
    pub(crate) fn progress(&self) -> Vec<(At, Positions)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The channel that a cursor knows by this hash.
    pub(crate) fn channel(&self, owner: &Owner) -> Option<&String> {
        self.all_channels.iter().find(|channel| owner.is(channel))
    }

    /// A channel among those that have begun by now: one of the first six most of the time, for the others begin one a
    /// second, and are quiet.
    pub(crate) fn some_channel(&self, rng: &mut fastrand::Rng) -> String {
        const BUSY: usize = 6;
        let begun = (BUSY + self.now().as_secs() as usize).min(self.channels.len());
        if rng.u8(..12) == 0 {
            return CAPTURED.to_owned();
        }
        let index = match rng.u8(..10) {
            0..=4 => rng.usize(..2),
            5..=7 => rng.usize(2..BUSY),
            8 => begun - 1,
            _ => rng.usize(..begun),
        };
        self.channels[index].clone()
    }
}

impl Slot {
    /// The service that is here.
    pub(crate) fn instance(&self) -> usize {
        self.instance.load(Ordering::SeqCst)
    }

    /// Whether the service was ever replaced.
    pub(crate) fn was_restarted(&self, slots: usize) -> bool {
        let now = self.instance();
        now == NOBODY || now > slots
    }

    pub(crate) fn set_instance(&self, instance: usize) {
        self.instance.store(instance, Ordering::SeqCst);
    }
}

/// What a message says: a label of its own, and stuffing that the label decides, so that its bytes can be checked.
pub(crate) fn body(label: &str) -> String {
    let hash = old_hash(label);
    let length = match hash % 20 {
        0 => 4_000 + (hash >> 8) % 8_000,
        _ => 10 + (hash >> 8) % 200,
    };
    let letter = char::from(b'a' + (hash >> 32) as u8 % 26);
    format!("{label}:{}", letter.to_string().repeat(length as usize))
}

/// The ordering key of a message: each channel has a few, and some of its messages have none.
pub(crate) fn ordering_key(label: &str) -> String {
    match old_hash(label) % 7 {
        0 => String::new(),
        key => format!("key {key}"),
    }
}

/// The label of what was received; all of it where the stuffing is not the label's.
pub(crate) fn label(text: &str) -> String {
    let label = text.split(':').next().unwrap_or_default();
    if body(label) == text { label.to_owned() } else { format!("bent {text}") }
}

/// The same of a message of a channel. One that has died twice is on a dead-letter channel twice, with two ids.
pub(crate) fn label_on(channel: &str, text: &str, id: &str) -> String {
    if channel.starts_with(LETTERS) { format!("{} as {id}", label(text)) } else { label(text) }
}

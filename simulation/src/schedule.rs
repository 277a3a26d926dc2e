//! A schedule: who is there, and what happens, step by step. A step that can't be done at its point is passed over,
//! so that steps can be taken out of a schedule.

/// Who is there.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) servers: usize,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) readers: Vec<ReaderPlan>,
    pub(crate) max_messages: u64,
    pub(crate) dedup_window_ms: u64,
    /// Instead of Redis: the embedded broker.
    pub(crate) embedded: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ReaderPlan {
    pub(crate) topic: &'static str,
    pub(crate) earliest: bool,
}

pub(crate) const CHANNELS: [&str; 2] = ["c.a", "c.b"];
pub(crate) const PATTERN: &str = "c.*";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A publish of some messages.
    Publish {
        publisher: usize,
        channel: usize,
        messages: usize,
        with_id: bool,
        replicas: u32,
    },
    /// The same message again, under its id, which is the newest but so many.
    Retry {
        publisher: usize,
        back: usize,
    },
    Open {
        reader: usize,
        subscriber: usize,
    },
    Leave {
        reader: usize,
    },
    Stall {
        reader: usize,
        stalls: bool,
    },
    /// A lister takes its next page.
    Page {
        lister: usize,
        subscriber: usize,
    },
    RestartPublisher {
        publisher: usize,
    },
    RestartSubscriber {
        subscriber: usize,
    },
    Kill {
        server: usize,
    },
    /// It comes back with what it had so many steps before.
    Start {
        server: usize,
        back: usize,
    },
    Stop {
        server: usize,
    },
    Wake {
        server: usize,
    },
    Promote {
        server: usize,
    },
    Demote {
        server: usize,
        of: usize,
    },
    Lag {
        server: usize,
        lags: bool,
    },
    /// Where a client connects from now on; what it has stays, or is cut.
    Route {
        client: usize,
        server: usize,
        cuts: bool,
    },
    Cut {
        client: usize,
        live: bool,
    },
    Hold {
        client: usize,
        live: bool,
        commands: bool,
    },
    Release {
        client: usize,
    },
    Flush {
        server: usize,
    },
    /// One channel's keys as they were so many steps before.
    Restore {
        server: usize,
        channel: usize,
        back: usize,
        ids: bool,
    },
    DropRegistry {
        server: usize,
    },
    Clock {
        server: usize,
        ms: i64,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) setup: Setup,
    /// What happens, and how long to wait after it, ms; 0 for a moment.
    pub(crate) steps: Vec<(Step, u64)>,
}

impl Setup {
    /// A client's host: publishers come first.
    pub(crate) fn client(&self, client: usize) -> String {
        match client.checked_sub(self.publishers) {
            None => publisher(client),
            Some(subscriber) => self::subscriber(subscriber),
        }
    }

    pub(crate) fn clients(&self) -> usize {
        self.publishers + self.subscribers
    }
}

pub(crate) fn publisher(index: usize) -> String {
    format!("P{index}")
}

pub(crate) fn subscriber(index: usize) -> String {
    format!("Q{index}")
}

impl Step {
    /// Whether servers may fork or lose something by it.
    pub(crate) fn may_lose(self) -> bool {
        matches!(
            self,
            Self::Flush { .. }
                | Self::Restore { .. }
                | Self::Start { .. }
                | Self::Promote { .. }
                | Self::Demote { .. }
                | Self::Route { .. }
                | Self::Wake { .. }
        )
    }

    /// In words.
    pub(crate) fn describe(&self, setup: &Setup) -> String {
        let client = |index: &usize| setup.client(*index);
        let copy = |back: &usize| match back {
            0 => "all it had".to_owned(),
            back => format!("what it had {back} writes before"),
        };
        match self {
            Self::Publish { publisher, channel, messages, with_id, replicas } => {
                let id = if *with_id { ", with an id" } else { "" };
                let replicas = if *replicas > 0 { ", waiting for a replica" } else { "" };
                format!("P{publisher} publishes {messages} on {}{id}{replicas}", CHANNELS[*channel])
            }
            Self::Retry { publisher, back } => format!("P{publisher} publishes the {back}th newest id again"),
            Self::Open { reader, subscriber } => format!("R{reader} opens its stream at Q{subscriber}"),
            Self::Leave { reader } => format!("R{reader} leaves"),
            Self::Stall { reader, stalls: true } => format!("R{reader} stops reading"),
            Self::Stall { reader, .. } => format!("R{reader} reads on"),
            Self::Page { lister, subscriber } => format!("L{lister} takes a page of Q{subscriber}"),
            Self::RestartPublisher { publisher } => format!("P{publisher} is restarted and remembers nothing"),
            Self::RestartSubscriber { subscriber } => format!("Q{subscriber} is restarted"),
            Self::Kill { server } => format!("S{server} dies"),
            Self::Start { server, back } => format!("S{server} starts with {}", copy(back)),
            Self::Stop { server } => format!("S{server} is stopped (SIGSTOP)"),
            Self::Wake { server } => format!("S{server} wakes"),
            Self::Promote { server } => format!("S{server} is promoted"),
            Self::Demote { server, of } => format!("S{server} becomes a replica of S{of}"),
            Self::Lag { server, lags: true } => format!("S{server} begins to lag"),
            Self::Lag { server, .. } => format!("S{server} lags no more"),
            Self::Route { client: of, server, cuts } => {
                format!("{} is led to S{server}{}", client(of), if *cuts { ", and cut" } else { "" })
            }
            Self::Cut { client: of, live } => format!("{}'s {} are cut", client(of), connections(*live)),
            Self::Hold { client: of, live, commands } => {
                let what = if *commands { "what goes out" } else { "what comes in" };
                format!("{what} on {}'s {} is held up", client(of), connections(*live))
            }
            Self::Release { client: of } => format!("{}'s connections are free", client(of)),
            Self::Flush { server } => format!("S{server} is flushed"),
            Self::Restore { server, channel, back, ids } => {
                let ids = if *ids { " and ids" } else { "" };
                format!("S{server} gets head and log{ids} of {} as {back} writes before", CHANNELS[*channel])
            }
            Self::DropRegistry { server } => format!("S{server} loses its registry"),
            Self::Clock { server, ms } => format!("S{server}'s clock is {ms} ms off"),
        }
    }
}

fn connections(live: bool) -> &'static str {
    if live { "live connections" } else { "command connections" }
}

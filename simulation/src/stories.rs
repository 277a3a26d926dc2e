//! Schedules that are written, not drawn: each tells of one loss that was once silent, or of one message that came
//! twice.

use crate::schedule::{CHANNELS, PATTERN, ReaderPlan, Schedule, Setup, Step};

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Schedule)> {
    vec![
        ("two publishers, one failover", two_publishers()),
        ("a primary that was stopped acknowledges when it wakes", woken()),
        ("a rollback inside one epoch", rollback()),
        ("a rollback that leaves a publisher where it was", unseen_rollback()),
        ("a pattern that resumes after a flush", flushed_pattern()),
        ("a pattern that resumes without a registry", no_registry()),
        ("a cursor from before the first message", before_the_first()),
        ("a clock that is twenty days late", late_clock()),
        ("back to the old primary", failback()),
        ("a rollback that nobody noticed, and another publisher writes on", written_on()),
        ("two flushes in a row", two_flushes()),
        ("two servers in a row without the channel", two_absences()),
        ("a rollback while the live link is down", rollback_while_live_is_down()),
        ("a rollback right after a stream was opened", rollback_after_opening()),
        ("a rollback that only the streams can know, while the live link is down", rollback_unknown(1)),
        ("the same, and the new end lies beyond the old one", rollback_unknown(3)),
        ("a rollback that was reported, and the epoch goes on", rollback_reported()),
        ("a copy from before a flush is restored; its epoch continues", copy_from_before_a_flush()),
        ("without history, over to a server with an older epoch and back", unkept_fork()),
        ("a flush between a push and its head", flushed_push(CHANNELS[0])),
        ("the same under a pattern", flushed_push(PATTERN)),
    ]
}

fn setup(servers: usize, publishers: usize, topic: &'static str) -> Setup {
    Setup {
        seed: 1,
        servers,
        publishers,
        subscribers: 1,
        readers: vec![ReaderPlan { topic, earliest: false }],
        max_messages: 1_000,
        dedup_window_ms: 120_000,
        embedded: false,
    }
}

fn publish(publisher: usize, messages: usize) -> Step {
    Step::Publish { publisher, channel: 0, messages, with_id: false, replicas: 0 }
}

const OPEN: Step = Step::Open { reader: 0, subscriber: 0 };
const LEAVE: Step = Step::Leave { reader: 0 };

fn go(client: usize, server: usize) -> Step {
    Step::Route { client, server, cuts: true }
}

fn two_publishers() -> Schedule {
    let (p, q, subscriber) = (0, 1, 2);
    let steps = vec![
        (OPEN, 50),
        (publish(p, 6), 50),
        (Step::Promote { server: 1 }, 10),
        (go(q, 1), 0),
        (go(subscriber, 1), 1_000),
        (publish(q, 1), 100),
        (publish(p, 4), 100),
        (Step::Demote { server: 0, of: 1 }, 10),
        (go(p, 1), 1_000),
        (publish(p, 1), 100),
    ];
    Schedule { setup: setup(2, 2, CHANNELS[0]), steps }
}

fn woken() -> Schedule {
    let (p, q, subscriber) = (0, 1, 2);
    let steps = vec![
        (OPEN, 50),
        (publish(p, 6), 50),
        (Step::Stop { server: 0 }, 0),
        (publish(p, 1), 50),
        (Step::Promote { server: 1 }, 10),
        (go(q, 1), 0),
        (go(subscriber, 1), 1_000),
        (publish(q, 1), 10),
        (publish(p, 3), 300),
        (Step::Wake { server: 0 }, 50),
        (Step::Demote { server: 0, of: 1 }, 10),
        (go(p, 1), 1_000),
    ];
    Schedule { setup: setup(2, 2, CHANNELS[0]), steps }
}

fn rollback() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 5), 50),
        (publish(0, 1), 10),
        (publish(0, 1), 10),
        (publish(0, 1), 50),
        // Probes are steps as well: what goes back is the channel alone.
        (Step::Restore { server: 0, channel: 0, back: 3, ids: false }, 0),
        (publish(0, 5), 500),
        (publish(0, 1), 100),
    ];
    Schedule { setup: setup(1, 2, CHANNELS[0]), steps }
}

fn unseen_rollback() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 1), 20),
        (publish(1, 1), 20),
        (Step::Restore { server: 0, channel: 0, back: 1, ids: false }, 20),
        (publish(0, 1), 1_000),
    ];
    Schedule { setup: setup(1, 2, PATTERN), steps }
}

fn flushed_pattern() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 3), 100),
        (LEAVE, 0),
        (Step::RestartSubscriber { subscriber: 0 }, 200),
        (publish(0, 3), 100),
        (Step::Flush { server: 0 }, 100),
        (OPEN, 4_000),
    ];
    Schedule { setup: setup(1, 1, PATTERN), steps }
}

fn no_registry() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 3), 100),
        (LEAVE, 0),
        (Step::RestartSubscriber { subscriber: 0 }, 200),
        (publish(0, 3), 100),
        (Step::DropRegistry { server: 0 }, 100),
        (OPEN, 4_000),
    ];
    Schedule { setup: setup(1, 1, PATTERN), steps }
}

fn before_the_first() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (LEAVE, 50),
        (publish(0, 1), 20),
        (publish(0, 1), 20),
        (Step::Flush { server: 0 }, 20),
        (publish(0, 1), 100),
        (OPEN, 1_000),
    ];
    Schedule { setup: setup(1, 1, CHANNELS[0]), steps }
}

fn late_clock() -> Schedule {
    let steps = vec![
        (Step::Clock { server: 0, ms: -20 * 86_400_000 }, 10),
        (OPEN, 50),
        (publish(0, 3), 100),
        (Step::Cut { client: 1, live: true }, 0),
        (publish(0, 3), 0),
        (Step::Flush { server: 0 }, 1_000),
    ];
    Schedule { setup: setup(1, 1, CHANNELS[0]), steps }
}

fn failback() -> Schedule {
    let everybody = |server| [(go(0, server), 0), (go(1, server), 1_000)];
    let mut steps =
        vec![(OPEN, 50), (publish(0, 4), 50), (Step::Kill { server: 0 }, 0), (Step::Promote { server: 1 }, 0)];
    steps.extend(everybody(1));
    steps.extend([(publish(0, 1), 100), (Step::Kill { server: 1 }, 0), (Step::Start { server: 0, back: 0 }, 0)]);
    steps.extend(everybody(0));
    steps.extend([(publish(0, 1), 100)]);
    Schedule { setup: setup(2, 1, CHANNELS[0]), steps }
}

fn written_on() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (LEAVE, 50),
        (publish(0, 1), 50),
        (publish(1, 1), 50),
        (Step::Restore { server: 0, channel: 0, back: 1, ids: true }, 10),
        (publish(0, 2), 100),
        (OPEN, 1_000),
    ];
    Schedule { setup: setup(1, 2, CHANNELS[0]), steps }
}

fn two_flushes() -> Schedule {
    let flush = Step::Flush { server: 0 };
    let mut steps = vec![(OPEN, 50), (LEAVE, 50)];
    for _ in 0..2 {
        steps.extend([(publish(0, 1), 50), (flush, 50)]);
    }
    steps.extend([(publish(0, 1), 100), (OPEN, 1_000)]);
    Schedule { setup: setup(1, 1, CHANNELS[0]), steps }
}

fn two_absences() -> Schedule {
    let mut steps = vec![(Step::Lag { server: 1, lags: true }, 10), (OPEN, 50), (publish(0, 1), 50)];
    steps.extend([(Step::Promote { server: 1 }, 0), (go(0, 1), 0), (go(1, 1), 1_000), (publish(0, 4), 50)]);
    steps.extend([(Step::Flush { server: 1 }, 6_000), (go(0, 0), 0), (go(1, 0), 1_000)]);
    Schedule { setup: setup(2, 1, CHANNELS[0]), steps }
}

/// The new end lies beyond the old one when the link is back.
fn rollback_while_live_is_down() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 1), 50),
        (publish(1, 1), 50),
        (Step::Hold { client: 2, live: true, commands: false }, 0),
        (Step::Restore { server: 0, channel: 0, back: 1, ids: true }, 10),
        (publish(0, 2), 50),
        (Step::Cut { client: 2, live: true }, 0),
        (Step::Release { client: 2 }, 1_000),
    ];
    Schedule { setup: setup(1, 2, CHANNELS[0]), steps }
}

/// What the publisher knew is gone as well, and nothing was delivered yet: only the stream itself can know.
fn rollback_after_opening() -> Schedule {
    let steps = vec![
        (publish(0, 1), 20),
        (publish(0, 4), 20),
        (OPEN, 0),
        (Step::RestartPublisher { publisher: 0 }, 10),
        (Step::Restore { server: 0, channel: 0, back: 1, ids: false }, 10),
        (publish(0, 1), 500),
    ];
    Schedule { setup: setup(1, 1, PATTERN), steps }
}

/// The publisher that knew of it is restarted: streams compare the message at their position when the link is back.
fn rollback_unknown(then: usize) -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 1), 50),
        (publish(0, 1), 50),
        (Step::Cut { client: 1, live: true }, 0),
        (Step::Restore { server: 0, channel: 0, back: 1, ids: true }, 0),
        (Step::RestartPublisher { publisher: 0 }, 0),
        (publish(0, then), 1_000),
    ];
    Schedule { setup: setup(1, 1, PATTERN), steps }
}

/// The stream sees the head fall back, and only then another message comes.
fn rollback_reported() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 1), 50),
        (publish(0, 1), 50),
        (Step::Restore { server: 0, channel: 0, back: 1, ids: true }, 0),
        (Step::Cut { client: 1, live: true }, 1_000),
        (Step::RestartPublisher { publisher: 0 }, 10),
        (publish(0, 1), 1_000),
    ];
    Schedule { setup: setup(1, 1, PATTERN), steps }
}

fn copy_from_before_a_flush() -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 1), 50),
        (publish(0, 1), 50),
        (Step::Flush { server: 0 }, 50),
        (publish(0, 2), 50),
        (Step::RestartPublisher { publisher: 0 }, 10),
        (Step::Restore { server: 0, channel: 0, back: 4, ids: false }, 5_000),
        (publish(0, 1), 1_000),
    ];
    Schedule { setup: setup(1, 1, PATTERN), steps }
}

/// A stream that lost nothing on the way into an epoch knows where that comes from.
fn unkept_fork() -> Schedule {
    let (p, q, subscriber) = (0, 1, 2);
    let steps = vec![
        (publish(q, 1), 50),
        (OPEN, 0),
        (Step::Promote { server: 2 }, 0),
        (Step::Route { client: p, server: 2, cuts: false }, 0),
        (go(q, 2), 0),
        (publish(p, 1), 0),
        (publish(q, 1), 0),
        (Step::Demote { server: 0, of: 2 }, 0),
        (go(subscriber, 2), 1_000),
        (publish(q, 1), 100),
        (Step::Promote { server: 1 }, 0),
        (go(subscriber, 1), 50),
    ];
    let setup = setup(3, 2, PATTERN);
    Schedule { setup: Setup { max_messages: 0, ..setup }, steps }
}

/// A promoted server's first pushes arrive; its channels are gone before anyone has asked for their heads.
fn flushed_push(topic: &'static str) -> Schedule {
    let steps = vec![
        (OPEN, 50),
        (publish(0, 2), 50),
        (Step::Promote { server: 1 }, 0),
        (go(0, 1), 0),
        (Step::Route { client: 1, server: 1, cuts: true }, 1_000),
        (Step::Hold { client: 1, live: true, commands: true }, 0),
        (publish(0, 3), 5),
        (Step::Flush { server: 1 }, 10),
        (Step::Release { client: 1 }, 1_000),
    ];
    Schedule { setup: setup(2, 1, topic), steps }
}

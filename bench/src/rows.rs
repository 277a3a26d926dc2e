//! The measures, as the project has set them itself: each beside its peer, with what it must reach and what it aims at.

use serde::Serialize;

use crate::measure::Probe::{self, *};

mod security;

pub(crate) use security::SECURITY;

/// Which way a ratio should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// Up.
    Higher,
    /// Down.
    Lower,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Something a second.
    PerSecond,
    Microseconds,
    Milliseconds,
    Nanoseconds,
    Kibibytes,
    Percent,
}

/// One measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What is measured, and beside what.
    pub(crate) measure: &'static str,
    /// Our side, and which of its figures.
    pub(crate) ours: (Probe, usize),
    /// The other side. Without one the ratio is the figure itself.
    pub(crate) peer: Option<(Probe, usize)>,
    /// What it must reach; `None` where the figure is there to be known.
    pub(crate) goal: Option<Goal>,
    pub(crate) better: Better,
    pub(crate) unit: Unit,
}

/// What a ratio must be and what it should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    pub(crate) at_least: f64,
    pub(crate) aim: f64,
}

impl Row {
    /// Whether a ratio is as good as it must be.
    pub(crate) fn reached(&self, ratio: f64) -> bool {
        match (self.goal, self.better) {
            (None, _) => true,
            (Some(goal), Better::Higher) => ratio >= goal.at_least,
            (Some(goal), Better::Lower) => ratio <= goal.at_least,
        }
    }
}

const fn row(measure: &'static str, ours: Probe, peer: Probe, at_least: f64, aim: f64) -> Row {
    Row {
        measure,
        ours: (ours, 0),
        peer: Some((peer, 0)),
        goal: Some(Goal { at_least, aim }),
        better: Better::Higher,
        unit: Unit::PerSecond,
    }
}

/// Of times and sizes, where less is better.
const fn less(measure: &'static str, ours: Probe, peer: Option<Probe>, unit: Unit, at_most: f64, aim: f64) -> Row {
    let peer = match peer {
        Some(peer) => Some((peer, 0)),
        None => None,
    };
    Row { measure, ours: (ours, 0), peer, goal: Some(Goal { at_least: at_most, aim }), better: Better::Lower, unit }
}

/// The second figure of both sides.
const fn second(mut row: Row) -> Row {
    row.ours.1 = 1;
    if let Some((peer, _)) = row.peer {
        row.peer = Some((peer, 1));
    }
    row
}

/// A figure that is there to be known, and what it stands beside.
const fn figure(measure: &'static str, ours: (Probe, usize), peer: Option<(Probe, usize)>, unit: Unit) -> Row {
    Row { measure, ours, peer, goal: None, better: Better::Lower, unit }
}

/// The same of what goes by a second.
const fn rate(measure: &'static str, ours: Probe, peer: Probe) -> Row {
    Row { measure, ours: (ours, 0), peer: Some((peer, 0)), goal: None, better: Better::Higher, unit: Unit::PerSecond }
}

const MICROS: Unit = Unit::Microseconds;

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    row("unary Publish, 4 connections × 64 in flight / tonic unary echo", Unary, Echo, 0.7, 0.85),
    row("unary Publish without history, 4 × 64 in flight / tonic unary echo", UnaryWithoutHistory, Echo, 0.8, 0.9),
    row(
        "PublishStream without history / raw pipelined PUBLISH of the same JSON",
        StreamWithoutHistory,
        RawPublish,
        0.4,
        0.85,
    ),
    row(
        "PublishBatch(100) without history / raw pipelined PUBLISH of the same JSON",
        BatchWithoutHistory,
        RawPublish,
        0.4,
        0.85,
    ),
    row(
        "PublishStream with history, AOF everysec / JetStream file storage, async publish",
        StreamOnDisk,
        JetStream,
        0.7,
        1.0,
    ),
    row(
        "PublishStream with history, AOF everysec / RabbitMQ quorum queue with confirms",
        StreamOnDisk,
        RabbitMq,
        4.0,
        6.0,
    ),
    row("unary Publish with history / the Node original's POST", Unary, NodePost, 15.0, 20.0),
    row("fan-out live to 10 streams / Redis itself to 10 raw subscribers", Fanout(10), RedisFanout(10), 2.0, 2.7),
    row("fan-out live to 100 streams / Redis itself to 100 raw subscribers", Fanout(100), RedisFanout(100), 2.5, 3.5),
    row(
        "fan-out live to 1,000 streams / Redis itself to 1,000 raw subscribers",
        Fanout(1_000),
        RedisFanout(1_000),
        3.0,
        6.0,
    ),
    row("fan-out live to 10 streams / NATS core", Fanout(10), NatsFanout(10), 2.0, 3.0),
    row("fan-out live to 100 streams / NATS core", Fanout(100), NatsFanout(100), 4.0, 6.0),
    row("fan-out live to 1,000 streams / NATS core", Fanout(1_000), NatsFanout(1_000), 2.5, 5.0),
    row(
        "fan-out to 100 streams, fed by PublishStream with history / Redis itself, raw publisher to 100 raw subscribers",
        FanoutByStream(100),
        RedisFanout(100),
        2.0,
        3.0,
    ),
    row(
        "fan-out, one message in flight at a time, 100 streams / NATS core",
        OneByOne(100),
        NatsOneByOne(100),
        0.5,
        1.0,
    ),
    row("one raw publisher, one stream, saturated / raw Redis Pub/Sub", Fanout(1), RedisFanout(1), 0.85, 1.0),
    less("Publish → stream at 2,000 msg/s, p50 / raw Redis Pub/Sub", Latency, Some(RedisLatency), MICROS, 3.5, 2.5),
    second(less(
        "Publish → stream at 2,000 msg/s, p99 / raw Redis Pub/Sub",
        Latency,
        Some(RedisLatency),
        MICROS,
        3.0,
        2.0,
    )),
    less("Publish → stream at 2,000 msg/s, p50 / Node original", Latency, Some(NodeLatency), MICROS, 0.5, 0.3),
    second(less("Publish → stream at 2,000 msg/s, p99 / Node original", Latency, Some(NodeLatency), MICROS, 0.1, 0.03)),
    row("replay of 1 M messages / raw XRANGE of the same log", Replay, Xrange, 0.85, 1.0),
    less("memory of an idle stream, 100 on a connection", Memory(100), None, Unit::Kibibytes, 5.5, 2.0),
    less("memory of an idle stream, one a connection", Memory(1), None, Unit::Kibibytes, 40.0, 30.0),
    less(
        "p99 of 100 publishes/s to a channel that none of 10,000 open streams follows / with one stream open",
        OtherStreams(10_000),
        Some(OtherStreams(1)),
        MICROS,
        2.0,
        1.2,
    ),
    row("one stalled stream among 100: the others / without it", Stalled(99), NoneStalled(99), 0.95, 1.0),
    less(
        "CPU a delivery to 10,000 streams / to 100 streams",
        Cost(10_000),
        Some(Cost(100)),
        Unit::Nanoseconds,
        1.3,
        1.1,
    ),
    less("publisher: start to first byte served", StartPublisher, None, Unit::Milliseconds, 150.0, 50.0),
    less("subscriber: start to first byte served", StartSubscriber, None, Unit::Milliseconds, 150.0, 50.0),
    rate(
        "a subscription's backlog, credit 1,000, each acknowledged by itself, AOF everysec / JetStream pull consumer",
        Consume(1),
        JetStreamConsume,
    ),
    rate(
        "a subscription's backlog, credit 1,000, each acknowledged by itself, AOF everysec / RabbitMQ quorum queue",
        Consume(1),
        RabbitMqConsume,
    ),
    rate(
        "published and consumed at once, one subscription, AOF everysec / PublishStream with history alone",
        PublishAndConsume,
        StreamOnDisk,
    ),
    rate("a subscription's backlog by ten consumers / by one", Consume(10), Consume(1)),
    figure(
        "Publish → consumer at 2,000 msg/s, p50 / Publish → stream",
        (ConsumeLatency, 0),
        Some((Latency, 0)),
        MICROS,
    ),
    figure(
        "Publish → consumer at 2,000 msg/s, p99 / Publish → stream",
        (ConsumeLatency, 1),
        Some((Latency, 1)),
        MICROS,
    ),
    figure(
        "Redis's scripts for a message, claimed and acknowledged 10 at a time",
        (ConsumeRedisTime(10), 0),
        None,
        MICROS,
    ),
    figure(
        "Redis's scripts for a message, claimed and acknowledged 100 at a time",
        (ConsumeRedisTime(100), 0),
        None,
        MICROS,
    ),
    figure(
        "1,000 subscriptions with a consumer each, at rest: processor of the subscriber",
        (SubscriptionsAtRest, 0),
        None,
        Unit::Percent,
    ),
    figure(
        "1,000 subscriptions with a consumer each, at rest: processor of Redis",
        (SubscriptionsAtRest, 1),
        None,
        Unit::Percent,
    ),
];

/// The probes that the rows need, each once, so that both sides of a row are near each other.
pub(crate) fn probes(rows: &[&Row]) -> Vec<Probe> {
    let mut probes = Vec::new();
    for row in rows {
        for (probe, _) in [Some(row.ours), row.peer].into_iter().flatten() {
            if !probes.contains(&probe) {
                probes.push(probe);
            }
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_name_of_its_own_and_aims_beyond_what_it_must_reach() {
        let all: Vec<_> = ROWS.iter().chain(SECURITY).collect();
        for (n, row) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.measure != row.measure), "{}", row.measure);
            let Some(Goal { at_least, aim }) = row.goal else { continue };
            let further = if row.better == Better::Higher { aim > at_least } else { aim < at_least };
            assert!(further, "{}", row.measure);
        }
    }
}

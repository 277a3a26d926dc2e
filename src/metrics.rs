//! The metrics, by the names that dashboards and alerts use: they are part of the contract, like the flags.
//!
//! Every name, its meaning and its labels are defined here and nowhere else; the other modules call small functions. No
//! label takes a value from outside: no channel, no client, no address; subscriptions are named where an operator has
//! named them. Every series exists from the start, at 0, so that rates and alerts need no first event.
//!
//! Nothing is counted until the process has a recorder and [`begin`] was called; until then each call is a load and a
//! branch. Functions that are called for messages take a count, so that a chunk costs as much as a message.

mod access;
mod clock;
mod connections;
mod parts;
mod publishing;
mod redis;
mod streaming;
mod work;

pub use access::{File, Limit, Refused, keys_fetched, limited, read_again, refused};
pub use connections::Client;
pub use parts::{Part, begin};
pub use publishing::Publish;
pub use redis::{Call, Connection, Timing, primary_replaced, reconnected, redis_up, sentinels_silent, timed};
pub use streaming::{
    Dropped, Mode, Stream, capture_wait, delivered, dropped, gap, lag, leads, repair, topics, uncaptured, unreadable,
};
pub use work::{
    Consumer, Decided, Returned, Settled, SubscriptionGauges, ended, leased, redriven, returned, settled, subscription,
};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size; the numbers are the upper ends of its buckets.
    Histogram(&'static [f64]),
}

/// A metric: its name, how it behaves, and what it means.
pub type Family = (&'static str, Kind, &'static str);

const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const MESSAGES: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];

const PUBLISH_TOTAL: &str = "tidings_publish_total";
const PUBLISH_SECONDS: &str = "tidings_publish_seconds";
const STREAMS: &str = "tidings_streams";
const STREAM_LAG: &str = "tidings_stream_lag_messages";
const DELIVERIES: &str = "tidings_deliveries_total";
const GAPS: &str = "tidings_gaps_total";
const REPAIRS: &str = "tidings_repairs_total";
const DROPPED: &str = "tidings_dropped_total";
const REDIS_UP: &str = "tidings_redis_up";
const REDIS_RECONNECTS: &str = "tidings_redis_reconnects_total";
const REDIS_PRIMARIES: &str = "tidings_redis_primary_changes_total";
const SENTINELS_SILENT: &str = "tidings_sentinels_silent";
const REDIS_SECONDS: &str = "tidings_redis_seconds";
/// How old the last probe is: measured when the numbers are asked for.
pub const PROBE_AGE: &str = "tidings_probe_age_seconds";
const CAPTURE_LEADER: &str = "tidings_capture_leader";
const CAPTURE_WAIT: &str = "tidings_capture_wait_seconds";
const CONNECTIONS: &str = "tidings_connections";
const REFUSED: &str = "tidings_refused_total";
const LIMITED: &str = "tidings_limited_total";
const FILES: &str = "tidings_files_read_again_total";
const KEY_FETCHES: &str = "tidings_key_fetches_total";
const TOPICS: &str = "tidings_topics";
const UNCAPTURED: &str = "tidings_uncaptured_topics";
const UNREADABLE: &str = "tidings_unreadable_channels";
const CONSUMERS: &str = "tidings_consumers";
const CONSUMER_DELIVERIES: &str = "tidings_consumer_deliveries_total";
const SETTLEMENTS: &str = "tidings_settlements_total";
const RETURNS: &str = "tidings_lease_returns_total";
const DEAD_LETTERS: &str = "tidings_dead_letters_total";
const LOST: &str = "tidings_lost_total";
const REDRIVEN: &str = "tidings_redriven_total";
const SUBSCRIPTION_BACKLOG: &str = "tidings_subscription_backlog_messages";
const SUBSCRIPTION_OUTSTANDING: &str = "tidings_subscription_outstanding_messages";
const SUBSCRIPTION_WAITING: &str = "tidings_subscription_waiting_messages";
const SUBSCRIPTION_DEAD_LETTERS: &str = "tidings_subscription_dead_letters";
const SUBSCRIPTION_LOST: &str = "tidings_subscription_lost_messages";
const SUBSCRIPTION_OLDEST: &str = "tidings_subscription_oldest_seconds";
const SUBSCRIPTION_CONSUMERS: &str = "tidings_subscription_consumers";
/// Which version runs.
pub const BUILD_INFO: &str = "tidings_build_info";

/// All metrics of our own; beside them are those that the operating system keeps of the process.
pub const FAMILIES: [Family; 39] = [
    (
        PUBLISH_TOTAL,
        Kind::Counter,
        "Messages that were to be published, by the gRPC code of the answer; all of a batch count. CANCELLED: the caller went away, or its deadline passed, before there was an answer.",
    ),
    (
        PUBLISH_SECONDS,
        Kind::Histogram(SECONDS),
        "From a publish's arrival to its answer, whatever that was: a call of Publish or PublishBatch, or one message of a PublishStream.",
    ),
    (
        STREAMS,
        Kind::Gauge,
        "Open streams, by mode: live (fed by pushes), or catching_up (reading the log: at the start, after a slow reader fell back, or after a loss).",
    ),
    (
        STREAM_LAG,
        Kind::Histogram(MESSAGES),
        "Messages that a channel's log had beyond what a stream had delivered, measured at each page that the stream read from the log. Streams that are live read none.",
    ),
    (
        DELIVERIES,
        Kind::Counter,
        "Messages handed to streams. One message counts once for each stream that it is handed to.",
    ),
    (
        GAPS,
        Kind::Counter,
        "Gaps reported to streams, by reason: trimmed, epoch_changed (Redis lost writes or was flushed), not_retained. One loss counts once for each stream.",
    ),
    (
        REPAIRS,
        Kind::Counter,
        "Times that a live stream went to the log because pushes were missing, or, on a pattern, may have been. With no gap beside it, nothing was lost.",
    ),
    (
        DROPPED,
        Kind::Counter,
        "Pushes that were not delivered, by reason: oversized (larger than a message may be), name (no valid channel name, seen through a pattern), held (too many waited for their channel's head; what was ours is in the log), capture (too many waited to be adopted), lost (Redis lost them after they were received), late (of an epoch that ended before them; Redis lost them as well), unlogged (they claim a position that was received before, and the log no longer has it).",
    ),
    (REDIS_UP, Kind::Gauge, "Whether the command connection to Redis can be used: 1 or 0."),
    (
        REDIS_RECONNECTS,
        Kind::Counter,
        "Connections to Redis that were made again after a loss, by connection: command or live.",
    ),
    (REDIS_PRIMARIES, Kind::Counter, "Times that the sentinels named another primary, which was followed."),
    (
        SENTINELS_SILENT,
        Kind::Gauge,
        "Sentinels that did not say where the primary is when they were asked last. 0 without sentinels.",
    ),
    (
        REDIS_SECONDS,
        Kind::Histogram(SECONDS),
        "How long calls to Redis took, failed ones included, by call: publish (a group of messages), read (heads, pages of the log, the registry), wait (for replicas), check (once a second).",
    ),
    (
        PROBE_AGE,
        Kind::Gauge,
        "Seconds since a probe last went the whole way to Redis and back, or since the start where none has.",
    ),
    (
        CAPTURE_LEADER,
        Kind::Gauge,
        "Captured channels on which this replica was the last to adopt what plain programs published. Over all replicas each channel counts once where they published.",
    ),
    (
        CAPTURE_WAIT,
        Kind::Gauge,
        "Seconds that the oldest message of a plain program has waited to be adopted; 0 where none waits.",
    ),
    (CONNECTIONS, Kind::Gauge, "Open connections of clients."),
    (
        REFUSED,
        Kind::Counter,
        "Calls that were refused for who made them, by reason: unauthenticated (no token that is believed), expired, denied (not with this channel), certificate (a client certificate that names nobody, or several), no_keys (none to check tokens with). Each message of a PublishStream counts.",
    ),
    (
        LIMITED,
        Kind::Counter,
        "Times that a peer met a limit of its connection, its address or its subject, by limit: connections, control_frames, backlog, greeting_time and proxy_headers closed a connection, unread_answers and request_time ended a call, the others refused one (streams, patterns, wide_patterns, positions, publishes, bytes_in, lists, bytes_out, new_channels, uploads, slow_requests, connection_requests). Each message of a PublishStream counts.",
    ),
    (
        FILES,
        Kind::Counter,
        "Files of keys, policies and certificates that had changed, by file and by result: ok, or failed, where what was there before stays in force.",
    ),
    (
        KEY_FETCHES,
        Kind::Counter,
        "Times that the key server of --auth-jwks was asked for its keys, by result: ok, or failed, where the previous keys stay in force for a day.",
    ),
    (
        TOPICS,
        Kind::Gauge,
        "Channels and patterns that Redis is asked for: one subscription each, however many streams follow.",
    ),
    (
        UNCAPTURED,
        Kind::Gauge,
        "Channels and patterns of --capture that can't be captured now, since Redis refuses their subscriptions. They are asked for again.",
    ),
    (
        UNREADABLE,
        Kind::Gauge,
        "Channels that this replica can't read, each for a reason of its own: its keys on Redis are damaged, of a newer version, or not for this user. The log names them.",
    ),
    (CONSUMERS, Kind::Gauge, "Open streams of consumers of durable subscriptions."),
    (
        CONSUMER_DELIVERIES,
        Kind::Counter,
        "Messages leased to consumers of durable subscriptions, by attempt: first, or again (after a failed one).",
    ),
    (
        SETTLEMENTS,
        Kind::Counter,
        "Decisions of consumers about deliveries, by decision (acknowledge, reject, dead_letter, extend) and by outcome: done, stale (the lease was over), unknown (Redis has not answered).",
    ),
    (
        RETURNS,
        Kind::Counter,
        "Leases that ended though nobody settled them, by reason: deadline (it passed), closed (the stream ended), unsent (its consumer did not read for 2 s), abandoned (of a replica that is gone).",
    ),
    (DEAD_LETTERS, Kind::Counter, "Messages that became dead letters of durable subscriptions."),
    (
        LOST,
        Kind::Counter,
        "Messages that were lost to a durable subscription before they were delivered: trimmed beyond what it may hold, or lost by Redis.",
    ),
    (REDRIVEN, Kind::Counter, "Dead letters that were put back."),
    (
        SUBSCRIPTION_BACKLOG,
        Kind::Gauge,
        "Messages that are not settled, of each subscription of --watch-subscriptions; 0 where there is none of that name. Like the others of a subscription it is the same at all replicas, and read every 15 s.",
    ),
    (SUBSCRIPTION_OUTSTANDING, Kind::Gauge, "Those of the backlog that are leased to consumers."),
    (SUBSCRIPTION_WAITING, Kind::Gauge, "Those of the backlog that wait for their next attempt."),
    (SUBSCRIPTION_DEAD_LETTERS, Kind::Gauge, "Dead letters of the subscription."),
    (SUBSCRIPTION_LOST, Kind::Gauge, "Messages that the subscription has lost since it was created."),
    (SUBSCRIPTION_OLDEST, Kind::Gauge, "How long ago the oldest message of the backlog was published; 0 without one."),
    (
        SUBSCRIPTION_CONSUMERS,
        Kind::Gauge,
        "Open streams of the subscription, at all replicas. One at a replica that was killed counts for half a minute more.",
    ),
    (BUILD_INFO, Kind::Gauge, "Always 1; its label says which version runs."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_documentation() {
        for (name, kind, about) in FAMILIES {
            assert!(name.starts_with("tidings_") && about.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        }
    }
}

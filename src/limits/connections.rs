//! The connections to Redis.

use std::time::Duration;

/// The first pause before a lost Redis connection is tried again.
pub const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// The longest: Redis is found within a second of its return.
pub const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How long a live connection must last for the pauses to begin anew: longer than the longest pause, so that one which
/// Redis ends at once each time comes back less and less often.
pub const SESSION_LASTED: Duration = Duration::from_secs(1);
/// Which part of `--redis-timeout` an attempt to connect may take (a half): a call that waits for Redis sees one
/// attempt fail, and has time for another. It covers all of the attempt: the name, the connection, TLS, signing in, and
/// the first commands.
pub const CONNECT_PART: u32 = 2;
/// How soon the next address of a name is tried as well when the one before does not answer: what RFC 8305 recommends.
pub const DIAL_PAUSE: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried in one attempt.
pub const DIAL_ADDRESSES: usize = 8;
/// How long the result of a look-up is believed that ended when nobody waited for it any more.
pub const LOOKUP_AGE: Duration = Duration::from_secs(10);
/// Bytes of `--redis-password-file`: more is another file.
pub const REDIS_PASSWORD_BYTES: usize = 4 << 10;
/// How long a connection is kept that nobody needs, of those that are used now and then: for publishes that wait for
/// replicas, and for long pages. Long enough to be at hand for whoever goes on, and shorter than what a firewall takes
/// for idle, which forgets connections without a word: after that a call would wait for an answer that can't come.
pub const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(5);
/// How often the command connection is asked whether it works, and message delivery is probed: rarely enough to cost
/// nothing, and often enough to be within `PROBE_GRACE`.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer than `--redis-timeout` no probe may have come through before streams are not served any more: probes
/// go out every second or two, and one may be lost with a connection.
pub const PROBE_GRACE: Duration = Duration::from_secs(3);
/// How many times `--redis-timeout` an answer may take on the live connection while messages come: it comes after all
/// that Redis had to send before.
pub const ANSWER_AFTER_MESSAGES: u32 = 4;
/// One read of the socket over which answers to optimistic publishes come, which are a number each.
pub const PUBLISH_READ_BYTES: usize = 4 << 10;
/// One read of the live connection's socket: large, so that under load a batch is worth sharing.
pub const LIVE_READ_BYTES: usize = 128 << 10;
/// Commands that may wait for the live connection. The hub keeps any others itself, and is never blocked.
pub const LIVE_COMMANDS: usize = 1_024;
/// Batches from the live connection that wait, each of which one read brought: two megabytes. Beyond them the socket is
/// not read.
pub const LIVE_BATCHES: usize = 16;
/// How long a refusal by Redis must not have been met to be said in the log again.
pub const LOG_QUIET: Duration = Duration::from_secs(60);
/// Refusals that a publisher distinguishes in its log, by channel where they are of one: further ones are not named
/// until others are quiet.
pub const LOG_CHANNELS: usize = 64;
/// How often the log warns of plain programs' messages that are larger than a message may be.
pub const OVERSIZED_QUIET: Duration = Duration::from_secs(60);
/// Reasons why Redis is away that are remembered; more of them, one after the other, are worth to be said again.
pub const LOG_REASONS: usize = 32;
/// One line of a reply of Redis on the live connection: of an error, or of a number.
pub const REPLY_LINE_BYTES: usize = 64 << 10;
/// Elements of one such reply: the longest has the names of recent channels.
pub const REPLY_ELEMENTS: usize = 4_096;
/// How deep such replies may be nested: one more than any of ours is.
pub const REPLY_DEPTH: usize = 4;

// Sentinels.

/// Sentinels that are asked, of the URL and those that they know: more than anyone runs.
pub const SENTINELS: usize = 16;
/// How often each is asked where the primary is: a promotion of which no hint came is noticed within this time.
pub const SENTINEL_INTERVAL: Duration = Duration::from_secs(1);
/// How long one may take to answer, with all that it takes to connect to it. None waits for another one, but for the
/// first choice of a primary.
pub const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two questions to one sentinel, however many hints and doubts there are.
pub const SENTINEL_PAUSE: Duration = Duration::from_millis(20);
/// One read of a sentinel's answers, which have some hundred bytes for each sentinel that it knows.
pub const SENTINEL_READ_BYTES: usize = 4 << 10;

// Looking at a Redis.

/// From here on a Redis is called far away: each publish takes at least the way there and back.
pub const FAR_AWAY: Duration = Duration::from_millis(5);
/// Clocks of two machines that are further apart confuse whoever compares their times.
pub const CLOCKS_APART: Duration = Duration::from_secs(1);
/// How long a Redis is watched for its present rates, where somebody looks at it.
pub const DOCTOR_WATCH: Duration = Duration::from_secs(1);

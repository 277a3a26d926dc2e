//! What the client commands do, and how long they wait.

use std::time::Duration;

use super::{CALLS_PER_CONNECTION, MESSAGE_BYTES, PAGE_MESSAGES, PUBLISH_STREAM_IN_FLIGHT};

/// How long the client commands wait for a connection or an answer, by default: twice what a service waits for its
/// Redis.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest time that they can be set to wait: a network's round trip.
pub const COMMAND_TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// The longest: a user who sets more has surely mistaken the unit.
pub const COMMAND_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The same of `tidings healthcheck`: containers ask every few seconds, and want to know soon.
pub const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Publishes of one command that have no receipt yet: as many as the service takes in on one call.
pub const COMMAND_IN_FLIGHT: usize = PUBLISH_STREAM_IN_FLIGHT;
/// Requests that wait between a command's input and its call: enough to fill a frame of HTTP/2, few beside those under
/// way.
pub const COMMAND_QUEUE: usize = 128;
/// Lines of standard input that wait to be published, each of which may have a megabyte.
pub const COMMAND_LINES: usize = 16;
/// The most messages of one `tidings publish --count`, and the highest `--rate`: far beyond what one command can send.
pub const COMMAND_COUNT: u64 = 1_000_000_000;
/// How far a `--rate` may be made up for after a pause: short enough that the rate holds within each second.
pub const COMMAND_CATCH_UP: Duration = Duration::from_millis(100);
/// How often the client commands probe an idle connection: a dead one is noticed within this and the next together.
pub const COMMAND_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer to such a probe may take.
pub const COMMAND_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause of `tidings tail` before it tries a lost connection again.
pub const TAIL_BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest: a person who looks on still sees it come back.
pub const TAIL_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Events that `tidings tail` prints before it flushes its output, when so many are at hand.
pub const TAIL_FLUSH_EVENTS: usize = 256;
/// How often `tidings consume` settles a delivery again whose outcome the server does not know.
pub const CONSUME_SETTLE_TRIES: u32 = 6;
/// The first pause before it does.
pub const CONSUME_SETTLE_BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest.
pub const CONSUME_SETTLE_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Extensions within one ack deadline, so that one may be late.
pub const CONSUME_EXTENSIONS: u32 = 3;
/// How long the pipes of a command of `--exec` are still read after its end: what it left running may hold them open.
pub const EXEC_PIPES_GRACE: Duration = Duration::from_millis(100);
/// Streams of one `tidings bench`: what one service allows on a connection.
pub const BENCH_STREAMS: u32 = CALLS_PER_CONNECTION;
/// How many of them share a connection: as many as one thread of a service serves well.
pub const BENCH_STREAMS_PER_CONNECTION: usize = 50;
/// Publishers of one `tidings bench`, each on a connection of its own.
pub const BENCH_PUBLISHERS: u32 = 64;
/// Publishes that each of them has under way: enough to keep a service busy, and few enough that a time measured is not
/// one of waiting in line.
pub const BENCH_IN_FLIGHT: usize = 64;
/// How long one may last.
pub const BENCH_SECONDS: u32 = 3_600;
/// The smallest message that it sends: a publisher, a number and a time must fit in it.
pub const BENCH_SIZE_MIN: u64 = 64;
/// The largest: half of the largest message.
pub const BENCH_SIZE_MAX: u64 = MESSAGE_BYTES as u64 / 2;
/// Failed publishes after which a publisher gives up: a service that is away can't be measured.
pub const BENCH_FAILURES: usize = 1_000;
/// The longest time that it distinguishes from longer ones.
pub const BENCH_LONGEST: Duration = Duration::from_secs(600);
/// How often it looks how far it has come.
pub const BENCH_TICK: Duration = Duration::from_millis(100);
/// How long it listens for a message that comes twice, when all have come once.
pub const BENCH_LINGER: Duration = Duration::from_millis(500);
/// Channels that `tidings top` looks at: ten pages at each look.
pub const TOP_CHANNELS: usize = 10 * PAGE_MESSAGES;
/// How often it looks, by default.
pub const TOP_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest time between two looks, each of which costs Redis a read of every channel's head.
pub const TOP_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How long a token is good that `tidings token mint` signs, by default.
pub const COMMAND_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// How long they take a token's file for what it was.
pub const COMMAND_TOKEN_FRESH: Duration = Duration::from_secs(1);

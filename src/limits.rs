//! Every limit of the service, each with its reason: nothing that a stranger can make grow is without one.
//!
//! Limits that operators set are flags: their defaults, and how far they may be set, are in `config`. What is
//! here is the same everywhere, because clients, both brokers and readers of the log rely on it.

use std::time::Duration;

pub use self::{access::*, callers::*, commands::*, connections::*, serving::*, subscriptions::*};

mod access;
mod callers;
mod commands;
mod connections;
mod serving;
mod subscriptions;

// What clients may send.

/// A message, as the JSON on the channel. Far above what events need, and four of them still fit a client's default
/// receive limit of 4 MiB.
pub const MESSAGE_BYTES: usize = 1 << 20;
/// A channel's name or a pattern. Redis allows more; 255 keeps cursors, logs and tables small.
pub const CHANNEL_NAME_BYTES: usize = 255;
/// Attributes of a message: metadata, not a second payload.
pub const ATTRIBUTES: usize = 64;
/// An attribute's key.
pub const ATTRIBUTE_KEY_BYTES: usize = 128;
/// An attribute's value.
pub const ATTRIBUTE_VALUE_BYTES: usize = 1 << 10;
/// An ordering key: an identifier, not a payload.
pub const ORDERING_KEY_BYTES: usize = 255;
/// Bytes that the service's own attributes may add to a message of the largest size, where it publishes it again as a
/// dead letter: a reason of control characters takes 6 KiB of JSON, all the others less than 2.
pub const RESERVED_BYTES: usize = 8 << 10;
/// Bytes of a message that is read, and of one that a broker takes: see [`READ_ATTRIBUTES`].
pub const READ_MESSAGE_BYTES: usize = (1 << 20) + RESERVED_BYTES;
/// Attributes of a message that is read. Logs keep messages that were written under these limits, by this version or an
/// earlier one: a client's limits ([`ATTRIBUTES`] and those beside it) can be lowered, these can't. One attribute more
/// is the service's own: the publishing subject. As many again may be the service's own where it published the message.
pub const READ_ATTRIBUTES: usize = 65;
/// Bytes of an attribute's key that is read.
pub const READ_ATTRIBUTE_KEY_BYTES: usize = 128;
/// Bytes of an attribute's value that is read.
pub const READ_ATTRIBUTE_VALUE_BYTES: usize = 1 << 10;
/// Bytes of an ordering key that is read.
pub const READ_ORDERING_KEY_BYTES: usize = 255;
const _: () = assert!(
    MESSAGE_BYTES + RESERVED_BYTES <= READ_MESSAGE_BYTES
        && ATTRIBUTES < READ_ATTRIBUTES
        && ATTRIBUTE_KEY_BYTES <= READ_ATTRIBUTE_KEY_BYTES
        && ATTRIBUTE_VALUE_BYTES <= READ_ATTRIBUTE_VALUE_BYTES
        && ORDERING_KEY_BYTES <= READ_ORDERING_KEY_BYTES
);
/// A filter over attributes: four times what Google Pub/Sub allows, and it still fits a line of a log.
pub const FILTER_BYTES: usize = 1 << 10;
/// Comparisons of a filter, each made for each message: as many as a message has attributes. No more fit
/// [`FILTER_BYTES`].
pub const FILTER_TERMS: usize = 64;
/// Parentheses of a filter that are open at once: more than anyone reads, and little of a thread's stack.
pub const FILTER_DEPTH: usize = 16;
/// Messages of one batch: one script call answers for all, and Lua's `unpack` ends at 8,000 values.
pub const BATCH_MESSAGES: usize = 1_000;
/// Bytes of one batch: the default receive limit of gRPC libraries, and a few milliseconds of Redis's one thread.
pub const BATCH_BYTES: usize = 4 << 20;
/// Redis replicas a publish may ask for; more than anyone runs.
pub const MIN_REPLICAS: i32 = 16;

// Publishing.

/// Bytes that publishes waiting for a round trip may join into one call: more gains nothing and delays the others.
pub const GROUP_BYTES: usize = 256 << 10;
/// Bytes of publishes that wait for Redis, over all channels of a process: beyond it publishes are refused at once.
pub const WAITING_BYTES: usize = 64 << 20;
/// Messages that wait for a call for which a second call is made before the first has its answer: fewer are not
/// worth a call's fixed cost, which is that of some thirty messages.
pub const PIPELINED_MESSAGES: usize = 64;
/// How long Redis's clock is known from an answer.
pub const OPTIMISTIC_CLOCK_AGE: Duration = Duration::from_millis(500);
/// How far the log time of an optimistic call may be from Redis's clock: as much as may have passed since that was
/// known, and as much again on the way.
pub const OPTIMISTIC_CLOCKS_APART: Duration = Duration::from_secs(1);
/// How often an optimistic call compares Redis's replication id and puts off the time at which log and head expire,
/// which therefore live so much longer. An epoch that ended without a lost connection is noticed within this time.
pub const FULL_CALL_INTERVAL: Duration = Duration::from_millis(500);
/// The part of `--history-max-age` that this may be at most: a log that is kept for a second does not live for two.
pub const FULL_CALL_SHARE: u64 = 64;
/// How long a channel on which somebody else wrote as well is published to without preparing.
pub const OPTIMISTIC_PAUSE: Duration = Duration::from_secs(1);
/// Publishes under way on one `PublishStream`: enough to fill group commits at a round trip of some milliseconds.
pub const PUBLISH_STREAM_IN_FLIGHT: usize = 1_024;
/// Neighbours on a `PublishStream` that go to the broker together: as many as one entry of the log has.
pub const BURST_MESSAGES: usize = 128;
/// Their bytes. Escaped as JSON they come to less than the limit of one message.
pub const BURST_BYTES: usize = 64 << 10;
/// Bytes of publishes under way on one `PublishStream`: a few of the largest messages.
pub const PUBLISH_STREAM_BYTES: usize = 4 << 20;
/// Bytes of answers on a `PublishStream` that are written before they are sent: two of HTTP/2's frames.
pub const ANSWERS_BYTES: usize = 32 << 10;
/// Connections for publishes that wait for replicas: `WAIT` holds a connection for as long as it takes.
pub const WAIT_CONNECTIONS: usize = 8;
/// Channels whose last receipts a publisher remembers, to report losses of a failover; the least recent go first.
pub const REMEMBERED_RECEIPTS: usize = 10_000;
/// Earlier epochs of a channel whose receipts a publisher remembers as well: what Redis says of a loss may itself be
/// lost, several times in a row, and each epoch is 64 bytes of memory.
pub const REMEMBERED_EPOCHS: usize = 4;
/// Receipts that are reported to a new server in one pipeline: some 5 µs of Redis each, and others get their turn in
/// between.
pub const REPORTS_PER_CALL: usize = 256;
/// How long publishes under way may continue when a broker on Redis is closed: one that answers does so in this time,
/// and one that hangs must not keep the process.
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// How long before calls are cut at a stop those that wait for the broker are answered: time for it to give up in good
/// order, and for the answers to travel.
pub const CLOSE_RESERVE: Duration = Duration::from_secs(1);

// The log.

/// Messages of one run (one entry of the log): readers fetch whole runs.
pub const RUN_MESSAGES: usize = 128;
/// Bytes of one run, unless one message is larger.
pub const RUN_BYTES: usize = 64 << 10;
/// The newest format of a channel's head that this version reads: what it writes where subscriptions hold the log.
/// Other heads are written in format 1, which earlier versions know.
pub const HEAD_FORMAT: i64 = 2;
/// Epochs that a channel's head lists.
pub const HEAD_EPOCHS: usize = 16;
/// Runs that a publish trims at most: a lowered limit is reached in steps, of some ms each.
pub const TRIMMED_RUNS: usize = 1_000;
/// Runs that the reading script asks for at a time, at most.
pub const READ_STEP_RUNS: usize = 8;
/// Publishers that wrote on a channel lately, each with its last call: as many may take turns before one of them has to
/// look at the log to see whether its last messages are there.
pub const HEAD_WRITERS: usize = 16;
/// Runs by which a push may be ahead of the channel that a publisher knows: pushes may be forged, and must not lead far
/// away.
pub const HEARSAY_RUNS: usize = 64;
/// Servers in a row that do not have a channel, after which a reader remembers its earlier position: a failover and
/// back is one.
pub const ABSENCES: usize = 4;
/// Losses that a reader remembers to have reported on a channel, as long as they do not touch each other: as many as a
/// head may name, of its epochs and between them.
pub const REPORTED_RANGES: usize = 2 * HEAD_EPOCHS;
/// How long a head outlives its log: a reader that resumes later learns of the loss without the exact range.
pub const HEAD_LINGER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Threads of one process: beyond it they only wait for each other.
pub const THREADS: usize = 256;
/// What all keys begin with: it is in every key and call.
pub const KEY_PREFIX_BYTES: usize = 64;
/// Names of the registry read in one round trip, about: a millisecond of Redis's one thread.
pub const REGISTRY_PAGE: usize = 2_000;
/// Names that one request may go through before others get their turn: some tens of microseconds.
pub const NAMES_AT_ONCE: usize = 256;
/// Names that are matched with patterns before others get their turn: a millisecond.
pub const MATCHES_AT_ONCE: usize = 4_096;
/// Requests that go through the names of all channels at once: the others wait for their turn, and publishes for none.
pub const NAME_SCANS: usize = 1;
/// How long a request waits until those before it have gone through the names of all channels. One takes tens of
/// milliseconds where there are a hundred thousand.
pub const LIST_WAIT: Duration = Duration::from_secs(5);
/// Names of the registry that a process keeps in order, so that a page of them is a range: thirty megabytes of the
/// longest. Of a larger registry each page is looked for in all of it.
pub const REGISTRY_NAMES: usize = 100_000;
/// How far Redis's clock may step back while such a process looks for new names by time. Names that it misses all the
/// same show in the count.
pub const REGISTRY_SLACK: Duration = Duration::from_secs(10);
/// How soon a registry is read as a whole again that has lost names since: each time it is swept, it has.
pub const REGISTRY_REREAD: Duration = Duration::from_secs(10);
/// How often a publisher renews the entry in the registry of a channel that is published on.
pub const REGISTRY_RENEWAL: Duration = Duration::from_secs(60);
/// How far back a channel of the registry counts as published on lately: twice the time of its renewal.
pub const REGISTRY_RECENT: Duration = Duration::from_secs(120);
/// Names of such channels returned at a time: some milliseconds of Redis's one thread, and less than a reply may have.
pub const REGISTRY_RECENT_NAMES: usize = 2_000;
const _: () = assert!(REGISTRY_RECENT_NAMES + 2 <= REPLY_ELEMENTS);
/// How often publishers look the registry through for channels whose head has expired.
pub const REGISTRY_SWEEP: Duration = Duration::from_secs(600);
/// How many of them they look at together: some milliseconds of Redis's one thread.
pub const REGISTRY_SWEPT: usize = 1_000;
/// How long they pause between two such looks: a registry of a million dead names is swept in an hour and a half, and
/// Redis has nothing else to do for a thousandth of the time.
pub const REGISTRY_SWEEP_PAUSE: Duration = Duration::from_secs(5);
/// Pages of the registry that are looked through for living names, where a pattern matches more than it may: beyond it
/// the registry is mostly dead, and has to be swept first.
pub const REGISTRY_LOOKS: usize = 4;

// Reading.

/// Messages of a page when the client does not say.
pub const PAGE_DEFAULT: usize = 100;
/// Messages of a page at most.
pub const PAGE_MESSAGES: usize = 1_000;
/// Bytes of a page, as protobuf: gRPC libraries refuse answers over 4 MiB.
pub const PAGE_BYTES: usize = 3 << 20;
/// Bytes of a page of channels: a thousand of the longest names, and what is said of each.
pub const CHANNELS_PAGE_BYTES: usize = PAGE_MESSAGES * (CHANNEL_NAME_BYTES + 128);
/// Bytes a stream reads from the log at a time; less where many read.
pub const REPLAY_BYTES: usize = 1 << 20;
/// Messages a stream reads from the log at a time: a few milliseconds of Redis's one thread.
pub const REPLAY_MESSAGES: usize = 4_096;
/// The part of what Redis lets wait for a client that a page may be: beside its messages a page has their names, and
/// other answers wait as well.
pub const OUTPUT_BUFFER_SHARE: usize = 4;
/// How long pages stay small after a connection was lost while one was read. Mostly it was for another reason, such as
/// a failover, after which everybody catches up.
pub const PAGE_BOUND_TIME: Duration = Duration::from_secs(5);
/// The same where connections are lost again and again when pages have become large again: each time it is doubled.
pub const PAGE_BOUND_MAX: Duration = Duration::from_secs(600);
/// What Redis may let wait for a client at least, so that nobody has to be warned: many pages, heads and names
/// together.
pub const OUTPUT_BUFFER_BYTES: usize = 16 << 20;
/// Channels whose heads one stream reads in a round trip: a short call on a connection that all share.
pub const HEADS_PER_READ: usize = 256;
/// The least size of runs that are read by plain commands: of small ones a page would be too many.
pub const LARGE_RUN_BYTES: usize = 16 << 10;
/// Runs that are read so at a time. The largest has a single message of [`READ_MESSAGE_BYTES`], which none before it
/// foretells.
pub const PLAIN_RUNS: usize = 16;
/// One read of the socket over which such pages come.
pub const BULK_READ_BYTES: usize = 256 << 10;
/// Channels of which it is remembered how large their runs are.
pub const REMEMBERED_RUNS: usize = 1_000;
/// Bytes of framed log pages that all streams of a subscriber share while they catch up. A reader that has stopped
/// holds two chunks besides, so that a thousand of them, each on a connection of its own, stay under 128 MiB together.
pub const PAGES_BYTES: usize = 32 << 20;
/// How long a framed page waits for a reader to come to it.
pub const PAGES_AGE: Duration = Duration::from_secs(5);
/// Cursors in `after` that follow a whole-stream cursor.
pub const AFTER_CURSORS: usize = 1_000;
/// Channels that a whole-stream cursor covers: some 30 kB of text where their names begin alike.
pub const CURSOR_CHANNELS: usize = 1_000;
/// Bytes of a whole-stream cursor as text, which comes with every heartbeat: only names as long as they may be come to
/// more.
pub const CURSOR_BYTES: usize = 256 << 10;
/// Channels that one pattern stream may follow: as many as the embedded broker has at most. A stream that is open must
/// not end because others create channels beside its own, and must be allowed to come back; each costs 240 bytes.
pub const STREAM_CHANNELS: usize = 100_000;
/// Streams of patterns that are opened at once where they look at more channels than one read has
/// ([`HEADS_PER_READ`]), or compare cursors with all names: each takes Redis a few microseconds a channel.
pub const WIDE_OPENINGS: usize = 4;
/// How long others wait for their turn.
pub const WIDE_OPENING_WAIT: Duration = Duration::from_secs(30);
/// Names that are hashed before other streams get their turn: some hundred microseconds.
pub const HASHES_AT_ONCE: usize = 1_000;
/// Channels of a pattern that are known to the hub in detail: of others heads are read again when a message arrives.
pub const PATTERN_CHANNELS: usize = 10_000;
/// The shortest heartbeat.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// The longest heartbeat, beyond which it is surely a mistake.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often a pattern's stream says where it is when the client does not say how often: its messages' cursors cover
/// one channel each, and the whole stream's costs up to 27 kB.
pub const HEARTBEAT_PATTERN: Duration = Duration::from_secs(5);

// Following live.

/// Bytes of chunks that a topic's ring keeps for streams that are slower than others; beyond it they read the log.
pub const RING_BYTES: usize = 1 << 20;
/// Bytes of all rings together: beyond it each keeps its part of them, and its newest chunk.
pub const RINGS_BYTES: usize = 32 << 20;
/// A chunk's cost in a ring beside its bytes.
pub const CHUNK_COST: usize = 256;
/// A message from this size on goes to the streams by itself, and its encoding is shared by all topics that it comes
/// through.
pub const SHARED_BYTES: usize = 16 << 10;
/// How long a ring keeps chunks: a quiet channel holds no memory.
pub const RING_AGE: Duration = Duration::from_secs(5);
/// One chunk of framed messages, unless one message is larger: a few frames of HTTP/2.
pub const CHUNK_BYTES: usize = 60 << 10;
/// The same of pages of the log: one frame of HTTP/2. A reader that has stopped keeps two of them in HTTP/2's send
/// buffer for itself, while chunks of the live path are shared.
pub const LOG_CHUNK_BYTES: usize = 16 << 10;
/// Bytes of pushes that may wait until their channel's head is known, over all topics: an answer takes a round trip.
pub const HELD_BYTES: usize = 16 << 20;
/// The cost of each beside its bytes: even empty ones fill memory.
pub const HELD_PUSH_COST: usize = 256;
/// Channels whose logs the hub compares at once with pushes that claim a position which was received already: enough to
/// fill round trips. Others wait within [`HELD_BYTES`].
pub const COMPARED_CHANNELS: usize = 64;
/// Messages of a log that are read at a time to compare them with such pushes: as many as one run has.
pub const COMPARED_MESSAGES: usize = RUN_MESSAGES;
/// Their bytes.
pub const COMPARED_BYTES: usize = 256 << 10;
/// How far beyond the known end of an ended epoch a push is believed to show a loss that is worth to be remembered on
/// Redis: sixty-four runs. Anyone who may publish can claim more.
pub const LATE_MESSAGES: i64 = 64 * RUN_MESSAGES as i64;
/// Losses that pushes showed and that wait to be reported, by channel and epoch; others are in the log alone.
pub const LATE_LOSSES: usize = 1_000;
/// How many of them are reported at once.
pub const LATE_REPORTS: usize = 16;
/// How often a report that fails is made again, a second apart: through a failover.
pub const LATE_TRIES: u32 = 30;
/// How often the log warns of pushes with impossible claims.
pub const CLAIMS_QUIET: Duration = Duration::from_secs(60);
/// Rewritten histories of a topic's channels that are remembered for streams that lag: such a thing takes
/// somebody who puts back keys by hand.
pub const FEED_REWRITES: usize = 1_000;
/// Topics (channels and patterns) one subscriber follows.
pub const TOPICS: usize = 100_000;
/// Those of them that are patterns: each may have to be matched with each message on a channel that is new.
pub const PATTERNS: usize = 4_096;
/// Names of channels of which it is remembered which patterns they match.
pub const REMEMBERED_NAMES: usize = 10_000;
/// Patterns that are remembered so, of all names together: some megabytes.
pub const REMEMBERED_MATCHES: usize = 100_000;
/// Patterns that are subscribed to on Redis as they are, as long as there are no more. Redis matches each message with
/// each of them, and sends one copy for each that matches; more are gathered under their literal beginnings.
pub const PATTERNS_APART: usize = 8;
/// Such beginnings, none of which is another's beginning: so Redis sends one copy of a message for all of them. Where
/// there would be more they become shorter.
pub const PATTERN_PREFIXES: usize = 64;
/// How long a topic without streams keeps its Redis subscription.
pub const TOPIC_LINGER: Duration = Duration::from_secs(5);
/// Requests that may wait for the hub's task: it answers within microseconds, so more are a burst.
pub const HUB_REQUESTS: usize = 1_024;
/// How often the hub ages its feeds and lets idle topics go: a fraction of the times that they are kept.
pub const HUB_TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks at the heads of quiet channels: a lost last message is found within some seconds.
pub const HUB_ROUND_TICKS: u32 = 3;
/// How soon a captured topic is asked for again that was refused.
pub const CAPTURE_RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such pause: an operator who mends the rights sees it captured within half a minute.
pub const CAPTURE_RETRY_MAX: Duration = Duration::from_secs(30);
/// Heads that are asked for in one tick: a few milliseconds of Redis's one thread.
pub const HUB_ROUND_HEADS: usize = 1_000;
/// The first pause before a channel that can't be read is asked for again: a tick of the hub.
pub const UNREADABLE_RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest: an operator who mends it sees it read within half a minute, and a thousand of them are no load.
pub const UNREADABLE_RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a channel must have been readable again to be forgotten: longer than the longest pause.
pub const UNREADABLE_TRIAL: Duration = Duration::from_secs(60);
/// How many of them the log names in the time of [`UNREADABLE_QUIET`].
pub const UNREADABLE_LINES: usize = 16;
/// Pushes that may wait for a channel that can't be read, and no more bytes than a message may have: others need the
/// room.
pub const UNREADABLE_HELD: usize = 256;
/// See there; also how often the log says that heads can't be read at all.
pub const UNREADABLE_QUIET: Duration = Duration::from_secs(60);

/// How long channels that the registry lacks are gathered before they are put back: the streams that find them missing
/// come together.
pub const REPAIR_PAUSE: Duration = Duration::from_secs(1);

// Capture.

/// How long a replica that has adopted what plain programs publish keeps doing so alone: when it dies, another takes
/// over after this time.
pub const LEASE: Duration = Duration::from_secs(3);
/// Bytes of what plain programs published on captured channels that a replica holds until it is adopted: some seconds
/// of a flood.
pub const CAPTURE_BYTES: usize = 16 << 20;
/// The cost of a message that is held, beside its JSON.
pub const CAPTURE_MESSAGE_COST: usize = 256;
/// Captured channels on which plain programs published whose state a replica keeps: as many as a pattern may have.
pub const CAPTURE_CHANNELS: usize = PATTERN_CHANNELS;
/// Captured channels that are worked on at once: enough to fill round trips, and few beside what publishers send.
pub const CAPTURE_STEPS: usize = 64;
/// Ranges of one channel's log that a replica has missed and remembers apart; more are read as one.
pub const CAPTURE_RANGES: usize = 16;
/// How long the notices of an adoption may take before the head is looked at: far more than a round trip, far less than
/// a lease.
pub const CAPTURE_NOTICES: Duration = Duration::from_millis(500);
/// How soon a lease that was asked for is tried again when its holder has adopted something: some round trips.
pub const CAPTURE_ASK_PAUSE: Duration = Duration::from_millis(20);
/// How long what plain programs published may still be adopted when the service stops: another replica holds it as
/// well.
pub const CAPTURE_FINISH_TIMEOUT: Duration = Duration::from_secs(1);

// The admin listener.

/// Connections of the admin listener: a few scrapers and health checkers.
pub const ADMIN_CONNECTIONS: usize = 64;
/// How long one of them may take, from its first word to the end of the answer.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long their answers may still take when that listener is closed.
pub const ADMIN_GRACE: Duration = Duration::from_millis(250);
/// How often measurements are sorted into their buckets, so that they do not pile up between scrapes.
pub const METRICS_TIDY: Duration = Duration::from_secs(1);

// The embedded broker.

/// Channels that the embedded broker keeps: under a kilobyte each while they are empty.
pub const EMBEDDED_CHANNELS: usize = 100_000;
/// Bytes of messages and ids that the embedded broker keeps, over all channels: sixteen channels at their default
/// limit, and a laptop keeps working.
pub const EMBEDDED_BYTES: usize = 1 << 30;
/// Bytes that wait in the embedded broker for a live connection's reader: what Redis's default limit for Pub/Sub
/// clients bears for a minute. Beyond it the reader gets an event that pushes are lost, and reads the log.
pub const EMBEDDED_QUEUE_BYTES: usize = 8 << 20;
/// Bytes that the embedded broker hands to a reader together, unless one publish is larger: like one read of a socket.
pub const EMBEDDED_READ_BYTES: usize = 256 << 10;
/// Hand-overs to such a reader that wait beside the queue, which has the bytes.
pub const EMBEDDED_EVENTS: usize = 4;
/// Commands of one that wait.
pub const EMBEDDED_COMMANDS: usize = 1_024;
/// Channels that every publish looks at, in turn, for a log that has expired: quiet ones would keep it otherwise.
pub const EMBEDDED_SWEPT: usize = 4;

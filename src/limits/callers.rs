//! What one address or one subject may take. How much that is are flags; here are their defaults, and what they go by.
//!
//! Each default keeps what one address can make a process hold of that kind to at most 64 MiB; the kinds add up. What
//! each comes to is beside it.

use std::time::Duration;

use super::{STREAM_WINDOW_BYTES, WAITING_BODIES};

/// Connections of one address. An idle one takes some 14 KiB, one with a stream 29: 57 MiB.
pub const ADDRESS_CONNECTIONS: u64 = 2_000;
/// Open streams of one address, and of one subject: 2 to 4.3 KiB each, 63 MiB.
pub const CALLER_STREAMS: u64 = 15_000;
/// Different patterns that it follows at once. Redis compares each message with each pattern of all subscribers.
pub const CALLER_PATTERNS: u64 = 16;
/// Channels that its pattern streams follow, each counted for each stream: 240 to 480 bytes, 48 MiB.
pub const CALLER_POSITIONS: u64 = 100_000;
/// Channels that it may create in the time of [`NEW_CHANNELS_PER`]: one for each of three hundred sessions a second.
pub const CALLER_NEW_CHANNELS: u64 = 20_000;
/// Lists that it may ask for every second: each costs some hundred microseconds of Redis's one thread, and more where
/// pages are large.
pub const CALLER_LISTS: u64 = 1_000;
/// The time that rates refer to.
pub const QUOTA_PER: Duration = Duration::from_secs(1);
/// The burst that a rate allows: a caller that was quiet for so long may use all of it at once.
pub const QUOTA_BURST: Duration = Duration::from_secs(2);
/// The time that the rate of new channels refers to: programs that start create theirs together.
pub const NEW_CHANNELS_PER: Duration = Duration::from_secs(60);
/// Channels of which a publisher knows that there are, 8 bytes each, to recognise those that a publish creates: as many
/// as are published on at a time.
pub const KNOWN_CHANNELS: usize = 1 << 16;
/// Addresses whose counters are kept, and as many subjects: some 400 bytes each, and more than are connected.
pub const ACCOUNTS: usize = 1 << 16;
/// How many of them are looked at to find one that nobody uses.
pub const ACCOUNTS_LOOKED_AT: usize = 64;
/// Bytes of large request bodies that one address may have under way: three of the largest, or two dozen messages. With
/// what bodies take beside their bytes and what waits, the process was measured to stay within 64 MiB.
pub const UPLOADS_BYTES: usize = 24 << 20;
/// The same for small bodies that do not come in one piece.
pub const SMALL_UPLOADS_BYTES: usize = 4 << 20;
/// Calls of one address whose bodies wait for such bytes: as many as of one connection.
pub const WAITING_UPLOADS: usize = WAITING_BODIES;
/// Requests of one address that have not come whole. Each takes some 4 KiB beside its bytes, and 14 where a generated
/// service reads it: 35 MiB.
pub const SLOW_REQUESTS: u64 = 2_500;
/// Bytes of requests that came over all connections of one address and that no call has read yet, each frame with
/// [`FRAME_COST`]: what its calls that wait may have sent ([`WAITING_UPLOADS`]), and some more. Beyond it its
/// connections are not read from.
pub const BACKLOG_BYTES: usize = 8 << 20;
const _: () =
    assert!(WAITING_UPLOADS * (STREAM_WINDOW_BYTES as usize + 4 * FRAME_COST) <= BACKLOG_BYTES - BACKLOG_SHORT_BYTES);
/// How much of that a connection takes at once: a frame of HTTP/2.
pub const BACKLOG_PART_BYTES: usize = 16 << 10;
/// What h2 takes for each frame beside its bytes: some 300, and as much again while its table of them grows.
pub const FRAME_COST: usize = 512;
/// What a connection may have unread beside it: one of the largest frames, so that a connection whose calls read what
/// comes goes on whatever others of its address do. Two thousand connections come to 33 MiB.
pub const UNCOUNTED_BACKLOG_BYTES: usize = (16 << 10) + FRAME_COST;
/// What is left of it where an address is short of it.
pub const BACKLOG_SHORT_BYTES: usize = BACKLOG_BYTES / 8;
/// What is read of a connection at once then: as frames of one byte it comes to 26 KiB.
pub const SHORT_READ_BYTES: usize = 512;
/// How long nothing of a connection's requests may be read where that is so, before it is closed: three times as long
/// as Redis is waited for by default.
pub const BACKLOG_TIME: Duration = Duration::from_secs(15);
/// Bytes of lists that one address may have under way and unread: eight of the largest pages, each of which is held two
/// or three times while it is made.
pub const UNREAD_ANSWERS_BYTES: usize = 24 << 20;
/// How long a list waits for its share of them.
pub const UNREAD_ANSWERS_WAIT: Duration = Duration::from_secs(15);
/// How long a list may lie unread without a byte that is taken, before it is dropped.
pub const UNREAD_ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long it may take to be read in all: the largest page at ten kilobytes a second.
pub const ANSWER_TIME: Duration = Duration::from_secs(300);
/// How often unread answers are looked at.
pub const UNREAD_ANSWERS_LOOK: Duration = Duration::from_secs(1);
/// In what parts answers are handed to HTTP/2, which holds one of them for a reader that has stopped: one frame.
pub const ANSWER_PART_BYTES: usize = 16 << 10;
/// The longest PROXY header that is read. AWS, HAProxy and Envoy send some hundred bytes.
pub const PROXY_HEADER_BYTES: usize = 4 << 10;
/// Networks of trusted proxies.
pub const TRUSTED_PROXIES: usize = 64;
/// Bytes a second of cursors that cover a whole pattern stream, which its heartbeats carry. One of a thousand channels
/// has 30 kB, and comes with every default heartbeat.
pub const HEARTBEAT_CURSOR_BYTES: u32 = 8 << 10;

//! What one address or one subject may take. How much that is are flags; here are their defaults, and what they go by.
//!
//! Each default keeps what one address can make a process hold of that kind to at most 64 MiB; the kinds add up. What
//! each comes to is beside it.

use std::time::Duration;

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

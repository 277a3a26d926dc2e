//! What connections, calls and requests may take of a server.

use std::time::Duration;

use super::{ATTRIBUTES, BATCH_MESSAGES};

/// Connections of one listener; fewer where the process may not have as many file descriptors.
pub const CONNECTIONS: usize = 20_000;
/// File descriptors that all connections of a process, those of the admin listener as well, leave to the rest of it: a
/// process whose listeners are full must be able to find Redis again. Redis takes a dozen (one a kind, and
/// [`WAIT_CONNECTIONS`](super::WAIT_CONNECTIONS)), the runtime, listeners and signals another, and there are files that
/// are read again and names that are looked up.
pub const RESERVED_DESCRIPTORS: usize = 64;
/// Which part of a process's file descriptors the admin listener may have at most (an eighth), where that is less than
/// [`ADMIN_CONNECTIONS`](super::ADMIN_CONNECTIONS).
pub const ADMIN_DESCRIPTORS: usize = 8;
/// How long a listener waits when the system has no file descriptor or memory for another connection, which passes.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log repeats that no more connections can be taken, while that is so.
pub const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How long a client may take to say its first words, or the head of an HTTP/1 request.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the kernel asks a silent host before it gives up, all within `--keepalive-timeout`.
pub const TCP_PROBES: u32 = 3;
/// The shortest time between two of them: the kernel counts in seconds.
pub const TCP_PROBE_PAUSE: Duration = Duration::from_secs(1);
/// Calls at once on one connection: what browsers and gRPC libraries share among all of a program's calls; 100 is what
/// servers allow at least (RFC 9113, 6.5.2). What a client may do to all of its calls with one frame costs so much more
/// for each of them.
pub const CALLS_PER_CONNECTION: u32 = 250;
/// Calls that a client may cancel before the server has looked at them: as many as it may have open, whatever their
/// deadlines. More of them at a time are an attack (rapid reset), and end the connection.
pub const CANCELLED_CALLS: usize = CALLS_PER_CONNECTION as usize;
/// Frames of HTTP/2 that carry no call (SETTINGS, PING, RST_STREAM, WINDOW_UPDATE, PRIORITY and unknown ones) which a
/// connection may send at once: a client that has been stopped for some seconds sends what has gathered.
pub const CONTROL_FRAMES_AT_ONCE: u64 = 10_000;
/// How many of them may come every second beside that: a handful is what clients send, and so many cost the server some
/// milliseconds.
pub const CONTROL_FRAMES_PER_SECOND: u64 = 2_000;
/// For how many bytes that are sent to a client one more may come: a window update for the smallest message, and less
/// than a ping is answered with.
pub const CONTROL_FRAME_BYTES: u64 = 64;
/// For each call so many more: it may be cancelled, and have its window enlarged.
pub const CONTROL_FRAMES_PER_CALL: u64 = 2;
/// For how many others a SETTINGS frame counts, which may change the window of every open call. Clients send one or
/// two.
pub const SETTINGS_COST: u64 = 100;
/// HTTP headers of one request, as HTTP/2 counts them.
pub const HEADER_LIST_BYTES: u32 = 16 << 10;
/// The largest message that gRPC decodes: above our own limits, so that our own error reports a larger one.
pub const DECODE_BYTES: usize = 8 << 20;
/// Values in a request of JSON, which take up to some hundred bytes each while it is read: those of the largest batch
/// ([`BATCH_MESSAGES`], each with [`ATTRIBUTES`]), and some more.
pub const JSON_VALUES: usize = 100_000;
const _: () = assert!(BATCH_MESSAGES * (ATTRIBUTES + 8) < JSON_VALUES);
/// How many times as long an answer may be as JSON, as far as its share of what may lie unread goes: base64 is a third
/// longer, quotes and names are more of small messages. Texts full of control characters are longer still.
pub const JSON_ANSWER_GROWTH: usize = 2;
/// Bytes of request bodies that one connection may have under way, counted by the length in their prefixes before they
/// are read: three of the largest, or two dozen messages. The rest of a sender's requests wait unread.
pub const BODIES_BYTES: usize = 28 << 20;
/// The same for small bodies that do not come in one piece: large ones that stall must not keep them waiting.
pub const SMALL_BODIES_BYTES: usize = 4 << 20;
/// The largest small body: one frame of HTTP/2. A body that arrives whole in its first frame is not counted at all.
pub const SMALL_BODY_BYTES: usize = 16 << 10;
/// The largest request of a method that needs no permission: health and reflection take a name or two.
pub const OPEN_BODY_BYTES: usize = 4 << 10;
/// Calls of a connection whose bodies wait for such bytes: a hundred of the largest messages at a time. What each has
/// sent meanwhile lies in HTTP/2's window, of which they must leave a part to those that are read
/// ([`CONNECTION_WINDOW_BYTES`]).
pub const WAITING_BODIES: usize = 96;
const _: () = assert!((WAITING_BODIES + 16) * STREAM_WINDOW_BYTES as usize <= CONNECTION_WINDOW_BYTES as usize);
/// How long they wait.
pub const BODY_WAIT: Duration = Duration::from_secs(5);
/// How long a message may take from its first byte to its last: the largest request at two megabits a second.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// How long the rest of a refused call's request is waited for and dropped before the answer, which would come as a
/// reset of the stream as well: about a round trip around the world.
pub const REFUSED_BODY_TIME: Duration = Duration::from_millis(200);
/// Bytes up to which a request's repeated fields are not counted before it is decoded: a message with as many
/// attributes as it may have is longer, and what becomes of one is some kilobytes.
pub const UNCOUNTED_BYTES: usize = 512;
/// The same for a batch, of which ordinary ones are larger: what becomes of so many empty messages is some 8 MiB for a
/// moment, and to count cost each message of a small batch 3 % of the publisher's instructions.
pub const UNCOUNTED_BATCH_BYTES: usize = 64 << 10;
/// Bytes HTTP/2 may hold for one stream whose reader has stopped.
pub const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes that one turn of a connection gathers before they go to the socket: a dozen of HTTP/2's frames. A fan-out to
/// 100 streams was 1.1 to 1.7 times as fast as with 64 KiB.
pub const CORK_BYTES: usize = 192 << 10;
/// Bytes a client may send on one call before the server has read them: what gRPC's own default is, half a megabyte a
/// second from another continent, and few enough for many calls that wait (see below).
pub const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all calls of a connection together. In frames of 256 bytes, the smallest that h2 does not count, it was
/// seen to fill 24 MiB of memory, so one address may have less unread where frames are small
/// ([`BACKLOG_BYTES`](super::BACKLOG_BYTES)). It also decides how many small frames may wait: h2 ends a connection
/// (`too_many_data_frames`) when the unread DATA frames under 256 bytes lack, together, more than half of this window
/// to that size. An address that has so many is not read from any longer before it comes to that. hyper 1.12 has no
/// setter for that budget itself.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// How long cut calls may take to notice: they are only woken and dropped.
pub const CUT_GRACE: Duration = Duration::from_millis(250);
/// How long a browser may remember the answer to its preflight; browsers cap it at about this.
pub const PREFLIGHT_AGE: Duration = Duration::from_secs(7_200);
/// How long clients are asked to wait before they try again: about as long as a failover or a restart takes to be
/// noticed.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes of a stranger's own text that an error or a line of the log repeats.
pub const EXTRACT_BYTES: usize = 64;
/// What is read at once below TLS: the largest record there is (RFC 8446, 5.2), and no more, since what is read and not
/// asked for yet is held.
pub const TLS_READ_BYTES: usize = 5 + (16 << 10) + 256;
/// What a client may send before its handshake is over: a first message of at most 2 KiB, and with `--tls-client-ca`
/// its certificates, of which a chain of three is 5 KiB. What TLS keeps of an unfinished handshake is less than twice
/// that.
pub const TLS_HANDSHAKE_BYTES: usize = 16 << 10;
/// What TLS may hold of a connection that is not written yet: all that the connection gathers, so that it leaves in one
/// write. What is held here is gathered no longer.
pub const TLS_BUFFER_BYTES: usize = CORK_BYTES;

//! The reading half of an HTTP/2 connection, which counts the frames that come: those that carry a call's data, so that
//! no more is read than there is [`Room`] for, and those that carry no call.
//!
//! A control frame costs its sender a few bytes, and the server up to a walk over all open calls (SETTINGS). h2 bounds
//! some of them (resets, empty DATA), not these. So a connection has a budget of them, which time, calls and what is
//! sent to it refill: whoever reads a lot may say so (WINDOW_UPDATE), ask how long that takes (PING), and cancel calls.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tidings::{
    limits::{
        CONTROL_FRAME_BYTES, CONTROL_FRAMES_AT_ONCE, CONTROL_FRAMES_PER_CALL, CONTROL_FRAMES_PER_SECOND, SETTINGS_COST,
        SHORT_READ_BYTES,
    },
    metrics::{self, Limit},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

use crate::backlog::Room;

/// Bytes before each frame: a length of three, a type, flags, and the stream's number (RFC 9113, 4.1).
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

/// Reads when there is room, and fails once there were too many control frames. `sent` says how many bytes the
/// connection has sent so far.
pub(super) struct CountFrames<R, S> {
    inner: R,
    frames: Frames,
    budget: Budget,
    sent: S,
    room: Room,
}

impl<R, S: Fn() -> u64> CountFrames<R, S> {
    /// Begins behind the preface.
    pub(super) fn new(inner: R, sent: S, room: Room) -> Self {
        let budget = Budget::new(Instant::now(), sent());
        Self { inner, frames: Frames::default(), budget, sent, room }
    }
}

impl<R: AsyncRead + Unpin, S: Fn() -> u64 + Unpin> AsyncRead for CountFrames<R, S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, frames, budget, sent, room } = self.get_mut();
        let before = buffer.filled().len();
        let most = match room.poll(context) {
            Poll::Ready(most) => most?,
            Poll::Pending => {
                room.has_read(true);
                return Poll::Pending;
            }
        };
        let read = read_at_most(Pin::new(inner), context, buffer, most);
        if read.is_pending() {
            room.has_read(true);
        }
        ready!(read)?;
        let is_within = frames.read(&buffer.filled()[before..], |kind, length| match kind {
            DATA => {
                room.backlog().comes(length);
                true
            }
            CONTINUATION => true,
            HEADERS => {
                budget.earn(CONTROL_FRAMES_PER_CALL);
                true
            }
            SETTINGS => budget.spend(SETTINGS_COST, Instant::now(), sent()),
            _ => budget.spend(1, Instant::now(), sent()),
        });
        room.has_read(false);
        if is_within {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        metrics::limited(Limit::ControlFrames);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many control frames of HTTP/2")))
    }
}

/// Reads few bytes at once, where it may not be more.
fn read_at_most<R: AsyncRead>(
    inner: Pin<&mut R>,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<()>> {
    if most >= buffer.remaining() {
        return inner.poll_read(context, buffer);
    }
    let mut few = [0; SHORT_READ_BYTES];
    let mut few = ReadBuf::new(&mut few[..most.min(SHORT_READ_BYTES)]);
    ready!(inner.poll_read(context, &mut few))?;
    buffer.put_slice(few.filled());
    Poll::Ready(Ok(()))
}

/// Finds the frames in what is read.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; FRAME_HEAD],
    /// How much of the head is there.
    headed: usize,
    /// How much of the payload is to come.
    payload: usize,
}

impl Frames {
    /// Calls `each` with the type and the length of every frame whose head ends in these bytes, until it says no.
    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, usize) -> bool) -> bool {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let passed = bytes.len().min(self.payload);
                self.payload -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let taken = bytes.len().min(FRAME_HEAD - self.headed);
            self.head[self.headed..][..taken].copy_from_slice(&bytes[..taken]);
            self.headed += taken;
            bytes = &bytes[taken..];
            if self.headed == FRAME_HEAD {
                self.headed = 0;
                self.payload = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
                if !each(self.head[3], self.payload) {
                    return false;
                }
            }
        }
        true
    }
}

/// How many control frames may still come, counted in bytes so that what is sent can be added.
#[derive(Debug)]
struct Budget {
    left: u64,
    at: Instant,
    sent: u64,
}

impl Budget {
    const MOST: u64 = CONTROL_FRAMES_AT_ONCE * CONTROL_FRAME_BYTES;

    fn new(at: Instant, sent: u64) -> Self {
        Self { left: Self::MOST, at, sent }
    }

    fn earn(&mut self, frames: u64) {
        self.left = (self.left + frames * CONTROL_FRAME_BYTES).min(Self::MOST);
    }

    fn spend(&mut self, frames: u64, now: Instant, sent: u64) -> bool {
        let passed = u64::try_from(now.duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let earned = passed.saturating_mul(CONTROL_FRAMES_PER_SECOND * CONTROL_FRAME_BYTES) / 1_000_000;
        self.left = self.left.saturating_add(earned).saturating_add(sent.saturating_sub(self.sent)).min(Self::MOST);
        (self.at, self.sent) = (now, sent);
        let left = self.left.checked_sub(frames * CONTROL_FRAME_BYTES);
        self.left = left.unwrap_or_default();
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backlog::{Backlog, Followed};

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let head = [&(length as u32).to_be_bytes()[1..], &[kind, 0, 0, 0, 0, 1]].concat();
        [head, vec![b'x'; length]].concat()
    }

    #[test]
    fn frames_are_found_in_whatever_parts_they_come() {
        let kinds = [4, 1, 0, 8, 0, 6, 3];
        let lengths = [0, 40, 300, 4, 0, 8, 4];
        let all: Vec<u8> = kinds.iter().zip(lengths).flat_map(|(kind, length)| frame(*kind, length)).collect();
        for size in 1..=all.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for part in all.chunks(size) {
                assert!(frames.read(part, |kind, length| {
                    found.push((kind, length));
                    true
                }));
            }
            assert!(found.iter().copied().eq(kinds.into_iter().zip(lengths)), "{size}: {found:?}");
        }
    }

    #[test]
    fn a_flood_is_too_much_and_what_a_reader_says_is_not() {
        let now = Instant::now();
        let mut budget = Budget::new(now, 0);
        let most = CONTROL_FRAMES_AT_ONCE / SETTINGS_COST;
        assert_eq!((0..).take_while(|_| budget.spend(SETTINGS_COST, now, 0)).count() as u64, most);
        // Time, calls, and what is sent refill it, and no further than it was.
        let mut budget = Budget::new(now, 0);
        while budget.spend(1, now, 0) {}
        let soon = now + Duration::from_secs(1);
        assert_eq!((0..).take_while(|_| budget.spend(1, soon, 0)).count() as u64, CONTROL_FRAMES_PER_SECOND);
        budget.earn(3);
        assert_eq!((0..).take_while(|_| budget.spend(1, soon, 0)).count(), 3);
        assert_eq!((0..).take_while(|_| budget.spend(1, soon, 10 * CONTROL_FRAME_BYTES)).count(), 10);
        budget.earn(u64::from(u32::MAX));
        let later = soon + Duration::from_secs(3600);
        let counted = (0..).take_while(|_| budget.spend(1, later, 1 << 40)).count();
        assert_eq!(counted as u64, CONTROL_FRAMES_AT_ONCE);
    }

    #[tokio::test]
    async fn no_more_is_read_than_there_is_room_for() {
        use std::sync::Arc;

        use tidings::limits::BACKLOG_BYTES;
        use tidings_auth::{Accounts, Quotas};
        use tokio::io::AsyncReadExt as _;
        let account = Accounts::new(Quotas::UNLIMITED).of_address([192, 0, 2, 1].into());
        let data = frame(0, 10_000).repeat(10);
        let backlog = Backlog::of(Some(Arc::clone(&account)));
        // The call that it is for.
        let _call = Followed::new(http_body_util::Empty::<bytes::Bytes>::new(), Arc::clone(&backlog));
        let mut read = CountFrames::new(&data[..], || 0, Room::new(backlog));
        let mut buffer = vec![0; 10_009];
        assert_eq!(read.read(&mut buffer).await.expect("room"), 10_009);
        let all = Arc::clone(account.backlog()).try_acquire_many_owned(BACKLOG_BYTES as u32).expect("room");
        // A second frame is begun in small parts, and then there is none.
        assert_eq!(read.read(&mut buffer).await.expect("a little"), SHORT_READ_BYTES);
        let next = tokio::time::timeout(Duration::from_millis(50), read.read(&mut buffer)).await;
        assert!(next.is_err(), "no room");
        drop(all);
        assert_eq!(read.read(&mut buffer).await.expect("room again"), 10_009);
    }

    #[tokio::test]
    async fn reading_fails_at_the_first_that_is_too_much() {
        use tokio::io::AsyncReadExt as _;
        let pings = frame(6, 8).repeat(CONTROL_FRAMES_AT_ONCE as usize * 2);
        let mut read = CountFrames::new(&pings[..], || 0, Room::new(Backlog::of(None)));
        let mut all = Vec::new();
        let error = read.read_to_end(&mut all).await.expect_err("too many");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let calls = [frame(1, 30), frame(0, 100), frame(3, 4)].concat().repeat(CONTROL_FRAMES_AT_ONCE as usize * 2);
        let mut read = CountFrames::new(&calls[..], || 0, Room::new(Backlog::of(None)));
        read.read_to_end(&mut all).await.expect("calls, each of which is cancelled");
    }
}

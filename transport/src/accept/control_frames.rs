//! The reading half of an HTTP/2 connection, which counts the frames that carry no call.
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
    },
    metrics::{self, Limit},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

/// Bytes before each frame: a length of three, a type, flags, and the stream's number (RFC 9113, 4.1).
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

/// Reads, and fails once there were too many control frames. `sent` says how many bytes the connection has sent so far.
pub(super) struct CountControlFrames<R, S> {
    inner: R,
    frames: Frames,
    budget: Budget,
    sent: S,
}

impl<R, S: Fn() -> u64> CountControlFrames<R, S> {
    /// Begins behind the preface.
    pub(super) fn new(inner: R, sent: S) -> Self {
        let budget = Budget::new(Instant::now(), sent());
        Self { inner, frames: Frames::default(), budget, sent }
    }
}

impl<R: AsyncRead + Unpin, S: Fn() -> u64 + Unpin> AsyncRead for CountControlFrames<R, S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, frames, budget, sent } = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(inner).poll_read(context, buffer))?;
        let is_within = frames.read(&buffer.filled()[before..], |kind| match kind {
            DATA | CONTINUATION => true,
            HEADERS => {
                budget.earn(CONTROL_FRAMES_PER_CALL);
                true
            }
            SETTINGS => budget.spend(SETTINGS_COST, Instant::now(), sent()),
            _ => budget.spend(1, Instant::now(), sent()),
        });
        if is_within {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        metrics::limited(Limit::ControlFrames);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many control frames of HTTP/2")))
    }
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
    /// Calls `each` with the type of every frame whose head ends in these bytes, until it says no.
    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8) -> bool) -> bool {
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
                if !each(self.head[3]) {
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
                assert!(frames.read(part, |kind| {
                    found.push(kind);
                    true
                }));
            }
            assert_eq!(found, kinds, "{size}");
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
    async fn reading_fails_at_the_first_that_is_too_much() {
        use tokio::io::AsyncReadExt as _;
        let pings = frame(6, 8).repeat(CONTROL_FRAMES_AT_ONCE as usize * 2);
        let mut read = CountControlFrames::new(&pings[..], || 0);
        let mut all = Vec::new();
        let error = read.read_to_end(&mut all).await.expect_err("too many");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let calls = [frame(1, 30), frame(0, 100), frame(3, 4)].concat().repeat(CONTROL_FRAMES_AT_ONCE as usize * 2);
        let mut read = CountControlFrames::new(&calls[..], || 0);
        read.read_to_end(&mut all).await.expect("calls, each of which is cancelled");
    }
}

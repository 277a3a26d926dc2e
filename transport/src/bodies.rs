//! What request bodies may be, before a service sees them: whole messages, as many as the method takes, in a time, and
//! not more of them at once than a connection and an address may have under way.
//!
//! The prefix of a message says how long it is, or the body's headers where it is one message without a prefix, as with
//! unary calls of Connect. Before more of it is read, so many bytes are taken from what the bodies
//! of the connection and of its address share ([`Bodies`]); while there is no room the rest lies with the sender. A
//! [`Meter`] looks after one body, whichever way its call takes: the fast path drives one by itself where a message
//! does not come at once, all others read through [`Metered`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use tidings::{
    limits::{BODY_TIME, SMALL_BODY_BYTES},
    metrics::{self, Limit},
    status,
};
use tidings_auth::Held;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::prefix;

use self::share::Share;
pub(super) use self::{metered::Metered, share::Bodies};

mod metered;
mod share;

/// How many messages a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    One,
    Many,
    /// One, without a prefix. How long it is, where the headers say so.
    Whole(Option<usize>),
}

/// Follows one body.
pub(super) struct Meter {
    bodies: Bodies,
    takes: Takes,
    /// How long a message may be.
    most: usize,
    prefix: [u8; prefix::BYTES],
    /// How much of the prefix is there; all of it in the middle of a message.
    prefixed: usize,
    left: usize,
    length: usize,
    had_one: bool,
    /// How much of what was taken last belongs to messages that are whole.
    whole: usize,
    open: Option<Open>,
    /// What an only message counts for while it comes; calls of many are counted as streams.
    counted: Option<Held>,
    /// That of a message which is whole: it is decoded before more is asked for.
    decoding: Option<Open>,
}

/// A message that is not whole yet, or the only one, after which the body does not end.
struct Open {
    time: Pin<Box<Sleep>>,
    share: Claim,
}

impl Open {
    fn new() -> Self {
        Self { time: Box::pin(sleep(BODY_TIME)), share: Claim::Unknown }
    }
}

/// How far a message has come to its share.
enum Claim {
    /// The prefix is not there.
    Unknown,
    /// For a message of so many bytes.
    Asked(usize, BoxFuture<'static, Result<Share, Status>>),
    Has {
        bytes: usize,
        _share: Share,
    },
}

impl Claim {
    /// How large a share was asked for.
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::Asked(bytes, _) | Self::Has { bytes, .. } => Some(*bytes),
        }
    }
}

impl Meter {
    /// Follows a body whose messages have at most so many bytes.
    pub(super) fn new(bodies: Bodies, takes: Takes, most: usize) -> Self {
        Self {
            bodies,
            takes,
            most,
            prefix: [0; prefix::BYTES],
            prefixed: 0,
            left: 0,
            length: 0,
            had_one: false,
            whole: 0,
            open: None,
            counted: None,
            decoding: None,
        }
    }

    /// Looks at what was read next.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the body is not to be read any further.
    pub(super) fn take(&mut self, mut data: &[u8]) -> Result<(), Status> {
        if let Takes::Whole(known) = self.takes {
            return self.take_whole(data.len(), known);
        }
        let all = data.len();
        self.whole = 0;
        while !data.is_empty() {
            if self.prefixed < prefix::BYTES {
                if self.had_one && self.takes == Takes::One {
                    return Err(status::not_one_request("several"));
                }
                let taken = data.len().min(prefix::BYTES - self.prefixed);
                self.prefix[self.prefixed..][..taken].copy_from_slice(&data[..taken]);
                self.prefixed += taken;
                data = &data[taken..];
                if self.prefixed < prefix::BYTES {
                    break;
                }
                self.begin()?;
            }
            let taken = data.len().min(self.left);
            self.left -= taken;
            data = &data[taken..];
            if self.left == 0 {
                self.prefixed = 0;
                self.had_one = true;
                self.whole = all - data.len();
                if self.takes == Takes::Many {
                    self.decoding = self.open.take();
                }
            }
        }
        self.watch()
    }

    /// The same where all of the body is one message. One whose length is not known asks first for the share of a small
    /// one, and for that of the largest when it has become larger.
    fn take_whole(&mut self, more: usize, known: Option<usize>) -> Result<(), Status> {
        self.length += more;
        if known.unwrap_or(self.length) > self.most || self.length > self.most {
            return Err(status::undecodable(self.most));
        }
        let needed = match known {
            Some(known) => known,
            None if self.length <= SMALL_BODY_BYTES => SMALL_BODY_BYTES.min(self.most),
            None => self.most,
        };
        let bodies = self.bodies.clone();
        let open = self.open()?;
        if open.share.bytes().is_none_or(|bytes| bytes < needed) {
            open.share = Claim::Asked(needed, bodies.share(needed).boxed());
        }
        Ok(())
    }

    /// Reads a prefix that is there.
    fn begin(&mut self) -> Result<(), Status> {
        self.length = prefix::read(self.prefix)?;
        self.left = self.length;
        if self.length > self.most { Err(status::undecodable(self.most)) } else { Ok(()) }
    }

    /// Asks for the share of what is not whole, and begins its time.
    fn watch(&mut self) -> Result<(), Status> {
        let is_alone = self.takes == Takes::One && self.had_one;
        if self.prefixed == 0 && !is_alone {
            return Ok(());
        }
        let share = self.bodies.clone();
        let (is_known, length) = (self.prefixed == prefix::BYTES || is_alone, self.length);
        let open = self.open()?;
        if matches!(open.share, Claim::Unknown) && is_known {
            open.share = Claim::Asked(length, share.share(length).boxed());
        }
        Ok(())
    }

    fn open(&mut self) -> Result<&mut Open, Status> {
        if self.takes != Takes::Many && self.open.is_none() {
            self.counted = self.bodies.count()?;
        }
        Ok(self.open.get_or_insert_with(Open::new))
    }

    /// Waits until more may be read. The caller has decoded what was whole.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.decoding = None;
        let Some(Open { share, .. }) = &mut self.open else { return Poll::Ready(Ok(())) };
        let Claim::Asked(bytes, asked) = share else { return Poll::Ready(Ok(())) };
        let bytes = *bytes;
        asked.poll_unpin(context).map_ok(|had| *share = Claim::Has { bytes, _share: had })
    }

    /// What was taken last, in what belongs to whole messages of many and what comes after them; `None` where that is
    /// nothing.
    fn whole_of(&self, data: &Bytes) -> Option<(Bytes, Bytes)> {
        let is_some = self.whole > 0 && self.takes == Takes::Many;
        is_some.then(|| (data.slice(..self.whole), data.slice(self.whole..)))
    }

    /// Whether there is a message of which nothing more may be read yet.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.open, Some(Open { share: Claim::Asked(..), .. }))
    }

    /// Whether a message has its share: its reader may make room for all of it.
    pub(super) fn has_share(&self) -> bool {
        matches!(self.open, Some(Open { share: Claim::Has { .. }, .. }))
    }

    /// To be polled while nothing comes: says when the message has taken too long.
    pub(super) fn poll_slow(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        // The time of an only message begins with its call, and that of one of many with its first byte.
        if self.takes != Takes::Many
            && self.open.is_none()
            && let Err(status) = self.open()
        {
            return Poll::Ready(status);
        }
        match &mut self.open {
            Some(open) => open.time.poll_unpin(context).map(|()| {
                metrics::limited(Limit::RequestTime);
                status::request_too_slow(BODY_TIME)
            }),
            None => Poll::Pending,
        }
    }

    /// An only message is whole. Its share stays, since what becomes of it is as large; but for small ones without a
    /// prefix, which mostly come at once, as those do that are never counted.
    pub(super) fn has_come(&mut self) {
        self.counted = None;
        if matches!(self.takes, Takes::Whole(_)) && self.length <= SMALL_BODY_BYTES {
            self.open = None;
        }
    }

    /// Adds the time for which nobody read, which is not the sender's.
    fn excuse(&mut self, since: Instant) {
        if let Some(open) = &mut self.open {
            let until = open.time.deadline() + since.elapsed();
            open.time.as_mut().reset(until);
        }
    }

    /// The body has ended.
    pub(super) fn end(&self) -> Result<(), Status> {
        match self.takes {
            _ if self.prefixed > 0 => Err(status::cut_off()),
            Takes::One if !self.had_one => Err(status::not_one_request("none")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

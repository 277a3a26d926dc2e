//! What request bodies may be, before a service sees them: whole messages of gRPC, as many as the method takes, in a
//! time, and not more of them at once than a connection may have under way.
//!
//! The prefix of a message says how long it is. Before more of it is read, so many bytes are taken from what the
//! connection's bodies share ([`Bodies`]); while there is no room the rest lies with the sender. A [`Meter`] looks
//! after one body, whichever way its call takes: the fast path drives one by itself where a message does not come at
//! once, all others read through [`Metered`].

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use tidings::{
    limits::{BODIES_BYTES, BODY_TIME, BODY_WAIT, DECODE_BYTES, SMALL_BODIES_BYTES, SMALL_BODY_BYTES, WAITING_BODIES},
    status,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, timeout},
};
use tonic::Status;

use super::prefix;

pub(super) use self::metered::Metered;

mod metered;

/// The bytes that the bodies of one connection share.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        let of = |size| Arc::new(Semaphore::new(size));
        Self { large: of(BODIES_BYTES), small: of(SMALL_BODIES_BYTES), waiting: of(WAITING_BODIES) }
    }
}

impl Bodies {
    /// Takes a message's share, in the order in which they are asked for.
    async fn share(self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let of = if bytes <= SMALL_BODY_BYTES { self.small } else { self.large };
        // No message is longer than can be decoded.
        let bytes = u32::try_from(bytes).map_err(|_| status::undecodable(DECODE_BYTES))?;
        if let Ok(share) = Arc::clone(&of).try_acquire_many_owned(bytes) {
            return Ok(share);
        }
        let _permit = self.waiting.try_acquire().map_err(|_| status::connection_full())?;
        match timeout(BODY_WAIT, of.acquire_many_owned(bytes)).await {
            Ok(Ok(share)) => Ok(share),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(status::connection_full()),
        }
    }
}

/// How many messages a method takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    One,
    Many,
}

/// Follows one body.
pub(super) struct Meter {
    bodies: Bodies,
    takes: Takes,
    prefix: [u8; prefix::BYTES],
    /// How much of the prefix is there; all of it in the middle of a message.
    prefixed: usize,
    left: usize,
    length: usize,
    had_one: bool,
    /// How much of what was taken last belongs to messages that are whole.
    whole: usize,
    open: Option<Open>,
    /// That of a message which is whole: it is decoded before more is asked for.
    decoding: Option<Open>,
}

/// A message that is not whole yet, or the only one, after which the body does not end.
struct Open {
    time: Pin<Box<Sleep>>,
    share: Share,
}

impl Open {
    fn new() -> Self {
        Self { time: Box::pin(sleep(BODY_TIME)), share: Share::Unknown }
    }
}

enum Share {
    /// The prefix is not there.
    Unknown,
    Asked(BoxFuture<'static, Result<OwnedSemaphorePermit, Status>>),
    Has {
        _bytes: OwnedSemaphorePermit,
    },
}

impl Meter {
    pub(super) fn new(bodies: Bodies, takes: Takes) -> Self {
        Self {
            bodies,
            takes,
            prefix: [0; prefix::BYTES],
            prefixed: 0,
            left: 0,
            length: 0,
            had_one: false,
            whole: 0,
            open: None,
            decoding: None,
        }
    }

    /// Looks at what was read next.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the body is not to be read any further.
    pub(super) fn take(&mut self, mut data: &[u8]) -> Result<(), Status> {
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
        self.watch();
        Ok(())
    }

    /// Reads a prefix that is there.
    fn begin(&mut self) -> Result<(), Status> {
        self.length = prefix::read(self.prefix)?;
        self.left = self.length;
        Ok(())
    }

    /// Asks for the share of what is not whole, and begins its time.
    fn watch(&mut self) {
        let is_alone = self.takes == Takes::One && self.had_one;
        if self.prefixed == 0 && !is_alone {
            return;
        }
        let open = self.open.get_or_insert_with(Open::new);
        if matches!(open.share, Share::Unknown) && (self.prefixed == prefix::BYTES || is_alone) {
            open.share = Share::Asked(self.bodies.clone().share(self.length).boxed());
        }
    }

    /// Waits until more may be read. The caller has decoded what was whole.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.decoding = None;
        let Some(Open { share, .. }) = &mut self.open else { return Poll::Ready(Ok(())) };
        let Share::Asked(asked) = share else { return Poll::Ready(Ok(())) };
        asked.poll_unpin(context).map_ok(|bytes| *share = Share::Has { _bytes: bytes })
    }

    /// What was taken last, in what belongs to whole messages of many and what comes after them; `None` where that is
    /// nothing.
    fn whole_of(&self, data: &Bytes) -> Option<(Bytes, Bytes)> {
        let is_some = self.whole > 0 && self.takes == Takes::Many;
        is_some.then(|| (data.slice(..self.whole), data.slice(self.whole..)))
    }

    /// Whether there is a message of which nothing more may be read yet.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.open, Some(Open { share: Share::Asked(_), .. }))
    }

    /// Whether a message has its share: its reader may make room for all of it.
    pub(super) fn has_share(&self) -> bool {
        matches!(self.open, Some(Open { share: Share::Has { .. }, .. }))
    }

    /// To be polled while nothing comes: says when the message has taken too long.
    pub(super) fn poll_slow(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        // The time of an only message begins with its call, and that of one of many with its first byte.
        if self.takes == Takes::One && self.open.is_none() {
            self.open = Some(Open::new());
        }
        match &mut self.open {
            Some(open) => open.time.poll_unpin(context).map(|()| status::request_too_slow(BODY_TIME)),
            None => Poll::Pending,
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

//! How much of the requests' bodies a connection may make the server hold. Large messages reserve what their prefix says before more of
//! them is read, and keep it until the call is answered; small ones are free, for there are only so many calls. Whatever comes must come
//! whole before long.
//!
//! It knows gRPC's frames, five bytes before each message, and nothing of what they hold.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};
use tonic::Status;

use self::frames::Frames;
use crate::{
    limits::{BODIES_BYTES, BODIES_WAIT, BODIES_WAITING, BODY_TIMEOUT},
    status,
};

mod frames;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the large messages of one connection share.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What a message has reserved, until it is dropped.
type Reserved = OwnedSemaphorePermit;

enum Reservation {
    Made(Reserved),
    Waits(BoxFuture<'static, Result<Reserved, Status>>),
    Refused(Status),
}

impl Room {
    /// That of one connection more.
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { bytes: Arc::new(Semaphore::new(BODIES_BYTES)), waiting: AtomicUsize::new(0) }))
    }

    fn reserve(&self, bytes: u32) -> Reservation {
        if let Ok(reserved) = Arc::clone(&self.0.bytes).try_acquire_many_owned(bytes) {
            return Reservation::Made(reserved);
        }
        let Some(place) = Place::take(&self.0) else { return Reservation::Refused(status::too_much_at_once()) };
        let semaphore = Arc::clone(&self.0.bytes);
        Reservation::Waits(Box::pin(async move {
            let _place = place;
            match timeout(BODIES_WAIT, semaphore.acquire_many_owned(bytes)).await {
                Ok(Ok(reserved)) => Ok(reserved),
                Ok(Err(_closed)) => Err(status::internal()),
                Err(_) => Err(status::too_much_at_once()),
            }
        }))
    }
}

/// A place among those that wait.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(Arc::clone(shared));
        (shared.waiting.fetch_add(1, Ordering::Relaxed) < BODIES_WAITING).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the message of a call has reserved. The call keeps it as well as the body, which is gone once the message is decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold(Arc<Mutex<Option<Reserved>>>);

impl Hold {
    fn put(&self, reserved: Option<Reserved>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reserved;
    }
}

pin_project! {
    /// A request's body, held to the bounds.
    pub(super) struct Bounded<B> {
        #[pin]
        inner: B,
        frames: Frames,
        // The method takes one message.
        single: bool,
        // Where the request came through no connection there is nothing to share.
        room: Option<Room>,
        hold: Hold,
        waiting: Option<(BoxFuture<'static, Result<Reserved, Status>>, Bytes)>,
        slow: Slow,
    }
}

impl<B> Bounded<B> {
    pub(super) fn new(inner: B, single: bool, room: Option<Room>, hold: Hold) -> Self {
        Self { inner, frames: Frames::default(), single, room, hold, waiting: None, slow: Slow::default() }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            if let Some((reservation, data)) = this.waiting {
                let reserved = ready!(reservation.as_mut().poll(context));
                let data = std::mem::take(data);
                *this.waiting = None;
                return Poll::Ready(Some(reserved.map_err(Into::into).map(|reserved| {
                    this.hold.put(Some(reserved));
                    Frame::data(data)
                })));
            }
            let polled = this.inner.as_mut().poll_frame(context);
            let Poll::Ready(polled) = polled else {
                let must_come = this.frames.is_within() || (*this.single && this.frames.messages() > 0);
                return match must_come && this.slow.poll(context).is_ready() {
                    true => Poll::Ready(Some(Err(status::stalled().into()))),
                    false => Poll::Pending,
                };
            };
            let data = match polled.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Ok(Ok(data))) => data,
            };
            let large = this.frames.pass(&data);
            if *this.single && this.frames.messages() > 1 {
                return Poll::Ready(Some(Err(status::one_message_only().into())));
            }
            if !*this.single && !this.frames.is_within() {
                this.slow.reset();
            }
            let (Some(bytes), Some(room)) = (large, this.room.as_ref()) else {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            };
            // Of a stream, the message before it has been decoded by now.
            this.hold.put(None);
            match room.reserve(bytes) {
                Reservation::Made(reserved) => {
                    this.hold.put(Some(reserved));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Reservation::Refused(status) => return Poll::Ready(Some(Err(status.into()))),
                Reservation::Waits(reservation) => *this.waiting = Some((reservation, data)),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How long a message may take to come, from when it was first waited for.
#[derive(Debug, Default)]
pub(super) struct Slow(Option<Pin<Box<Sleep>>>);

impl Slow {
    /// Ready when it has taken too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| Box::pin(sleep(BODY_TIMEOUT))).as_mut().poll(context)
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests;

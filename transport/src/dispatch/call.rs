//! One call, from its headers to the response's. hyper copies it into a task of its own, so it is kept small: what few
//! calls need is boxed.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::Response;
use http_body::Body as HttpBody;
use tidings::{
    limits::{DECODE_BYTES, SMALL_BODY_BYTES},
    status,
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, body::Body};

use super::{message::Message, refused::Refused};
use crate::{
    CallContext,
    bodies::{Meter, Takes},
    deadline::Deadline,
    grpc,
    operation::any::{Answer, Answers, AnyServerStreaming, AnyUnary},
    prefix,
    protocol::Protocol,
    usage::Open,
};

/// A call until its headers.
pub(crate) struct Call<B> {
    protocol: Protocol,
    state: State<B>,
    deadline: Deadline,
    /// What it counts for, where it does.
    open: Option<Box<Open>>,
}

pub(super) enum State<B> {
    Reading(Reading<B>),
    /// On the fast path of one answer.
    Single(Answer),
    /// On the fast path of many. They last no longer than the deadline.
    Opening(BoxFuture<'static, Result<Answers, Status>>, Deadline),
    Answering(BoxFuture<'static, Result<Response<Body>, Status>>),
    Refused(Refused<B>),
    Over,
}

/// What takes one message.
pub(super) enum OfOne {
    Unary(Arc<dyn AnyUnary>),
    ServerStreaming(Arc<dyn AnyServerStreaming>),
}

/// The one message of a call on the fast path, as it comes.
pub(super) struct Reading<B> {
    body: B,
    message: Message,
    context: CallContext,
    operation: OfOne,
    /// None where all that there is came at once, as usual.
    slow: Option<Box<Slow>>,
}

/// What holds for a message that does not come at once: its share of what may be under way, and its time.
struct Slow {
    meter: Meter,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<B> State<B> {
    pub(super) fn read(body: B, context: CallContext, operation: OfOne) -> Self {
        Self::Reading(Reading { body, message: Message::default(), context, operation, slow: None })
    }
}

impl<B> Call<B> {
    pub(super) fn new(protocol: Protocol, state: State<B>, deadline: Deadline, open: Option<Box<Open>>) -> Self {
        Self { protocol, state, deadline, open }
    }

    pub(super) fn refused(protocol: Protocol, status: Status, body: B) -> Self {
        Self::new(protocol, State::Refused(Refused::new(status, body)), Deadline::none(), None)
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Call<B> {
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<Response<Body>, Status>> {
        loop {
            self.state = match &mut self.state {
                State::Reading(reading) => {
                    ready!(reading.poll_read(context))?;
                    match std::mem::replace(&mut self.state, State::Over) {
                        State::Reading(reading) => reading.answer(),
                        other => other,
                    }
                }
                State::Single(answer) => return answer.poll_unpin(context).map_ok(grpc::single),
                State::Opening(opening, lifetime) => {
                    let answers = ready!(opening.poll_unpin(context))?;
                    let lifetime = std::mem::replace(lifetime, Deadline::none());
                    return Poll::Ready(Ok(grpc::streamed(answers, lifetime)));
                }
                State::Answering(answer) => return answer.poll_unpin(context),
                State::Refused(refused) => return refused.poll(context).map(Err),
                // After a panic it is not polled again.
                State::Over => return Poll::Ready(Err(status::internal())),
            }
        }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Reading<B> {
    /// Reads to the body's end.
    ///
    /// # Errors
    ///
    /// It is not exactly one whole message, it had no share of what may be under way, or it was too
    /// slow.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if let Some(slow) = &mut self.slow {
                ready!(slow.meter.poll_ready(context))?;
            }
            if self.body.is_end_stream() {
                break;
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data)?,
                    // Trailers, of which no method here makes anything, are the end.
                    Err(_) => break,
                },
                // A body that broke off ends where it did.
                Poll::Ready(Some(Err(_)) | None) => break,
                Poll::Pending if self.slow.is_none() => self.measure()?,
                Poll::Pending => return self.poll_slow(context).map(Err),
            }
        }
        Poll::Ready(if self.message.is_whole() { Ok(()) } else { Err(self.fault()) })
    }

    fn take(&mut self, data: Bytes) -> Result<(), Status> {
        let mut has_share = false;
        if let Some(slow) = &mut self.slow {
            slow.meter.take(&data)?;
            has_share = slow.meter.has_share();
        }
        if !self.message.add(data, has_share) {
            return Err(self.fault());
        }
        let is_small = self.message.so_far().len() <= SMALL_BODY_BYTES || self.message.is_whole();
        if is_small { Ok(()) } else { self.measure() }
    }

    /// Has the message looked after from here on.
    fn measure(&mut self) -> Result<(), Status> {
        if self.slow.is_none() {
            let mut meter = Meter::new(self.context.bodies().clone(), Takes::One, DECODE_BYTES);
            let taken = meter.take(self.message.so_far());
            self.slow = Some(Box::new(Slow { meter, drained: Box::pin(self.context.drain().begun()) }));
            taken?;
        }
        Ok(())
    }

    /// While nothing comes: why nobody waits for it any longer.
    fn poll_slow(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let Some(slow) = &mut self.slow else { return Poll::Pending };
        if let Poll::Ready(status) = slow.meter.poll_slow(context) {
            return Poll::Ready(status);
        }
        match slow.drained.poll_unpin(context) {
            Poll::Ready(()) => Poll::Ready(self.context.drain().status(self.context.call())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Why what was read is not one message.
    fn fault(&self) -> Status {
        let mut meter = Meter::new(self.context.bodies().clone(), Takes::One, DECODE_BYTES);
        let found = meter.take(self.message.so_far()).and_then(|()| meter.end());
        found.err().unwrap_or_else(|| status::undecodable(DECODE_BYTES))
    }

    fn answer(mut self) -> State<B> {
        if let Some(slow) = &mut self.slow {
            slow.meter.has_come();
        }
        let (context, request) = (self.context, self.message.take().slice(prefix::BYTES..));
        match self.operation {
            OfOne::Unary(operation) => State::Single(with(self.slow, operation.call(context, request))),
            OfOne::ServerStreaming(operation) => {
                let lifetime = context.lifetime();
                State::Opening(with(self.slow, operation.open(context, request)), lifetime)
            }
        }
    }
}

/// What becomes of a large message waits for the broker as large: its share is held until then.
fn with<T: Send + 'static>(share: Option<Box<Slow>>, answer: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    let Some(share) = share else { return answer };
    Box::pin(async move {
        let _share = share;
        answer.await
    })
}

impl<B: HttpBody<Data = Bytes> + Unpin> Future for Call<B> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answered = match catch_unwind(AssertUnwindSafe(|| this.advance(context))) {
            Ok(Poll::Ready(answered)) => answered,
            Ok(Poll::Pending) => Err(ready!(this.deadline.poll_passed(context))),
            // The panic hook has logged it.
            Err(_panic) => Err(status::internal()),
        };
        let open = this.open.take();
        Poll::Ready(Ok(match (answered, open) {
            (Ok(response), Some(open)) => response.map(|body| open.until_end_of(body)),
            (Ok(response), None) => response,
            (Err(status), _) => this.protocol.failed(status),
        }))
    }
}

/// What tonic's decoder says of a request, in our words. Its answers have no details, as ours have.
pub(super) fn in_our_words(response: Response<Body>) -> Response<Body> {
    let refused = Status::from_header_map(response.headers()).filter(|status| status.details().is_empty());
    let refused = refused.and_then(|status| status::of_decoder(status.code(), status.message(), DECODE_BYTES));
    refused.map_or(response, Status::into_http)
}

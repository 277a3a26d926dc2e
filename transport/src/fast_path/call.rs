//! One call on the fast path, from its headers to the response's. hyper copies it into a task of its own, so it is kept small:
//! what few calls need is boxed.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tidings::{limits::SMALL_BODY_BYTES, status};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};
use tower::util::ServiceExt as _;

use super::{
    Table,
    body::{Reread, respond},
    message::Read,
};
use crate::{
    bodies::{Meter, Takes},
    deadline,
    grpc::PREFIX,
    shared::Shared,
};

/// A call until its headers.
pub(crate) struct Call {
    state: State,
    /// It counts from the beginning, whichever way the call takes.
    deadline: Option<Pin<Box<Sleep>>>,
    of: status::Call,
}

#[expect(clippy::large_enum_variant, reason = "every call begins with the large one, which would be boxed for each")]
enum State {
    Reading(Reading),
    Answering(BoxFuture<'static, Result<Bytes, Status>>),
    Plain(BoxFuture<'static, Result<Response<Body>, Infallible>>),
    Over,
}

struct Reading {
    request: Request<Incoming>,
    read: Read,
    table: Arc<Table>,
    method: usize,
    connection: Arc<Shared>,
    /// None where all that there is came at once, as mostly.
    meter: Option<Box<Meter>>,
}

impl Call {
    pub(super) fn new(table: Arc<Table>, method: usize, request: Request<Incoming>, connection: Arc<Shared>) -> Self {
        let deadline = deadline::of(request.headers()).map(|timeout| Box::pin(sleep(timeout)));
        let of = status::Call::of(request.uri().path());
        let reading = Reading { request, read: Read::default(), table, method, connection, meter: None };
        Self { state: State::Reading(reading), deadline, of }
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Response<Body>> {
        loop {
            self.state = match &mut self.state {
                State::Reading(reading) => {
                    let is_whole = match ready!(reading.poll_read(context)) {
                        Ok(is_whole) => is_whole,
                        Err(status) => return Poll::Ready(status.into_http()),
                    };
                    match std::mem::replace(&mut self.state, State::Over) {
                        State::Reading(reading) => reading.go(is_whole),
                        other => other,
                    }
                }
                State::Answering(answer) => {
                    let answered = ready!(answer.poll_unpin(context));
                    return Poll::Ready(answered.map_or_else(Status::into_http, respond));
                }
                State::Plain(answer) => match ready!(answer.poll_unpin(context)) {
                    Ok(response) => return Poll::Ready(response),
                    Err(never) => match never {},
                },
                // After a panic it is not polled again.
                State::Over => return Poll::Ready(status::internal().into_http()),
            }
        }
    }
}

impl Reading {
    /// Reads to the body's end. Says whether it was one ordinary message, as soon as that is known.
    ///
    /// # Errors
    ///
    /// The message had no share of what the connection may have under way, or was too slow.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Status>> {
        loop {
            if let Some(meter) = &mut self.meter {
                ready!(meter.poll_ready(context))?;
            }
            let body = self.request.body_mut();
            if body.is_end_stream() {
                break;
            }
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if !self.take(data) {
                            return Poll::Ready(Ok(false));
                        }
                    }
                    // Trailers, of which no method here makes anything, are the end.
                    Err(_) => break,
                },
                // What broke is broken for the fallback too.
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Ok(false)),
                Poll::Ready(None) => break,
                Poll::Pending if self.meter.is_none() && !self.read.so_far().is_empty() => {
                    if !self.measure() {
                        return Poll::Ready(Ok(false));
                    }
                }
                Poll::Pending => {
                    return self.meter.as_mut().map_or(Poll::Pending, |meter| meter.poll_slow(context).map(Err));
                }
            }
        }
        Poll::Ready(Ok(self.read.is_whole()))
    }

    /// Takes what was read. Says whether it can still become one ordinary message.
    fn take(&mut self, data: Bytes) -> bool {
        let is_good = self.meter.as_mut().is_none_or(|meter| meter.take(&data).is_ok());
        let has_share = self.meter.as_ref().is_some_and(|meter| meter.has_share());
        let is_good = self.read.add(data, has_share) && is_good;
        is_good && (self.read.so_far().len() <= SMALL_BODY_BYTES || self.read.is_whole() || self.measure())
    }

    /// Has the message looked after from here on. Says whether it is as it must be; if not, the fallback says why.
    fn measure(&mut self) -> bool {
        if self.meter.is_some() {
            return true;
        }
        let mut meter = Box::new(Meter::new(self.connection.bodies.clone(), Takes::One));
        let taken = meter.take(self.read.so_far());
        self.meter = Some(meter);
        taken.is_ok()
    }

    /// Takes the fast path where that is possible.
    fn go(mut self, is_whole: bool) -> State {
        let frame = self.read.take();
        if is_whole {
            let (_, method) = &self.table.methods[self.method];
            if let Some(answer) = method.answer(frame.slice(PREFIX..)) {
                let Some(share) = self.meter else { return State::Answering(answer) };
                // What becomes of a large message waits for the broker as large.
                return State::Answering(Box::pin(async move {
                    let _share = share;
                    answer.await
                }));
            }
        }
        let read = Some(frame).filter(|frame| !frame.is_empty());
        let mut request = self.request.map(|rest| Reread { read, rest });
        self.connection.attach(request.extensions_mut());
        State::Plain(Box::pin(self.table.plain.clone().oneshot(request)))
    }
}

impl Future for Call {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match catch_unwind(AssertUnwindSafe(|| this.advance(context))) {
            Ok(Poll::Ready(response)) => return Poll::Ready(Ok(response)),
            Ok(Poll::Pending) => {}
            // The panic hook has logged it.
            Err(_panic) => return Poll::Ready(Ok(status::internal().into_http())),
        }
        match this.deadline.as_mut().map(|deadline| deadline.poll_unpin(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Ok(status::deadline_exceeded(this.of).into_http())),
            _ => Poll::Pending,
        }
    }
}

//! One call on the short way, from its headers to the response's. hyper copies it into a task of its own, so it is kept small:
//! what few calls need is boxed.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};
use tower::util::ServiceExt as _;

use super::{
    Table,
    body::{Reread, respond},
    message::{PREFIX, Read},
};
use crate::{
    server::{Ending, deadline},
    status,
};

/// A call until its headers.
pub(in crate::server) struct Call {
    state: State,
    /// It counts from the beginning, whichever way the call takes.
    deadline: Option<Pin<Box<Sleep>>>,
    of: status::Call,
}

#[expect(clippy::large_enum_variant, reason = "every call begins with the large one, which would be boxed for each")]
enum State {
    Reading(Reading),
    Answering(BoxFuture<'static, Result<bytes::Bytes, Status>>),
    Plain(BoxFuture<'static, Result<Response<Body>, Infallible>>),
    Over,
}

struct Reading {
    request: Request<Incoming>,
    read: Read,
    table: Arc<Table>,
    method: usize,
    ending: Ending,
}

impl Call {
    pub(super) fn new(table: Arc<Table>, method: usize, request: Request<Incoming>, ending: Ending) -> Self {
        let deadline = deadline::of(request.headers()).map(|timeout| Box::pin(sleep(timeout)));
        let of = status::Call::of(request.uri().path());
        Self { state: State::Reading(Reading { request, read: Read::default(), table, method, ending }), deadline, of }
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Response<Body>> {
        loop {
            self.state = match &mut self.state {
                State::Reading(reading) => {
                    let is_whole = ready!(reading.poll_read(context));
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
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let body = self.request.body_mut();
        while !body.is_end_stream() {
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if !self.read.add(data) {
                            return Poll::Ready(false);
                        }
                    }
                    // Trailers, of which no method here makes anything, are the end.
                    Err(_) => break,
                },
                // What broke is broken for the plain way too.
                Some(Err(_)) => return Poll::Ready(false),
                None => break,
            }
        }
        Poll::Ready(self.read.is_whole())
    }

    /// Goes the short way where that is possible.
    fn go(mut self, is_whole: bool) -> State {
        let frame = self.read.take();
        if is_whole {
            let (_, method) = &self.table.methods[self.method];
            if let Some(answer) = method.answer(frame.slice(PREFIX..)) {
                return State::Answering(answer);
            }
        }
        let read = Some(frame).filter(|frame| !frame.is_empty());
        let mut request = self.request.map(|rest| Reread { read, rest });
        request.extensions_mut().insert(self.ending);
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

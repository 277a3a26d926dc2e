//! Answers that nobody reads. A client may call and give its answers no window (RFC 9113, 6.9): then they lie here. So
//! large answers have a share of what one address may have lie, before they are made; and one of which nothing is taken
//! for too long is dropped.
//!
//! hyper asks a body for more only when there is a window, so a body can't look after its own time. The connection
//! does, which holds its answers weakly.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tidings::{
    limits::{ANSWER_TIME, UNREAD_ANSWER_TIME, UNREAD_ANSWERS_BYTES, UNREAD_ANSWERS_LOOK, UNREAD_ANSWERS_WAIT},
    metrics::{self, Limit},
    status,
};
use tidings_auth::Account;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, sleep, timeout},
};
use tonic::{Status, body::Body};

use super::{grpc, parts};

/// The large answers of one connection.
#[derive(Debug, Default)]
pub(super) struct Unread {
    answers: Mutex<Vec<Weak<Answer>>>,
    some: Notify,
}

/// How an answer ends that is dropped before its end: never so that it could be taken for whole.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// With a status in gRPC's trailers.
    Trailers,
    /// As a stream that was reset, where nothing comes after a body.
    Reset,
}

/// Takes the share of an answer that may become so long.
///
/// # Errors
///
/// RESOURCE_EXHAUSTED: too much lies unread for too long.
pub(super) async fn share(account: Option<Arc<Account>>, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Status> {
    let Some(account) = account else { return Ok(None) };
    let bytes = u32::try_from(bytes.min(UNREAD_ANSWERS_BYTES)).unwrap_or(u32::MAX);
    match timeout(UNREAD_ANSWERS_WAIT, Arc::clone(account.answers()).acquire_many_owned(bytes)).await {
        Ok(Ok(share)) => Ok(Some(share)),
        // Nobody closes it.
        Ok(Err(_)) | Err(_) => Err(full()),
    }
}

fn full() -> Status {
    metrics::limited(Limit::UnreadAnswers);
    status::caller_limit(Limit::UnreadAnswers, UNREAD_ANSWERS_BYTES as u64, None)
}

impl Unread {
    /// Looks after an answer until it is read.
    pub(super) fn watched(&self, body: Body, share: Option<OwnedSemaphorePermit>, cut: Cut) -> Body {
        let now = Instant::now();
        let state = State { inner: Some(body), rest: Bytes::new(), share, cut, began: now, moved: now };
        let answer = Arc::new(Answer(Mutex::new(state)));
        let mut answers = self.answers();
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&answer));
        self.some.notify_one();
        Body::new(Reading(answer))
    }

    /// Drops answers that are not read. It never returns.
    pub(super) async fn watch(&self) {
        loop {
            if self.is_empty() {
                self.some.notified().await;
            }
            sleep(UNREAD_ANSWERS_LOOK).await;
            self.look();
        }
    }

    fn look(&self) {
        self.answers().retain(|answer| answer.upgrade().is_some_and(|answer| !answer.is_dropped_at(Instant::now())));
    }

    fn is_empty(&self) -> bool {
        self.answers().is_empty()
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Weak<Answer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Answer(Mutex<State>);

#[derive(Debug)]
struct State {
    /// None once it is dropped.
    inner: Option<Body>,
    /// What it gave and was not handed on yet.
    rest: Bytes,
    share: Option<OwnedSemaphorePermit>,
    cut: Cut,
    began: Instant,
    /// When some of it was taken last.
    moved: Instant,
}

impl Answer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what nobody has taken for too long.
    fn is_dropped_at(&self, now: Instant) -> bool {
        let mut state = self.state();
        let is_late = now - state.moved >= UNREAD_ANSWER_TIME || now - state.began >= ANSWER_TIME;
        if is_late && state.inner.is_some() {
            metrics::limited(Limit::UnreadAnswers);
            (state.inner, state.rest, state.share) = (None, Bytes::new(), None);
        }
        is_late
    }
}

/// What HTTP/2 reads an answer by: in small parts, since it holds each that it was handed.
struct Reading(Arc<Answer>);

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = self.0.state();
        state.moved = Instant::now();
        if state.rest.is_empty() {
            let Some(inner) = &mut state.inner else {
                let end = status::caller_limit(Limit::UnreadAnswers, UNREAD_ANSWERS_BYTES as u64, None);
                return Poll::Ready(Some(match state.cut {
                    Cut::Trailers => Ok(Frame::trailers(grpc::trailers(Err(end)))),
                    Cut::Reset => Err(end),
                }));
            };
            let frame = ready!(Pin::new(inner).poll_frame(context));
            let data = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            // It is known now how long it is.
            if let Some(share) = &mut state.share {
                drop(share.split(share.num_permits().saturating_sub(data.len())));
            }
            state.rest = data;
        }
        Poll::Ready(Some(Ok(Frame::data(parts::next(&mut state.rest)))))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state();
        state.rest.is_empty() && state.inner.as_ref().is_some_and(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests;

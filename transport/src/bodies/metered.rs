//! A body that a [`Meter`] looks after.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Status;

use super::Meter;

type Error = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// Fails with a status where the body is not as it must be, after what came before it on a stream. What is read of
    /// a message before it has its share is kept until then.
    pub(crate) struct Metered<B> {
        #[pin]
        inner: B,
        meter: Meter,
        // What comes after the whole messages that were handed out.
        kept: Option<Result<Frame<Bytes>, Error>>,
        // Why it failed, for whoever answers: what reads a stream may take a failure for its end.
        fault: Arc<OnceLock<Status>>,
        // Since when a part of a message is with the reader.
        given: Option<Instant>,
        is_over: bool,
    }
}

impl<B> Metered<B> {
    pub(crate) fn new(inner: B, meter: Meter) -> Self {
        Self { inner, meter, kept: None, fault: Arc::default(), given: None, is_over: false }
    }

    /// Where its fault will be, once it has failed.
    pub(crate) fn fault(&self) -> Arc<OnceLock<Status>> {
        Arc::clone(&self.fault)
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        if let Some(since) = this.given.take() {
            this.meter.excuse(since);
        }
        let next = loop {
            if let Err(status) = ready!(this.meter.poll_ready(context)) {
                break Err(found(this.fault, status));
            }
            if let Some(kept) = this.kept.take() {
                break kept.map(Some);
            }
            let frame = match this.inner.as_mut().poll_frame(context) {
                Poll::Pending => break Err(found(this.fault, ready!(this.meter.poll_slow(context)))),
                Poll::Ready(Some(Err(error))) => break Err(error.into()),
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(None) => None,
            };
            let data = frame.as_ref().and_then(Frame::data_ref);
            let taken = match data {
                Some(data) => this.meter.take(data),
                None => this.meter.end(),
            };
            // Of one message nothing is handed out before all of it is looked at.
            let whole = data.and_then(|data| this.meter.whole_of(data));
            match (taken, whole, data) {
                (Ok(()), Some((whole, rest)), _) if this.meter.is_asking() => {
                    *this.kept = Some(Ok(Frame::data(rest)));
                    break Ok(Some(Frame::data(whole)));
                }
                (Ok(()), None, Some(data)) if this.meter.is_asking() => {
                    *this.kept = Some(Ok(Frame::data(data.clone())))
                }
                (Ok(()), ..) => break Ok(frame),
                (Err(status), Some((whole, _)), _) => {
                    *this.kept = Some(Err(found(this.fault, status)));
                    break Ok(Some(Frame::data(whole)));
                }
                (Err(status), None, _) => break Err(found(this.fault, status)),
            }
        };
        if matches!(next, Ok(None)) {
            this.meter.has_come();
        }
        *this.is_over = !matches!(&next, Ok(Some(frame)) if frame.is_data());
        *this.given = this.meter.has_share().then(Instant::now);
        Poll::Ready(next.transpose())
    }

    // Not known before it was looked at: an empty body is an error.
    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn found(fault: &OnceLock<Status>, status: Status) -> Error {
    // The first is the one that counts.
    let _ = fault.set(status.clone());
    status.into()
}

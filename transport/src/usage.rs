//! What a call takes of its caller's quotas. A caller is the subject that it signed in as, or else its address;
//! connections and streams are counted by address in any case.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidings_auth::{Account, Held, HeldPattern, Rated};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::{CallContext, Shape};

impl CallContext {
    /// What is counted for whoever calls; `None` for calls that came through no connection.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.caller().account().or_else(|| self.address())
    }

    /// Takes an amount of what is limited by time. The amount is asked for only where there is a limit.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED, CALLER_LIMIT; so with the others.
    pub fn take(&self, rated: Rated, amount: impl FnOnce() -> u64) -> Result<(), Status> {
        match self.account() {
            Some(account) if account.is_rated(rated) => Ok(account.take(rated, amount())?),
            _ => Ok(()),
        }
    }

    /// Counts a pattern that is followed for as long as what is returned lives.
    pub fn follow(&self, pattern: &str) -> Result<Option<HeldPattern>, Status> {
        Ok(self.account().map(|account| account.follow(pattern)).transpose()?)
    }

    /// Counts channels that a pattern stream follows for as long as what is returned lives.
    pub fn positions(&self, channels: usize) -> Result<Option<Held>, Status> {
        Ok(self.account().map(|account| account.positions(channels)).transpose()?)
    }

    /// Counts the call for as long as what is returned lives; `None` where nothing is counted.
    pub(super) fn begin(&self, shape: Shape) -> Result<Option<Box<Open>>, Status> {
        let Some(account) = self.account() else { return Ok(None) };
        let is_stream = shape != Shape::Unary;
        let is_paced = account.is_rated(Rated::BytesOut);
        if !is_stream && !is_paced {
            return Ok(None);
        }
        account.is_settled(Rated::BytesOut)?;
        let mut streams = [None, None];
        if is_stream {
            let accounts = [self.caller().account(), self.address()];
            for (held, account) in streams.iter_mut().zip(accounts) {
                *held = account.map(Account::open_stream).transpose()?;
            }
        }
        Ok(Some(Box::new(Open { _streams: streams, paced: is_paced.then(|| Arc::clone(account)) })))
    }
}

/// A call that is counted.
#[derive(Debug)]
pub(super) struct Open {
    _streams: [Option<Held>; 2],
    paced: Option<Arc<Account>>,
}

impl Open {
    /// Whether its answer waits where more was sent than may be.
    pub(super) fn is_paced(&self) -> bool {
        self.paced.is_some()
    }

    /// Counts it until its answer has ended.
    pub(super) fn until_end_of(self: Box<Self>, body: Body) -> Body {
        Body::new(Counted { inner: body, open: self, pause: None })
    }
}

/// An answer that is counted, and waits where more was sent than may be.
struct Counted {
    inner: Body,
    open: Box<Open>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let (Some(account), Some(Ok(frame))) = (&self.open.paced, &frame)
            && let Some(data) = frame.data_ref()
        {
            let wait = account.charge(Rated::BytesOut, data.len() as u64);
            self.pause = wait.map(|wait| Box::pin(sleep(wait)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

//! When a dispatcher publishes dead letters: beside all else, so that a channel that takes none delays nobody.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tidings::{
    backoff::Backoff,
    broker::Error,
    limits::{OUTBOX_BACKOFF_MAX, OUTBOX_BACKOFF_MIN},
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::post::Post;

pub(super) struct Sending {
    post: Arc<Post>,
    /// There may be something in the outbox.
    is_wanted: bool,
    /// A round that is under way. It ends with the dispatcher: what it has not sent stays in the outbox.
    round: Option<AbortOnDropHandle<Result<usize, Error>>>,
    /// The last round failed: until then none is begun.
    away_until: Option<Instant>,
    backoff: Backoff,
}

impl Sending {
    pub(super) fn new(post: Post) -> Self {
        let backoff = Backoff::new(OUTBOX_BACKOFF_MIN, OUTBOX_BACKOFF_MAX);
        Self { post: Arc::new(post), is_wanted: false, round: None, away_until: None, backoff }
    }

    /// There may be something to publish.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether it gets on with something. Where the channel takes nothing it does not: then others may try later.
    pub(super) fn is_busy(&self) -> bool {
        self.round.is_some() || self.is_wanted && self.away_until.is_none()
    }

    /// When the next round is to be begun.
    pub(super) fn next_time(&self) -> Option<Instant> {
        (self.is_wanted && self.round.is_none()).then(|| self.away_until.unwrap_or_else(Instant::now))
    }

    /// Begins a round where it is time for one; `now_ms` is the broker's clock.
    pub(super) fn begin(&mut self, now_ms: i64) {
        if self.next_time().is_none_or(|time| time > Instant::now()) {
            return;
        }
        self.is_wanted = false;
        let post = Arc::clone(&self.post);
        self.round = Some(AbortOnDropHandle::new(tokio::spawn(async move { post.round(now_ms).await })));
    }

    /// Ready when the round that is under way has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(round) = &mut self.round else { return Poll::Pending };
        let Poll::Ready(ended) = Pin::new(round).poll(cx) else { return Poll::Pending };
        self.round = None;
        match ended.unwrap_or_else(|_| Err(Error::Internal("it ended in the middle".to_owned()))) {
            Ok(sent) => {
                self.is_wanted |= sent > 0;
                self.away_until = None;
                self.backoff.reset();
            }
            Err(error) => self.failed(&error),
        }
        Poll::Ready(())
    }

    fn failed(&mut self, error: &Error) {
        let (subscription, channel) = (self.post.place().name.as_str(), self.post.channel().as_str());
        if self.backoff.is_new() {
            tracing::warn!(subscription, channel, %error, "dead letters could not be published; they wait");
        } else {
            tracing::debug!(subscription, channel, %error, "dead letters could still not be published");
        }
        self.is_wanted = true;
        self.away_until = Some(Instant::now() + self.backoff.jittered());
    }
}

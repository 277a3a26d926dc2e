//! Keys that a server publishes. It is asked regularly, and when a token names a key that is not known; how often does
//! not depend on who calls with what: at most once in [`JWKS_PAUSE`], and one at a time.
//!
//! Nothing is remembered of a key that the server does not know: the next answer may have it. While it does not answer,
//! what it said last stays in force for [`JWKS_OUTAGE`], and then there are no keys, which is not ready and never open.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidings::{
    backoff::Backoff,
    limits::{JWKS_FIRST_PAUSE, JWKS_INTERVAL, JWKS_OUTAGE, JWKS_PAUSE, JWKS_TIMEOUT},
    metrics,
    printable::chain,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::keys::{InvalidKeys, Keys};

/// Gets a key set from a server.
pub trait FetchKeys: fmt::Debug + Send + Sync {
    /// Where from, for people.
    fn url(&self) -> String;

    /// One attempt: the body of the answer, at most [`AUTH_FILE_BYTES`](tidings::limits::AUTH_FILE_BYTES) of it. How
    /// long it may take is not its business.
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + '_>>;
}

/// Why there is no answer.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// Why an answer has no keys.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it does not answer within {} s", JWKS_TIMEOUT.as_secs())]
    TimedOut,
    #[error("it can't be asked")]
    Fetch(#[source] FetchError),
    #[error("it answers with what can't be used")]
    Keys(#[source] InvalidKeys),
}

/// A server that is asked.
#[derive(Debug)]
pub(crate) struct KeyServer {
    fetch: Arc<dyn FetchKeys>,
    state: Mutex<State>,
    /// Somebody waits for an answer.
    wanted: Notify,
    /// Counts attempts that are over.
    attempts: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// The bytes of the keys in force, to see whether they have changed.
    last: Option<blake3::Hash>,
    /// When an answer had keys last.
    good: Option<Instant>,
    /// When the last attempt began; `None` before the first.
    began: Option<Instant>,
    is_under_way: bool,
    /// How long to wait behind a failure while there are no keys.
    pause: Duration,
    backoff: Backoff,
    /// Whether the last attempt failed.
    is_away: bool,
}

/// What an attempt came to.
pub(crate) enum Fetched {
    /// These are in force now.
    New(Keys),
    /// The previous ones stay in force.
    Same,
    /// There are none any more, or none yet.
    Nothing(String),
}

impl KeyServer {
    pub(crate) fn new(fetch: Arc<dyn FetchKeys>) -> Self {
        let state = State {
            last: None,
            good: None,
            began: None,
            is_under_way: false,
            pause: JWKS_FIRST_PAUSE,
            backoff: Backoff::new(JWKS_FIRST_PAUSE, JWKS_PAUSE),
            is_away: false,
        };
        Self { fetch, state: Mutex::new(state), wanted: Notify::new(), attempts: watch::Sender::new(0) }
    }

    pub(crate) fn url(&self) -> String {
        self.fetch.url()
    }

    /// Has the server asked for a key that nobody knows. Ready once an answer is there, or the attempt failed; `None`
    /// where it was asked a moment ago.
    pub(crate) fn ask(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        // Before the attempt can be over.
        let mut attempts = self.attempts.subscribe();
        let mut state = self.state();
        if !state.is_under_way {
            if state.began.is_some_and(|began| began.elapsed() < JWKS_PAUSE) {
                return None;
            }
            state.begin();
            self.wanted.notify_one();
        }
        Some(async move {
            // Its end without an answer is that of the server.
            let _ = timeout(2 * JWKS_TIMEOUT, attempts.changed()).await;
        })
    }

    /// Asks again and again, until the token is cancelled; `note` puts what comes of it in force.
    pub(crate) async fn keep_current(&self, shutdown: CancellationToken, note: impl Fn(Fetched)) {
        loop {
            let next = self.state().next();
            let asked = async {
                tokio::select! {
                    () = sleep_until(next) => self.state().begin_if_due(),
                    () = self.wanted.notified() => true,
                }
            };
            match shutdown.run_until_cancelled(asked).await {
                None => return,
                Some(false) => continue,
                Some(true) => {}
            }
            let Some(answer) = shutdown.run_until_cancelled(timeout(JWKS_TIMEOUT, self.fetch.fetch())).await else {
                return;
            };
            let answer = answer.map_err(|_| Failed::TimedOut).and_then(|answer| answer.map_err(Failed::Fetch));
            note(self.take(answer));
            self.attempts.send_modify(|attempts| *attempts += 1);
        }
    }

    /// Takes an answer up.
    fn take(&self, answer: Result<Vec<u8>, Failed>) -> Fetched {
        let keys = answer.and_then(|bytes| {
            let keys = Keys::jwks(&bytes).map_err(Failed::Keys)?;
            Ok((blake3::hash(&bytes), keys))
        });
        metrics::keys_fetched(keys.is_ok());
        let mut state = self.state();
        state.is_under_way = false;
        match keys {
            Ok((hash, keys)) => {
                state.good = Some(Instant::now());
                if std::mem::take(&mut state.is_away) {
                    tracing::info!(url = self.url(), "the key server answers again");
                }
                if state.last.replace(hash) == Some(hash) { Fetched::Same } else { Fetched::New(keys) }
            }
            Err(failed) => {
                let error = chain(&failed);
                let has_keys = state.good.is_some_and(|good| good.elapsed() < JWKS_OUTAGE);
                let had_keys = state.last.is_some();
                if !has_keys {
                    (state.last, state.good) = (None, None);
                    if had_keys {
                        state.backoff.reset();
                        state.pause = state.backoff.pause();
                    }
                }
                let is_news = !std::mem::replace(&mut state.is_away, true);
                match (has_keys, had_keys) {
                    (true, _) if is_news => {
                        tracing::warn!(
                            url = self.url(),
                            error,
                            "the key server has no keys for us; the previous ones stay in force for a day"
                        );
                    }
                    (false, true) => {
                        tracing::error!(
                            url = self.url(),
                            error,
                            "the key server has had no keys for us for a day; tokens can't be checked any more"
                        );
                    }
                    (false, false) if is_news => {
                        tracing::warn!(
                            url = self.url(),
                            error,
                            "the key server sent no keys; tokens can't be checked until it does"
                        );
                    }
                    _ => {}
                }
                match has_keys {
                    true => Fetched::Same,
                    false => Fetched::Nothing(format!("no keys to check tokens with: {}: {error}", self.url())),
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self) {
        self.is_under_way = true;
        self.began = Some(Instant::now());
    }

    /// When the next attempt is due, if nobody asks for one before.
    fn next(&self) -> Instant {
        let Some(began) = self.began else { return Instant::now() };
        if self.is_under_way {
            return Instant::now() + JWKS_PAUSE;
        }
        match (self.good, self.is_away) {
            (Some(_), false) => began + JWKS_INTERVAL,
            (Some(_), true) => began + JWKS_PAUSE,
            (None, _) => began + self.pause,
        }
    }

    fn begin_if_due(&mut self) -> bool {
        // Both services of one process ask for the same keys.
        // Before the first attempt that is now, which must not come after the other now.
        let next = self.next();
        let is_due = !self.is_under_way && Instant::now() >= next;
        if is_due {
            if self.good.is_none() {
                self.pause = self.backoff.pause();
            }
            self.begin();
        }
        is_due
    }
}

#[cfg(test)]
mod tests;

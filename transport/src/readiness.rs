//! Whether calls can be served now: the broker must be up, and there must be keys to check tokens with. Health and
//! `/readyz` both ask here, so that there is no second truth.

use tidings::broker::State;
use tokio::sync::watch;

/// Whether calls can be served, as it changes.
#[derive(Debug, Clone)]
pub struct Readiness {
    broker: watch::Receiver<State>,
    /// Why tokens can't be checked; `None` where that can't happen.
    lack_of_keys: Option<watch::Receiver<Option<String>>>,
}

impl Readiness {
    /// That of a server on this broker, which authenticates so.
    pub fn new(broker: watch::Receiver<State>, auth: Option<&super::Auth>) -> Self {
        Self { broker, lack_of_keys: auth.and_then(|auth| auth.authenticator.lack_of_keys()) }
    }

    /// Whether they can.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn now(&self) -> Result<(), String> {
        if let State::Down(reason) = &*self.broker.borrow() {
            return Err(reason.clone());
        }
        match self.lack_of_keys.as_ref().map(|lack| lack.borrow().clone()) {
            Some(Some(lack)) => Err(lack),
            _ => Ok(()),
        }
    }

    /// Waits until it may have changed since the last [`seen`](Self::seen). It never ends once what it follows is gone.
    pub(super) async fn changed(&mut self) {
        let keys = async {
            let changed = match &mut self.lack_of_keys {
                Some(lack) => lack.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending().await
            }
        };
        let broker = async {
            if self.broker.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = keys => {}
            () = broker => {}
        }
    }

    /// A change from here on wakes [`changed`](Self::changed).
    pub(super) fn seen(&mut self) {
        self.broker.borrow_and_update();
        if let Some(lack) = &mut self.lack_of_keys {
            lack.borrow_and_update();
        }
    }
}

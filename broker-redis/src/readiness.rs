//! Whether Redis works the whole way, and not only its command connection: a live session may be up in TCP and deliver
//! nothing, or be subscribed to a server that was demoted.
//!
//! One task holds the command connection's state against the time of the last probe that came through. It knows nothing
//! of how a probe travels: the receiver of one notes the time.

use std::time::Duration;

use tidings::broker::State;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// When a probe last came through; `None` = never.
pub(super) type Probed = Option<Instant>;

/// The whole state, for callers that ask.
pub(super) struct Readiness {
    state: watch::Sender<State>,
    probed: watch::Receiver<Probed>,
    /// Probes go through a live connection. Who only publishes has none.
    is_live: bool,
}

impl Readiness {
    /// Judged by probes that come through live connections.
    pub(super) fn of_live(probed: watch::Receiver<Probed>) -> Self {
        Self { state: watch::Sender::new(unproven()), probed, is_live: true }
    }

    /// Judged by the checks of the command connection.
    pub(super) fn of_commands(checked: watch::Receiver<Probed>) -> Self {
        Self { state: watch::Sender::new(unproven()), probed: checked, is_live: false }
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn probe_age(&self) -> Option<Duration> {
        self.probed.borrow().map(|probed| probed.elapsed())
    }

    /// Judges until the token is cancelled. A probe may be as old as `max_silence`.
    pub(super) async fn keep(
        &self,
        mut command: watch::Receiver<State>,
        max_silence: Duration,
        closing: CancellationToken,
    ) {
        let mut probed = self.probed.clone();
        // Since when commands are answered: nothing can be expected of an outage but that no probe came.
        let mut up_since = Instant::now();
        let (mut was_up, mut is_reported) = (true, false);
        loop {
            let last = *probed.borrow_and_update();
            let commands = command.borrow_and_update().clone();
            let (is_up, now) = (commands == State::Up, Instant::now());
            if is_up && !std::mem::replace(&mut was_up, is_up) {
                up_since = now;
            }
            was_up = is_up;
            let is_old = last.is_none_or(|last| now >= last + max_silence);
            let expected = last.map_or(up_since, |last| last.max(up_since)) + max_silence;
            let overdue = is_old && now >= expected;
            if is_up && overdue != is_reported && (overdue || !is_old) {
                is_reported = overdue;
                report(self.is_live, overdue, max_silence);
            }
            let state = match commands {
                State::Up if overdue => State::Down(silent(self.is_live, max_silence)),
                State::Up if is_old => unproven(),
                commands => commands,
            };
            self.state.send_if_modified(|old| std::mem::replace(old, state.clone()) != state);
            // When it becomes old, or overdue.
            let next = if is_old { expected } else { last.map_or(expected, |last| last + max_silence) };
            tokio::select! {
                () = closing.cancelled() => break,
                Ok(()) = command.changed() => {}
                Ok(()) = probed.changed() => {}
                () = sleep_until(next), if !overdue => {}
                else => break,
            }
        }
        self.state.send_replace(State::Down("the connection to Redis was closed".to_owned()));
    }
}

fn unproven() -> State {
    State::Down("no probe has come back from Redis yet, or not since it is back".to_owned())
}

fn silent(is_live: bool, max_silence: Duration) -> String {
    match is_live {
        true => format!("no probe has come through the live connection for {max_silence:?}"),
        false => format!("Redis has answered no check for {max_silence:?}"),
    }
}

/// Once when it begins and once when it is over.
fn report(is_live: bool, overdue: bool, max_silence: Duration) {
    if !is_live {
        // The connection's own task has logged the reason.
    } else if overdue {
        tracing::warn!(?max_silence, "the live connection to Redis delivers nothing, though Redis answers commands");
    } else {
        tracing::info!("the live connection to Redis delivers again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MAX_SILENCE: Duration = Duration::from_secs(8);

    struct Set {
        command: watch::Sender<State>,
        probed: watch::Sender<Probed>,
        readiness: Arc<Readiness>,
        closing: CancellationToken,
    }

    fn set() -> Set {
        let (command, closing) = (watch::Sender::new(State::Up), CancellationToken::new());
        let probed = watch::Sender::new(None);
        let readiness = Arc::new(Readiness::of_live(probed.subscribe()));
        let (kept, following, token) = (Arc::clone(&readiness), command.subscribe(), closing.clone());
        tokio::spawn(async move { kept.keep(following, MAX_SILENCE, token).await });
        Set { command, probed, readiness, closing }
    }

    impl Set {
        async fn is_up(&self) -> bool {
            // With time paused this returns when every task waits.
            tokio::time::sleep(Duration::from_millis(1)).await;
            *self.readiness.state().borrow() == State::Up
        }

        fn reason(&self) -> String {
            match &*self.readiness.state().borrow() {
                State::Up => "up".to_owned(),
                State::Down(reason) => reason.clone(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_is_needed_now_and_then() {
        let set = set();
        assert!(!set.is_up().await);
        assert!(set.reason().contains("yet"), "{}", set.reason());
        set.probed.send_replace(Some(Instant::now()));
        assert!(set.is_up().await);
        tokio::time::sleep(MAX_SILENCE - Duration::from_secs(1)).await;
        assert!(set.is_up().await);
        assert_eq!(set.readiness.probe_age().expect("one came").as_secs(), 7);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!set.is_up().await);
        assert!(set.reason().contains("live connection for 8s"), "{}", set.reason());
        set.probed.send_replace(Some(Instant::now()));
        assert!(set.is_up().await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_comes_is_missed_in_the_end() {
        let set = set();
        tokio::time::sleep(MAX_SILENCE + Duration::from_secs(1)).await;
        assert!(!set.is_up().await);
        assert!(set.reason().contains("live connection for 8s"), "{}", set.reason());
        assert_eq!(set.readiness.probe_age(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_command_connection_says_comes_first() {
        let set = set();
        set.probed.send_replace(Some(Instant::now()));
        assert!(set.is_up().await);
        set.command.send_replace(State::Down("away".to_owned()));
        assert!(!set.is_up().await);
        tokio::time::sleep(MAX_SILENCE * 2).await;
        assert_eq!(set.reason(), "away");
        set.command.send_replace(State::Up);
        assert!(!set.is_up().await, "the last probe is old");
        assert!(
            set.reason().contains("since it is back"),
            "nothing is wrong with the live connection: {}",
            set.reason()
        );
        tokio::time::sleep(MAX_SILENCE - Duration::from_secs(1)).await;
        assert!(set.reason().contains("since it is back"), "{}", set.reason());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(set.reason().contains("live connection for 8s"), "{}", set.reason());
        set.probed.send_replace(Some(Instant::now()));
        assert!(set.is_up().await);
        set.closing.cancel();
        assert!(!set.is_up().await);
        assert!(set.reason().contains("closed"), "{}", set.reason());
    }
}

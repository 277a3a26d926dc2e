//! An attempt to connect, step by step. It has a limit below what a call may wait for Redis, and when that is used up
//! the error names the step that took the time.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

/// The steps of one attempt, in their order.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    begun: Mutex<Vec<(String, Instant)>>,
    aim: OnceLock<String>,
}

impl Steps {
    /// The next step begins. It is named so that "… took too long" can follow.
    pub(crate) fn begin(&self, step: String) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push((step, Instant::now()));
    }

    /// Where the attempt leads to, in a sentence that errors end with; where somebody else has said it.
    pub(crate) fn aim(&self, aim: String) {
        // The first one: where the primary is replaced within an attempt, what the attempt made ends at once.
        let _ = self.aim.set(aim);
    }

    /// Makes an attempt within a limit.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        attempt: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let ended = timeout(limit, attempt).await.unwrap_or_else(|_| {
            Err(format!("{} took too long: an attempt to connect may take {limit:?}", self.longest()))
        });
        ended.map_err(|reason| match self.aim.get() {
            Some(aim) => format!("{reason} ({aim})"),
            None => reason,
        })
    }

    /// The step that took the most time until now.
    fn longest(&self) -> String {
        let steps = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = steps.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
        let longest = steps.iter().zip(ends).max_by_key(|((_, began), ended)| ended.duration_since(*began));
        longest.map_or_else(|| "the first step".to_owned(), |((step, _), _)| step.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_step_that_took_the_time_is_named_and_not_the_one_that_was_cut() {
        let (steps, ms) = (Steps::default(), Duration::from_millis);
        let attempt = async {
            steps.begin("resolving the name redis.test".to_owned());
            sleep(ms(700)).await;
            steps.begin("connecting to 127.0.0.1:1".to_owned());
            sleep(ms(100)).await;
            steps.begin("the TLS handshake with 127.0.0.1:1".to_owned());
            sleep(ms(5_000)).await;
            Ok(())
        };
        let error = steps.within(ms(1_000), attempt).await.expect_err("too long");
        assert_eq!(error, "resolving the name redis.test took too long: an attempt to connect may take 1s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_in_time_is_left_alone() {
        let steps = Steps::default();
        assert_eq!(steps.within(Duration::from_secs(1), async { Ok(7) }).await, Ok(7));
        let refused: Result<(), _> =
            steps.within(Duration::from_secs(1), async { Err("it refuses connections".to_owned()) }).await;
        assert_eq!(refused, Err("it refuses connections".to_owned()));
        steps.aim("the sentinels say so".to_owned());
        let refused: Result<(), _> = steps.within(Duration::from_secs(1), async { Err("it is away".to_owned()) }).await;
        assert_eq!(refused, Err("it is away (the sentinels say so)".to_owned()));
    }
}

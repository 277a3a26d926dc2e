//! Questions to the logs: what is at the positions that pushes claim which come at or below what was received.
//!
//! Each is about one channel of one topic, whose pushes wait for the answer. They wait in a queue, so that Redis is
//! asked for some at a time, and are asked again while Redis is away.

use std::collections::VecDeque;

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tidings::{
    backoff::jittered,
    broker::{Error, Shared, Topic},
    limits::{BACKOFF_MAX, COMPARED_CHANNELS},
};
use tokio::time::sleep;

use crate::hub::intake::{Looked, Question};

/// The questions of a hub.
pub(super) struct Doubts {
    broker: Shared,
    waiting: VecDeque<(Topic, Question)>,
    asked: FuturesUnordered<BoxFuture<'static, (Topic, Question, Looked)>>,
}

impl Doubts {
    pub(super) fn new(broker: Shared) -> Self {
        Self { broker, waiting: VecDeque::new(), asked: FuturesUnordered::new() }
    }

    pub(super) fn add(&mut self, topic: Topic, question: Question) {
        self.waiting.push_back((topic, question));
        self.advance();
    }

    fn advance(&mut self) {
        while self.asked.len() < COMPARED_CHANNELS
            && let Some((topic, question)) = self.waiting.pop_front()
        {
            let broker = self.broker.clone();
            self.asked.push(Box::pin(async move {
                let looked = look(&broker, &question).await;
                (topic, question, looked)
            }));
        }
    }

    /// The next answer. Never, where nothing was asked.
    pub(super) async fn next(&mut self) -> (Topic, Question, Looked) {
        let Some(answer) = self.asked.next().await else { return std::future::pending().await };
        self.advance();
        answer
    }
}

async fn look(broker: &Shared, question: &Question) -> Looked {
    loop {
        match Looked::ask(&**broker, question).await {
            Ok(looked) => return looked,
            Err(Error::Unavailable(_) | Error::OutcomeUnknown(_)) => {
                sleep(jittered(BACKOFF_MAX)).await;
            }
            Err(error) => {
                tracing::warn!(
                    channel = question.channel.as_str(),
                    %error,
                    "a channel's log can't be read, and pushes that claim a position in it are not delivered"
                );
                return Looked::unreadable(question);
            }
        }
    }
}

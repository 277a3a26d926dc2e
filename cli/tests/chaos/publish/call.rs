//! The three methods to publish, each as one call that is noted with its answers.

use tidings::pb::{PublishBatchRequest, PublishStreamRequest, publish_stream_response::Result as Answer};
use tokio::time::timeout;
use tonic::Status;

use super::{Client, Message, TEST_TIMEOUT, answer, request};
use crate::{
    board::NOBODY,
    history::{At, Outcome},
};

/// Messages of a batch and of a stream, at most.
const BATCH: usize = 8;
const STREAM: usize = 40;

/// One call.
pub(super) struct Call {
    pub(super) number: usize,
    pub(super) began: At,
    /// The service that answers, unless it was replaced meanwhile.
    pub(super) instance: usize,
    slot: usize,
}

impl Client {
    fn call(&mut self) -> Call {
        let slot = self.rng.usize(..self.stubs.len());
        let instance = self.board.publishers[slot].instance();
        Call { number: self.board.call(), began: self.board.now(), instance, slot }
    }

    /// Whether the call may have had a connection to a service that is gone.
    fn is_over(&self, call: &mut Call) -> bool {
        let slots = self.stubs.len();
        let slot = &self.board.publishers[call.slot];
        if slot.instance() != call.instance {
            call.instance = NOBODY;
        }
        slot.was_restarted(slots)
    }

    pub(super) async fn unary(&mut self, message: &Message) -> Outcome {
        let mut call = self.call();
        let answered = timeout(TEST_TIMEOUT, self.stubs[call.slot].publish(request(message))).await;
        let cut = self.is_over(&mut call);
        let outcome = match answered {
            Err(_) => Outcome::Odd("nothing".to_owned()),
            Ok(Ok(response)) => answer::receipt(message, &response.into_inner()),
            Ok(Err(status)) => answer::status(&status, cut),
        };
        self.note(message, &call, self.board.now(), outcome.clone());
        outcome
    }

    pub(super) async fn batch(&mut self, channel: &str) {
        let messages = self.messages(channel, BATCH);
        let requests = messages.iter().map(request).collect();
        let asked = PublishBatchRequest { channel: channel.to_owned(), requests };
        let mut call = self.call();
        let answered = timeout(TEST_TIMEOUT, self.stubs[call.slot].publish_batch(asked)).await;
        let cut = self.is_over(&mut call);
        let outcomes: Vec<Outcome> = match answered {
            Err(_) => vec![Outcome::Odd("nothing".to_owned()); messages.len()],
            Ok(Err(status)) => vec![answer::status(&status, cut); messages.len()],
            Ok(Ok(response)) => {
                let responses = response.into_inner().responses;
                messages.iter().zip(&responses).map(|(message, response)| answer::receipt(message, response)).collect()
            }
        };
        if outcomes.len() < messages.len() {
            self.board.trouble(format!("a batch of {} has {} receipts", messages.len(), outcomes.len()));
        }
        let ended = self.board.now();
        for (message, outcome) in messages.iter().zip(&outcomes) {
            self.note(message, &call, ended, outcome.clone());
        }
        self.again(messages, outcomes).await;
    }

    /// Several channels on one call, with many under way.
    pub(super) async fn stream(&mut self) {
        let mut messages = Vec::new();
        while messages.len() < STREAM / 2 {
            let channel = self.board.some_channel(&mut self.rng);
            messages.extend(self.messages(&channel, STREAM / 4));
        }
        let requests: Vec<_> =
            messages.iter().map(|message| PublishStreamRequest { request: Some(request(message)) }).collect();
        let mut call = self.call();
        let opened = timeout(TEST_TIMEOUT, self.stubs[call.slot].publish_stream(tokio_stream::iter(requests))).await;
        let mut answers = match opened {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Some(status)),
            Err(_) => Err(None),
        };
        let mut outcomes = Vec::new();
        for message in &messages {
            let answer = match &mut answers {
                Ok(stream) => match timeout(TEST_TIMEOUT, stream.message()).await {
                    Err(_) => Err(None),
                    Ok(Ok(Some(answer))) => Ok(answer),
                    Ok(Ok(None)) => Err(Some(Status::internal("the stream of answers ended before its time"))),
                    Ok(Err(status)) => Err(Some(status)),
                },
                Err(status) => Err(status.clone()),
            };
            let cut = self.is_over(&mut call);
            let outcome = match answer.map(|answer| answer.result) {
                Ok(Some(Answer::Response(response))) => answer::receipt(message, &response),
                Ok(Some(Answer::Error(error))) => answer::error(&error),
                Ok(None) => Outcome::Odd("an empty answer".to_owned()),
                Err(None) => Outcome::Odd("nothing".to_owned()),
                Err(Some(status)) => {
                    // The call is over: the rest may have been published, whatever it says.
                    let outcome = answer::status(&status, cut);
                    answers = Err(Some(status));
                    if outcome == Outcome::Refused { Outcome::Unknown } else { outcome }
                }
            };
            // Every message is a call of its own here: only batches land together.
            call.number = self.board.call();
            self.note(message, &call, self.board.now(), outcome.clone());
            outcomes.push(outcome);
        }
        self.again(messages, outcomes).await;
    }
}

//! One `PublishStream` call: requests go in at one end, and their outcomes come out at the other, in the same order.
//!
//! So many requests are under way at most, and the wait for an answer is timed whenever one is owed, never otherwise:
//! input may take as long as it likes. This module knows no terminal.

use std::{future, ops::ControlFlow, pin::Pin, sync::Arc};

use prost::Message as _;
use tidings::{
    limits::COMMAND_QUEUE,
    pb::{
        PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
        publish_stream_response::Result as Answer,
    },
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use crate::{
    client::{Address, Calls, PublisherAddress},
    error::Error,
};

/// What became of one publish.
pub(crate) type Outcome = Result<PublishResponse, Status>;

/// Where requests go in. Dropped, it ends the call after the last of them.
pub(crate) struct Requests {
    queue: mpsc::Sender<PublishStreamRequest>,
    shared: Arc<Shared>,
}

/// Where outcomes come out.
pub(crate) struct Outcomes {
    state: State,
    address: Address,
    calls: Calls,
    shared: Arc<Shared>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<PublishStreamResponse>>, Status>> + Send>>;

enum State {
    Opening(Opening),
    Open(Box<Streaming<PublishStreamResponse>>),
}

struct Shared {
    in_flight: usize,
    /// A permit for each request that may still be sent.
    free: Semaphore,
    sent: Notify,
}

/// Begins a call with at most `in_flight` requests under way.
pub(crate) async fn open(
    publisher: &PublisherAddress,
    calls: Calls,
    in_flight: usize,
) -> Result<(Requests, Outcomes), Error> {
    let mut client = calls.of(&publisher.address, publisher.connect(&calls)).await?;
    let (queue, requests) = mpsc::channel(COMMAND_QUEUE);
    let shared = Arc::new(Shared { in_flight, free: Semaphore::new(in_flight), sent: Notify::new() });
    let opening = Box::pin(async move { client.publish_stream(ReceiverStream::new(requests)).await });
    let outcomes =
        Outcomes { state: State::Opening(opening), address: publisher.address.clone(), calls, shared: shared.clone() };
    Ok((Requests { queue, shared }, outcomes))
}

impl Requests {
    /// Sends one when there is room for it; answers whether the call still takes any.
    pub(crate) async fn send(&self, request: PublishRequest) -> bool {
        self.room().await && self.put(request).await
    }

    /// Waits for room for one more request, which must then be [`put`](Self::put).
    pub(crate) async fn room(&self) -> bool {
        match self.shared.free.acquire().await {
            // Given back by the request's outcome.
            Ok(permit) => permit.forget(),
            Err(_) => return false,
        }
        true
    }

    /// Sends one for which there is room.
    pub(crate) async fn put(&self, request: PublishRequest) -> bool {
        self.shared.sent.notify_one();
        self.queue.send(PublishStreamRequest { request: Some(request) }).await.is_ok()
    }
}

impl Outcomes {
    /// Runs `sending`, and hands each outcome to `note` with how many are still owed, until the call has
    /// ended. Where `note` breaks off, nothing more is sent, but what is under way is still answered. Answers what
    /// sending came to, if it came to its end, and how the call ended.
    pub(crate) async fn drive<S>(
        &mut self,
        sending: impl Future<Output = S>,
        mut note: impl FnMut(Outcome, usize) -> Result<ControlFlow<()>, Error>,
    ) -> (Option<S>, Result<(), Error>) {
        let mut sending = Some(Box::pin(sending));
        let mut sent = None;
        loop {
            let step = async {
                match &mut sending {
                    Some(sending) => sending.await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                done = step => {
                    sending = None;
                    sent = Some(done);
                }
                outcome = self.next() => {
                    let noted = match outcome {
                        Ok(Some(outcome)) => note(outcome, self.owed()),
                        Ok(None) => return (sent, Ok(())),
                        Err(error) => Err(error),
                    };
                    match noted {
                        Ok(ControlFlow::Continue(())) => {}
                        // With it go the requests' end of the call.
                        Ok(ControlFlow::Break(())) => sending = None,
                        Err(error) => return (sent, Err(error)),
                    }
                }
            }
        }
    }

    /// The outcome of the oldest request that has none yet; `None` when the call has ended after the last. An error is
    /// that of the whole call. Nothing is lost when the wait is given up.
    async fn next(&mut self) -> Result<Option<Outcome>, Error> {
        let (address, calls) = (self.address.clone(), self.calls.clone());
        let shared = self.shared.clone();
        let answer = self.answer();
        tokio::pin!(answer);
        loop {
            if shared.owed() > 0 {
                let answer = calls.of(&address, async { Ok(answer.await?) }).await?;
                return Ok(answer.map(outcome));
            }
            tokio::select! {
                answer = &mut answer => return Ok(answer?.map(outcome)),
                () = shared.sent.notified() => {}
            }
        }
    }

    /// Requests without an outcome.
    pub(crate) fn owed(&self) -> usize {
        self.shared.owed()
    }

    async fn answer(&mut self) -> Result<Option<Answer>, Status> {
        loop {
            match &mut self.state {
                State::Opening(opening) => self.state = State::Open(Box::new(opening.await?.into_inner())),
                State::Open(answers) => {
                    let Some(answer) = answers.message().await? else { return Ok(None) };
                    self.shared.free.add_permits(1);
                    return match answer.result {
                        Some(answer) => Ok(Some(answer)),
                        None => Err(Status::internal("the server sent an answer without a result")),
                    };
                }
            }
        }
    }
}

impl Shared {
    fn owed(&self) -> usize {
        self.in_flight.saturating_sub(self.free.available_permits())
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Response(receipt) => Ok(receipt),
        // Its fields have the numbers of google.rpc.Status, which is what a status has for its details.
        Answer::Error(error) => {
            Err(Status::with_details(Code::from(error.code), error.message.clone(), error.encode_to_vec().into()))
        }
    }
}

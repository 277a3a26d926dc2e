//! The streams of one consumer: the one that it settles on, those that only have answers to give, and the next one.

use std::{collections::HashMap, future, time::Duration};

use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tidings::pb::{
    ConsumeMessagesRequest, ConsumeMessagesResponse, Credit, Settlement, StartConsuming, Subscription,
    consume_messages_request::Request, consume_messages_response::Response,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamMap, wrappers::UnboundedReceiverStream};
use tonic::{Status, Streaming};

use crate::{client::SubscriptionClient, error::Error, output::note, retry::Retry};

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Another stream is open.
    Opened(Subscription),
    /// A stream says something.
    Response(Response),
    /// The stream with this number has ended.
    Ended(u64, Status),
}

type Responses = BoxStream<'static, Result<ConsumeMessagesResponse, Status>>;

/// An open stream.
struct Opened {
    requests: mpsc::UnboundedSender<ConsumeMessagesRequest>,
    responses: Responses,
    subscription: Subscription,
    credit: i32,
}

/// The streams.
pub(super) struct Link {
    client: SubscriptionClient,
    start: StartConsuming,
    timeout: Duration,
    responses: StreamMap<u64, Responses>,
    /// The number of the newest.
    number: u64,
    /// Where requests go in; `None` where that is over. What waits in it is bounded by what is out.
    requests: Option<mpsc::UnboundedSender<ConsumeMessagesRequest>>,
    /// The same of streams before it: what is out there goes to others when nothing more can come in.
    earlier: HashMap<u64, mpsc::UnboundedSender<ConsumeMessagesRequest>>,
    opening: Option<BoxFuture<'static, Result<Opened, Error>>>,
    /// The credit of the newest.
    credit: i32,
}

impl Link {
    /// Opens the first stream.
    pub(super) async fn open(
        mut client: SubscriptionClient,
        start: StartConsuming,
        timeout: Duration,
    ) -> Result<(Self, Subscription), Error> {
        let Opened { requests, responses, subscription, credit } = open(&mut client, start.clone()).await?;
        let mut link = Self {
            client,
            start,
            timeout,
            responses: StreamMap::new(),
            number: 0,
            requests: Some(requests),
            earlier: HashMap::new(),
            opening: None,
            credit,
        };
        link.responses.insert(0, responses);
        Ok((link, subscription))
    }

    /// Waits for what happens next. Nothing is lost where the wait is given up.
    pub(super) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let Self { responses, opening, .. } = self;
            let opened = async {
                match opening {
                    Some(opening) => opening.await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                opened = opened => {
                    self.opening = None;
                    return Ok(Event::Opened(self.take(opened?)));
                }
                response = next(responses), if !responses.is_empty() => {
                    let (number, response) = response;
                    match response {
                        Ok(ConsumeMessagesResponse { response }) => {
                            if let Some(response) = response {
                                return Ok(Event::Response(response));
                            }
                        }
                        Err(status) => return Ok(self.ended(number, status)),
                    }
                }
            }
        }
    }

    fn take(&mut self, opened: Opened) -> Subscription {
        let Opened { requests, responses, subscription, credit } = opened;
        if let Some(earlier) = self.requests.replace(requests) {
            self.earlier.insert(self.number, earlier);
        }
        self.number += 1;
        self.responses.insert(self.number, responses);
        self.credit = credit;
        subscription
    }

    fn ended(&mut self, number: u64, status: Status) -> Event {
        self.responses.remove(&number);
        self.earlier.remove(&number);
        if number == self.number {
            self.requests = None;
        }
        Event::Ended(number, status)
    }

    /// Opens another stream, after a loss or because the server wants it. The one that is there takes settlements until
    /// then.
    pub(super) fn reopen(&mut self, lost: Option<Status>) {
        if self.opening.is_none() {
            let (client, start) = (self.client.clone(), self.start.clone());
            self.opening = Some(Box::pin(reopen(client, start, self.timeout, lost)));
        }
    }

    /// The stream that takes settlements.
    pub(super) fn stream(&self) -> Option<u64> {
        self.requests.as_ref().map(|_| self.number)
    }

    /// Whether there is none, and none to come.
    pub(super) fn is_away(&self) -> bool {
        self.requests.is_none() && self.opening.is_none()
    }

    /// Sends what is to be settled.
    pub(super) fn settle(&self, settlement: Settlement) {
        self.send(Request::Settlement(settlement));
    }

    /// Sees to it that no more than so many messages are out.
    pub(super) fn limit(&mut self, messages: i32) {
        self.start.max_outstanding_messages = messages;
        if self.requests.is_some() && self.credit != messages {
            self.credit = messages;
            self.send(Request::Credit(Credit { max_outstanding_messages: messages, max_outstanding_bytes: 0 }));
        }
    }

    /// Says nothing more on the present stream, and wants nothing more but its answers.
    pub(super) fn finish(&mut self) {
        self.requests = None;
    }

    fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // A stream that has ended says so by itself, and all is sent again on the next.
            let _ = requests.send(ConsumeMessagesRequest { request: Some(request) });
        }
    }
}

async fn next(responses: &mut StreamMap<u64, Responses>) -> (u64, Result<ConsumeMessagesResponse, Status>) {
    match responses.next().await {
        Some(response) => response,
        None => future::pending().await,
    }
}

/// Opens a stream, and waits for its first response.
async fn open(client: &mut SubscriptionClient, start: StartConsuming) -> Result<Opened, Status> {
    let credit = start.max_outstanding_messages;
    let (requests, outgoing) = mpsc::unbounded_channel();
    // The other end is here.
    let _ = requests.send(ConsumeMessagesRequest { request: Some(Request::Start(start)) });
    let mut responses = client.consume_messages(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
    match responses.message().await? {
        Some(ConsumeMessagesResponse { response: Some(Response::Started(started)) }) => {
            let subscription = started.subscription.unwrap_or_default();
            Ok(Opened { requests, responses: until_its_end(responses), subscription, credit })
        }
        Some(_) => Err(Status::internal("the server did not begin as the contract says")),
        None => Err(ended()),
    }
}

/// A stream that has a status at its end in any case.
fn until_its_end(responses: Streaming<ConsumeMessagesResponse>) -> Responses {
    responses.chain(stream::once(future::ready(Err(ended())))).boxed()
}

fn ended() -> Status {
    Status::unavailable("the server ended the stream")
}

async fn reopen(
    mut client: SubscriptionClient,
    start: StartConsuming,
    timeout: Duration,
    lost: Option<Status>,
) -> Result<Opened, Error> {
    let say = |words: &str| note(words);
    let mut tried: Option<(Retry, Status)> = lost.map(|status| (Retry::begin(&status, say), status));
    let was_lost = tried.is_some();
    loop {
        if let Some((retry, status)) = &mut tried {
            retry.admit(status, say).await?;
            retry.pause(status).await;
        }
        let status = match tokio::time::timeout(timeout, open(&mut client, start.clone())).await {
            Ok(Ok(opened)) => {
                if was_lost || tried.is_some() {
                    say("resumed");
                }
                return Ok(opened);
            }
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable("the server does not answer"),
        };
        tried = match tried {
            Some((retry, _)) => Some((retry, status)),
            None => Some((Retry::begin(&status, say), status)),
        };
    }
}

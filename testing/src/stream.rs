//! A stream of messages, read event by event; no wait is for ever.

use std::{net::SocketAddr, time::Duration};

use tidings::pb::{
    Gap, Message, StreamMessagesRequest, StreamMessagesResponse, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Status, Streaming, transport::Channel};

use crate::{TEST_TIMEOUT, connect};

/// An open stream.
pub struct Stream(Streaming<StreamMessagesResponse>);

impl Stream {
    /// A stream whose headers have arrived.
    pub fn new(stream: Streaming<StreamMessagesResponse>) -> Self {
        Self(stream)
    }

    /// Opens a stream that shares no connection with others.
    pub async fn alone(address: SocketAddr, request: StreamMessagesRequest) -> Self {
        Self::open(SubscriberServiceClient::new(connect(address).await), request).await
    }

    /// Opens a stream.
    pub async fn open(mut client: SubscriberServiceClient<Channel>, request: StreamMessagesRequest) -> Self {
        let opened = timeout(TEST_TIMEOUT, client.stream_messages(request)).await.expect("headers in time");
        Self(opened.expect("a stream").into_inner())
    }

    /// The next event, or the status that the stream ended with (`None` where that is OK).
    pub async fn try_next(&mut self) -> Result<Option<Event>, Status> {
        let answer = timeout(TEST_TIMEOUT, self.0.message()).await.expect("an event in time")?;
        Ok(answer.map(|response| response.event.expect("an event of a known kind")))
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        self.try_next().await.expect("no error").expect("the stream continues")
    }

    /// The next event but heartbeats.
    pub async fn next_event(&mut self) -> Event {
        loop {
            match self.next().await {
                Event::Heartbeat(_) => {}
                event => return event,
            }
        }
    }

    /// The cursor of the `started` event, which must be next.
    pub async fn started(&mut self) -> String {
        match self.next().await {
            Event::Started(started) => started.cursor,
            other => panic!("expected started, got {other:?}"),
        }
    }

    /// The next event but heartbeats, which must be a message.
    pub async fn message(&mut self) -> Message {
        match self.next_event().await {
            Event::Message(message) => message,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The next messages; `caught_up` may be among them.
    pub async fn messages(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            match self.next_event().await {
                Event::Message(message) => messages.push(message),
                Event::CaughtUp(_) | Event::Started(_) => {}
                other => panic!("expected messages, got {other:?} after {}", messages.len()),
            }
        }
        messages
    }

    /// The cursor of `caught_up`, which must be the next event but heartbeats.
    pub async fn caught_up(&mut self) -> String {
        match self.next_event().await {
            Event::CaughtUp(caught_up) => caught_up.cursor,
            other => panic!("expected caught_up, got {other:?}"),
        }
    }

    /// The next event but heartbeats, which must be a gap.
    pub async fn gap(&mut self) -> Gap {
        match self.next_event().await {
            Event::Gap(gap) => gap,
            other => panic!("expected a gap, got {other:?}"),
        }
    }

    /// The cursor of the next heartbeat; messages may come before it.
    pub async fn heartbeat(&mut self) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Event::Heartbeat(heartbeat) = timeout_at(deadline, self.next()).await.expect("a heartbeat in time") {
                return heartbeat.cursor;
            }
        }
    }

    /// Makes sure that nothing but heartbeats comes for a while.
    pub async fn is_quiet(&mut self, time: Duration) {
        if let Ok(event) = timeout(time, self.next_event()).await {
            panic!("expected nothing, got {event:?}");
        }
    }

    /// The status that the stream ends with.
    pub async fn end(&mut self) -> Status {
        loop {
            match self.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

//! Follows a channel, or all channels that match a pattern, from the oldest message on, and resumes where it was when
//! the connection is lost.
//!
//! All it takes to lose nothing is to remember cursors. On a channel that is the last one received. On a pattern it is
//! the last one of the whole stream, and the last one of each channel since. Run `cargo run --locked` in one terminal
//! and `cargo run --locked -p tidings --example subscribe` in another; after a `--` it takes another channel or
//! pattern.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::{collections::BTreeMap, env, error::Error, time::Duration};

use tidings::pb::{
    Message, StreamMessagesRequest, message::Payload, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};

mod connection;

const PAUSE: Duration = Duration::from_secs(1);
/// Two heartbeats, which are asked for every five seconds, and some reserve. A frozen server is noticed by it even
/// through a proxy that answers pings itself.
const SILENCE: Duration = Duration::from_secs(12);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("TIDINGS_SUBSCRIBER").unwrap_or_else(|_| "http://127.0.0.1:3001".to_owned());
    let topic = env::args().nth(1).unwrap_or_else(|| "examples".to_owned());
    // Lazy: a server that is not up yet is waited for, like one that went away.
    let connection = connection::to(address)?.keep_alive_while_idle(true).connect_lazy();
    let mut subscriber = SubscriberServiceClient::new(connection);
    // A real program keeps it where it keeps what it makes of the messages.
    let mut position = Position::default();
    loop {
        match follow(&mut subscriber, &topic, &mut position).await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal) => {
                if !position.is_resumable() {
                    return Err(format!("{topic} can't be resumed, follow narrower patterns: {status}").into());
                }
                eprintln!("resuming: {status}");
                sleep(PAUSE).await;
            }
            ended => return Ok(ended?),
        }
    }
}

/// Follows until the stream ends; `position` is where to resume.
async fn follow(
    subscriber: &mut SubscriberServiceClient<Channel>,
    topic: &str,
    position: &mut Position,
) -> Result<(), Status> {
    let silent = |_| Status::unavailable("no heartbeat came");
    let opened = subscriber.stream_messages(position.request(topic));
    let mut events = timeout(SILENCE, opened).await.map_err(silent)??.into_inner();
    while let Some(response) = timeout(SILENCE, events.message()).await.map_err(silent)?? {
        match response.event {
            Some(Event::Message(message)) => {
                handle(&message);
                // Only now: a message that was not handled comes again. What has no sequence is not kept, so nothing
                // can resume after it.
                if message.sequence > 0 {
                    position.since.insert(message.channel, message.cursor);
                }
            }
            Some(Event::Gap(gap)) => {
                let until = match gap.last_missing {
                    0 => "on".to_owned(),
                    last => format!("to #{last}"),
                };
                eprintln!("lost from #{} {until} ({})", gap.first_missing, gap.reason().as_str_name());
                position.since.insert(gap.channel, gap.cursor);
            }
            Some(Event::Started(started)) => position.whole(started.cursor),
            Some(Event::CaughtUp(caught_up)) => {
                eprintln!("caught up");
                position.whole(caught_up.cursor);
            }
            Some(Event::Heartbeat(heartbeat)) => position.whole(heartbeat.cursor),
            None => {}
        }
    }
    Ok(())
}

/// Where a stream resumes.
#[derive(Default)]
struct Position {
    /// The last cursor of the whole stream.
    whole: String,
    /// The last cursor of each channel since.
    since: BTreeMap<String, String>,
}

impl Position {
    /// Whether a stream can begin here without losing or repeating anything. On a pattern of more than 1,000 channels
    /// it can't where messages came, and no cursor of the whole stream ever did, or so many of single channels that no
    /// request takes them.
    fn is_resumable(&self) -> bool {
        (!self.whole.is_empty() || self.since.is_empty()) && self.since.len() <= 1_000
    }

    /// The stream said where it is as a whole. It can't on a pattern of more than 1,000 channels: there one keeps what
    /// one has, or follows narrower patterns.
    fn whole(&mut self, cursor: String) {
        if !cursor.is_empty() {
            *self = Self { whole: cursor, since: BTreeMap::new() };
        }
    }

    fn request(&self, topic: &str) -> StreamMessagesRequest {
        let is_pattern = topic.contains(['*', '?', '[']);
        let mut cursors = std::iter::once(&self.whole).chain(self.since.values()).filter(|cursor| !cursor.is_empty());
        StreamMessagesRequest {
            channel: if is_pattern { String::new() } else { topic.to_owned() },
            pattern: if is_pattern { topic.to_owned() } else { String::new() },
            earliest: self.whole.is_empty(),
            // A channel resumes after its last cursor, which is the only one it takes.
            after: if is_pattern {
                cursors.cloned().collect()
            } else {
                cursors.next_back().cloned().into_iter().collect()
            },
            heartbeat_interval: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            ..StreamMessagesRequest::default()
        }
    }
}

fn handle(message: &Message) {
    match &message.payload {
        Some(Payload::Text(payload) | Payload::Json(payload)) => println!("#{} {payload}", message.sequence),
        Some(Payload::Data(data)) => println!("#{} {} bytes", message.sequence, data.len()),
        None => {}
    }
}

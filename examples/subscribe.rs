//! Follows a channel from its oldest message on, and goes on where it was when the connection is lost.
//!
//! All it takes to lose nothing is to remember the cursor of the last event: every event but a heartbeat without one
//! carries it. Run `cargo run` in one terminal and `cargo run -p tidings --example subscribe` in another.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::{env, error::Error, time::Duration};

use tidings::pb::{
    Message, StreamMessagesRequest, message::Payload, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tonic::{Code, Status, transport::Channel, transport::Endpoint};

const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("TIDINGS_SUBSCRIBER").unwrap_or_else(|_| "http://127.0.0.1:3001".to_owned());
    // Lazy: a server that is not up yet is waited for, like one that went away. The pings notice a dead connection.
    let connection = Endpoint::from_shared(address)?
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .connect_lazy();
    let mut subscriber = SubscriberServiceClient::new(connection);
    // A real program keeps it where it keeps what it makes of the messages.
    let mut cursor = None;
    loop {
        match follow(&mut subscriber, &mut cursor).await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal) => {
                eprintln!("resuming: {status}");
                tokio::time::sleep(PAUSE).await;
            }
            ended => return Ok(ended?),
        }
    }
}

/// Follows until the stream ends; `cursor` is where to go on.
async fn follow(subscriber: &mut SubscriberServiceClient<Channel>, cursor: &mut Option<String>) -> Result<(), Status> {
    let request = StreamMessagesRequest {
        channel: "examples".to_owned(),
        earliest: cursor.is_none(),
        after: cursor.iter().cloned().collect(),
        ..StreamMessagesRequest::default()
    };
    let mut events = subscriber.stream_messages(request).await?.into_inner();
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::Message(message)) => {
                handle(&message);
                // Only now: a message that was not handled comes again.
                *cursor = Some(message.cursor);
            }
            Some(Event::Gap(gap)) => {
                eprintln!("lost: {} to {} ({})", gap.first_missing, gap.last_missing, gap.reason().as_str_name());
                *cursor = Some(gap.cursor);
            }
            Some(Event::Started(started)) => *cursor = Some(started.cursor),
            Some(Event::CaughtUp(_)) => eprintln!("caught up"),
            Some(Event::Heartbeat(_)) | None => {}
        }
    }
    Ok(())
}

fn handle(message: &Message) {
    match &message.payload {
        Some(Payload::Text(payload) | Payload::Json(payload)) => println!("#{} {payload}", message.sequence),
        Some(Payload::Data(data)) => println!("#{} {} bytes", message.sequence, data.len()),
        None => {}
    }
}

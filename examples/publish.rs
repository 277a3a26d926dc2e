//! Publishes a few messages and prints their receipts.
//!
//! A `message_id` of its own makes each publish safe to repeat: a retry after a lost answer is recognised and answered
//! with the first receipt. Run `cargo run` in one terminal and `cargo run -p tidings --example publish` in another.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::{env, error::Error, time::Duration};

use tidings::pb::{
    PublishRequest, PublishResponse, publish_request::Payload, publisher_service_client::PublisherServiceClient,
};
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

const TRIES: u32 = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("TIDINGS_PUBLISHER").unwrap_or_else(|_| "http://127.0.0.1:3000".to_owned());
    let mut publisher = PublisherServiceClient::new(Channel::from_shared(address)?.connect().await?);
    for number in 1..=3 {
        let request = PublishRequest {
            channel: "examples".to_owned(),
            payload: Some(Payload::Json(format!(r#"{{"order": {number}, "total": 1.10}}"#))),
            message_id: Uuid::now_v7().to_string(),
            ..PublishRequest::default()
        };
        let receipt = publish(&mut publisher, request).await?;
        println!("#{} {}", receipt.sequence, receipt.message_id);
    }
    Ok(())
}

/// Publishes, and repeats where it is not known whether the message arrived, or known that it did not for now.
async fn publish(
    publisher: &mut PublisherServiceClient<Channel>,
    request: PublishRequest,
) -> Result<PublishResponse, Status> {
    let mut pause = Duration::from_millis(100);
    for _ in 1..TRIES {
        match publisher.publish(request.clone()).await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
                eprintln!("trying again: {status}");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer.map(|receipt| receipt.into_inner()),
        }
    }
    publisher.publish(request).await.map(|receipt| receipt.into_inner())
}

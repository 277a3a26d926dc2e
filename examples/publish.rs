//! Publishes a few messages and prints their receipts.
//!
//! A `message_id` of its own makes each publish safe to repeat: a retry after a lost answer is recognised and answered
//! with the first receipt. `connection` has TLS. Run `cargo run --locked` in one terminal and `cargo run --locked -p tidings --example
//! publish` in another.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::{env, error::Error, time::Duration};

use tidings::pb::{
    PublishRequest, PublishResponse, publish_request::Payload, publisher_service_client::PublisherServiceClient,
};
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

mod connection;

const TRIES: u32 = 5;
/// The first means that nothing was published, for now; with the others nobody knows.
const MAYBE_LATER: [Code; 4] = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::DeadlineExceeded];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("TIDINGS_PUBLISHER").unwrap_or_else(|_| "http://127.0.0.1:3000".to_owned());
    // It ends the call that waits on a connection that is dead.
    let connection = connection::to(address)?.timeout(Duration::from_secs(5)).connect_lazy();
    let mut publisher = PublisherServiceClient::new(connection);
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
            Err(status) if MAYBE_LATER.contains(&status.code()) => {
                eprintln!("trying again: {status}");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer.map(|receipt| receipt.into_inner()),
        }
    }
    publisher.publish(request).await.map(|receipt| receipt.into_inner())
}

//! Publishes a second through the publisher: one call each, and many on one call.

use std::time::{Duration, Instant};

use tidings::pb::{
    PublishRequest, PublishStreamRequest, publish_request::Payload, publish_stream_response::Result as Outcome,
    publisher_service_client::PublisherServiceClient,
};
use tokio::task::JoinSet;
use tokio_stream::iter;

use crate::{MESSAGE_BYTES, house::House};

/// Unary calls under way at once, on one connection.
pub(crate) const CALLS: usize = 64;

/// The publish that is repeated.
pub(crate) fn request(channel: &str) -> PublishRequest {
    PublishRequest {
        channel: channel.to_owned(),
        payload: Some(Payload::Text("x".repeat(MESSAGE_BYTES))),
        ..PublishRequest::default()
    }
}

/// `Publish` calls a second.
pub(crate) async fn unary(house: &House, channel: &str, time: Duration) -> anyhow::Result<f64> {
    let client = PublisherServiceClient::new(house.publisher().await?);
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CALLS {
        let (mut client, request) = (client.clone(), request(channel));
        callers.spawn(async move {
            let mut count = 0u64;
            while began.elapsed() < time {
                client.publish(request.clone()).await?;
                count += 1;
            }
            Ok::<_, tonic::Status>(count)
        });
    }
    let mut count = 0;
    while let Some(done) = callers.join_next().await {
        count += done??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Publishes a second on one `PublishStream` call, each with its own receipt.
pub(crate) async fn stream(house: &House, channel: &str, time: Duration) -> anyhow::Result<f64> {
    let mut client = PublisherServiceClient::new(house.publisher().await?);
    let request = PublishStreamRequest { request: Some(request(channel)) };
    let began = Instant::now();
    let requests = std::iter::repeat(request).take_while(move |_| began.elapsed() < time);
    let mut answers = client.publish_stream(iter(requests)).await?.into_inner();
    let mut count = 0u64;
    while let Some(answer) = answers.message().await? {
        count += 1;
        match answer.result {
            Some(Outcome::Response(receipt)) => anyhow::ensure!(receipt.sequence as u64 == count, "out of order"),
            other => anyhow::bail!("not published: {other:?}"),
        }
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

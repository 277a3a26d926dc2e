//! A tonic server whose `Publish` answers at once, with a receipt as long as a real one: what gRPC costs by itself. It
//! runs on as many threads as the publisher.

use std::{net::SocketAddr, pin::Pin};

use prost_types::Timestamp;
use tidings::pb::{
    PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse,
    publisher_service_server::{PublisherService, PublisherServiceServer},
};
use tidings_runtime::runtime;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

struct Echo(PublishResponse);

/// Serves until it is ended.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let receipt = PublishResponse {
        message_id: "0192d3a4-5b6c-7d8e-9f01-23456789abcd".to_owned(),
        channel: "bench.000".to_owned(),
        publish_time: Some(Timestamp { seconds: 1_795_521_600, nanos: 123_000_000 }),
        sequence: 123_456,
        epoch: "0123456789abcdef".to_owned(),
        cursor: "c".repeat(CURSOR_BYTES),
        ..PublishResponse::default()
    };
    let runtime = runtime(None)?;
    let service = PublisherServiceServer::new(Echo(receipt));
    runtime.block_on(Server::builder().tcp_nodelay(true).add_service(service).serve(listen))?;
    Ok(())
}

/// A real cursor's length; a test compares.
const CURSOR_BYTES: usize = 48;

#[tonic::async_trait]
impl PublisherService for Echo {
    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let channel = request.into_inner().channel;
        Ok(Response::new(PublishResponse { channel, ..self.0.clone() }))
    }

    async fn publish_batch(&self, _: Request<PublishBatchRequest>) -> Result<Response<PublishBatchResponse>, Status> {
        Err(Status::unimplemented("an echo of single publishes"))
    }

    async fn publish_stream(
        &self,
        _: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("an echo of single publishes"))
    }
}

#[cfg(test)]
mod tests {
    use tidings::{
        channel::Names,
        cursor,
        message::{Epoch, Position},
    };

    #[test]
    fn the_echo_answers_as_much_as_the_publisher() {
        let channel = Names::new("tidings", "").expect("names").parse("bench.000").expect("a name");
        let position = Position { epoch: Epoch::from_u64(u64::MAX), sequence: 123_456 };
        assert_eq!(cursor::encode(&channel, position).len(), super::CURSOR_BYTES);
    }
}

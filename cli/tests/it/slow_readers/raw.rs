//! Reading a stream without decoding its messages, so that a flood is the server's work and not the test's.

use prost::{Message as _, bytes::Bytes};
use tidings::pb::{StreamMessagesRequest, StreamMessagesResponse};
use tonic::{Request, Streaming, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::harness::{Raw, TEST_TIMEOUT};

/// The first byte of an event that is a message.
const MESSAGE: u8 = 2 << 3 | 2;
/// Every so many messages one is decoded, and its sequence looked at.
const LOOK: i64 = 50;

pub(super) struct Stream(Streaming<Bytes>);

impl Stream {
    /// Opens one and waits until it has caught up.
    pub(super) async fn open(channel: Channel, request: StreamMessagesRequest) -> Self {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("connected");
        let path = PathAndQuery::from_static("/tidings.v1.SubscriberService/StreamMessages");
        let opened = client.server_streaming(Request::new(request.encode_to_vec()), path, Raw).await.expect("a stream");
        let mut stream = Self(opened.into_inner());
        for _ in ["started", "caught_up"] {
            assert_ne!(stream.next().await[0], MESSAGE);
        }
        stream
    }

    async fn next(&mut self) -> Bytes {
        let next = tokio::time::timeout(TEST_TIMEOUT * 3, self.0.message()).await.expect("in time");
        next.expect("no error").expect("the stream continues")
    }

    /// Reads so many messages, which must be the channel's first.
    pub(super) async fn messages(&mut self, count: i64) {
        for expected in 1..=count {
            let event = self.next().await;
            assert_eq!(event[0], MESSAGE, "{:?}", StreamMessagesResponse::decode(event.clone()));
            if expected % LOOK == 0 || expected == count {
                let response = StreamMessagesResponse::decode(event).expect("an event");
                let Some(tidings::pb::stream_messages_response::Event::Message(message)) = response.event else {
                    panic!("{response:?}")
                };
                assert_eq!(message.sequence, expected);
            }
        }
    }
}

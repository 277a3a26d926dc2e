//! Calls of a subscriber, in memory.

use bytes::{Buf as _, Bytes, BytesMut};
use http::Response;
use prost::Message;
use tidings_subscriber::simulation::Subscriber;
use tonic::{Status, body::Body};

use http_body_util::Full;

/// Makes a call with one request; answers the response's body, or the status where there is nothing else.
pub(crate) async fn begin(subscriber: &Subscriber, method: &str, request: &impl Message) -> Result<Body, Status> {
    let mut bytes = BytesMut::from(&[0; 5][..]);
    request.encode(&mut bytes).expect("it fits");
    let length = (bytes.len() - 5) as u32;
    bytes[1..5].copy_from_slice(&length.to_be_bytes());
    let request = http::Request::post(format!("/tidings.v1.SubscriberService/{method}"))
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(bytes.freeze())))
        .expect("a request");
    let response: Response<Body> = subscriber.call(request).await.unwrap_or_else(|never| match never {});
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(response.into_body()),
    }
}

/// The next message that is there as a whole.
pub(crate) fn next<M: Message + Default>(buffer: &mut BytesMut) -> Option<M> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    let frame: Bytes = buffer.split_to(length).freeze();
    Some(M::decode(frame).expect("a message of ours"))
}

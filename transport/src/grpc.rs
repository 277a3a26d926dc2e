//! What gRPC puts around messages over HTTP/2: a prefix before each, a head before all of them, and a status behind.

use http::{HeaderMap, HeaderValue, Response, header};
use tonic::{Status, body::Body};

/// Bytes before each message: a flag, which says whether it is compressed, and its length.
pub const PREFIX: usize = 5;

/// Writes what stands before a message of this length, which is below 4 GiB.
pub fn put_prefix(buffer: &mut Vec<u8>, length: usize) {
    buffer.push(0);
    buffer.extend_from_slice(&(length as u32).to_be_bytes());
}

/// The response whose body has frames, and trailers at its end.
pub fn response<B>(body: B) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A status as the trailers of a response.
pub fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Our own texts and details can all be written.
        tracing::error!(?status, "a status that is no header");
    }
    trailers
}

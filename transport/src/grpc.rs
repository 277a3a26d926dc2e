//! What gRPC puts around messages over HTTP/2: a prefix before each, headers before all of them, and a status after
//! them.

use bytes::Bytes;
use futures_util::{
    future::ready,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use tidings::{limits::DECODE_BYTES, status};
use tonic::{Status, body::Body};

use super::{deadline::Deadline, encoding::Encoded};

pub(super) use self::{
    framed::Framed,
    messages::{requests, responses},
};

mod framed;
mod messages;

/// The response whose body has frames, and trailers at its end.
fn response<B>(body: B) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The response of one message.
pub(super) fn single(answer: Encoded) -> Response<Body> {
    // The answer is there: no deadline can end it any more.
    response(Framed::new(stream::once(ready(Ok(answer))), Deadline::none()))
}

/// The response of many messages, until they end or this deadline does.
pub(super) fn streamed(answers: BoxStream<'static, Result<Encoded, Status>>, lifetime: Deadline) -> Response<Body> {
    response(Framed::new(answers, lifetime))
}

/// The trailers of a response: OK, or the status that it failed with.
pub(super) fn trailers(end: Result<(), Status>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    match end {
        Ok(()) => {
            trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        }
        Err(status) => {
            if status.add_header(&mut trailers).is_err() {
                // Our own texts and details can all be written.
                tracing::error!(?status, "a status can't be encoded");
            }
        }
    }
    trailers
}

/// Whether a request says that it is not compressed.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let encoding = headers.get("grpc-encoding").map(HeaderValue::as_bytes);
    encoding.is_none_or(|encoding| encoding == b"identity")
}

/// Says in our words what tonic's decoder found in one of several requests.
pub(super) fn refine(status: Status) -> Status {
    status::of_decoder(status.code(), status.message(), DECODE_BYTES).unwrap_or(status)
}

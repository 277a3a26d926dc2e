//! The many messages of a body: requests of a call, and what a generated service answers with.

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use http::{Response, StatusCode};
use tidings::limits::DECODE_BYTES;
use tonic::{
    Code, Status, Streaming,
    body::Body,
    codec::{DecodeBuf, Decoder},
};

use super::refine;

/// The messages of a body, each as it came.
pub(crate) fn requests(body: Body) -> BoxStream<'static, Result<Bytes, Status>> {
    let requests = Streaming::new_request(AsTheyCome, body, None, Some(DECODE_BYTES));
    requests.map(|request| request.map_err(refine)).boxed()
}

/// The messages of a response.
///
/// # Errors
///
/// The status of one that has none.
pub(crate) fn responses(response: Response<Body>) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send, Status> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(refine(status)),
        _ => {
            let responses = Streaming::new_response(AsTheyCome, response.into_body(), StatusCode::OK, None, None);
            Ok(responses.map(|response| response.map_err(refine)))
        }
    }
}

struct AsTheyCome;

impl Decoder for AsTheyCome {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

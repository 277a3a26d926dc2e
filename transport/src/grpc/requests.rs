//! The many requests of a call, read off its body.

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream::BoxStream};
use tidings::limits::DECODE_BYTES;
use tonic::{
    Status, Streaming,
    body::Body,
    codec::{DecodeBuf, Decoder},
};

use super::refine;
/// The messages of a body, each as it came.
pub(crate) fn requests(body: Body) -> BoxStream<'static, Result<Bytes, Status>> {
    let requests = Streaming::new_request(AsTheyCome, body, None, Some(DECODE_BYTES));
    requests.map(|request| request.map_err(refine)).boxed()
}

struct AsTheyCome;

impl Decoder for AsTheyCome {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

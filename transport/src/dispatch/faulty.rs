//! The answer to a stream of requests, which says what was wrong with them where the generated service does not.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;

use super::lasting::Lasting;
use crate::grpc;

/// A response's body, beside the fault of its request's.
pub(super) struct Faulty {
    inner: Lasting,
    fault: Arc<OnceLock<Status>>,
}

impl Faulty {
    pub(super) fn new(inner: Lasting, fault: Arc<OnceLock<Status>>) -> Self {
        Self { inner, fault }
    }

    /// A stream whose requests broke off does not end with OK.
    fn correct(&self, trailers: HeaderMap) -> HeaderMap {
        let is_ok = trailers.get("grpc-status").is_some_and(|status| status == "0");
        match self.fault.get() {
            Some(fault) if is_ok => grpc::trailers(Err(fault.clone())),
            _ => trailers,
        }
    }
}

impl HttpBody for Faulty {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        frame.map_ok(|frame| match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(self.correct(trailers)),
            Err(data) => data,
        })
    }
}

//! Requests out of bodies, as the protobuf that operations take.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tidings::status;
use tonic::{Status, body::Body, codegen::StdError};

use super::Format;
use crate::{bodies::Metered, grpc, json::Messages, operation::any::EncodedRequests};

/// The only request of a call.
pub(super) struct Request<H> {
    pub(super) message: Bytes,
    /// Its share of what may be under way, which a large one has until its operation has ended.
    _share: H,
}

/// The request that is all of a body.
///
/// # Errors
///
/// Those of the body, and of its JSON.
pub(super) async fn whole<B>(
    format: Format,
    messages: &Messages,
    mut body: Metered<B>,
) -> Result<Request<Metered<B>>, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        // A body that broke off has no status of ours.
        let frame = frame.map_err(|error| error.downcast().map_or_else(|_| status::cut_off(), |status| *status))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() && all.is_empty() {
            // Mostly all that there is.
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    let message = if all.is_empty() { first } else { all.freeze() };
    Ok(Request { message: read(format, messages, message)?, _share: body })
}

/// The requests of a body in their envelopes, which begin as gRPC's frames do.
pub(super) fn in_envelopes<B>(format: Format, messages: Messages, body: Metered<B>) -> EncodedRequests
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let requests = grpc::requests(Body::new(body));
    requests.map(move |request| read(format, &messages, request?)).boxed()
}

/// The request of a method that takes one. The body has checked that it has one.
///
/// # Errors
///
/// Those of the requests.
pub(super) async fn only(mut requests: EncodedRequests) -> Result<Request<EncodedRequests>, Status> {
    let message = requests.next().await.unwrap_or_else(|| Err(status::not_one_request("none")))?;
    match requests.next().await {
        None => Ok(Request { message, _share: requests }),
        Some(Ok(_)) => Err(status::not_one_request("several")),
        Some(Err(status)) => Err(status),
    }
}

fn read(format: Format, messages: &Messages, message: Bytes) -> Result<Bytes, Status> {
    match format {
        Format::Json => messages.read_request(&message),
        Format::Protobuf => Ok(message),
    }
}

//! Answers as bodies: one message, or many in envelopes with another that says how they ended.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Response, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::Full;
use tidings::status;
use tonic::{Status, body::Body};

use super::{Form, Format, errors};
use crate::{deadline::Deadline, encoding::Encoded, json::Messages, operation::any::Answers};

/// The response of one message.
///
/// # Errors
///
/// INTERNAL where it is no message that can be written.
pub(super) fn single(form: Form, messages: &Messages, answer: Encoded) -> Result<Response<Body>, Status> {
    let protobuf = answer.into_protobuf().ok_or_else(status::internal)?;
    let body = match form.format {
        Format::Protobuf => protobuf,
        Format::Json => {
            let mut json = Vec::new();
            messages.write_response(protobuf, &mut json)?;
            json.shrink_to_fit();
            json.into()
        }
    };
    Ok(response(form, Full::new(body)))
}

/// The response of many messages, until they end or this deadline does.
pub(super) fn streamed(form: Form, messages: Messages, answers: Answers, lifetime: Deadline) -> Response<Body> {
    response(form, Enveloped { format: form.format, messages, answers: Some(answers), lifetime })
}

fn response<B>(form: Form, body: B) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, form.content_type_header());
    response
}

/// Sends what a stream has until it ends, fails, or its client waits no longer. What streams share is sent as it is, as
/// JSON as well.
struct Enveloped {
    format: Format,
    messages: Messages,
    /// None once it is over.
    answers: Option<Answers>,
    lifetime: Deadline,
}

impl Enveloped {
    fn written(&self, encoded: Encoded) -> Result<Bytes, Status> {
        match self.format {
            Format::Protobuf => Ok(encoded.into_frames()),
            Format::Json => encoded.json_frames(|protobuf, buffer| self.messages.write_response(protobuf, buffer)),
        }
    }
}

impl HttpBody for Enveloped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(answers) = &mut this.answers else { return Poll::Ready(None) };
        let end = match this.lifetime.poll_passed(context) {
            Poll::Ready(status) => Err(status),
            Poll::Pending => match ready!(answers.poll_next_unpin(context)) {
                Some(Ok(encoded)) => match this.written(encoded) {
                    Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Err(status) => Err(status),
                },
                Some(Err(status)) => Err(status),
                None => Ok(()),
            },
        };
        this.answers = None;
        Poll::Ready(Some(Ok(Frame::data(errors::end_of_stream(end.err().as_ref())))))
    }

    fn is_end_stream(&self) -> bool {
        self.answers.is_none()
    }
}

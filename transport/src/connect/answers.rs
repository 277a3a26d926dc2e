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
use tidings::{limits::ANSWER_PART_BYTES, status};
use tonic::{Status, body::Body};

use super::{Form, Format, errors};
use crate::{deadline::Deadline, encoding::Encoded, json::Messages, operation::any::Answers, prefix};

/// The response of one message.
///
/// # Errors
///
/// INTERNAL where it is no message that can be written.
pub(super) fn single(form: Form, messages: &Messages, mut answer: Encoded) -> Result<Response<Body>, Status> {
    let protobuf = answer.take_protobuf().ok_or_else(status::internal)?;
    let body = match form.format {
        Format::Protobuf => protobuf,
        Format::Json => {
            let mut json = Vec::new();
            messages.write_response(protobuf, &mut json)?;
            json.into()
        }
    };
    Ok(response(form, Full::new(body)))
}

/// The response of many messages, until they end or this deadline does.
pub(super) fn streamed(form: Form, messages: Messages, answers: Answers, lifetime: Deadline) -> Response<Body> {
    let rest = Encoded::default();
    response(form, Enveloped { format: form.format, messages, answers: Some(answers), rest, lifetime })
}

fn response<B>(form: Form, body: B) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, form.content_type_header());
    response
}

/// Sends what a stream has until it ends, fails, or its client waits no longer.
struct Enveloped {
    format: Format,
    messages: Messages,
    /// None once it is over.
    answers: Option<Answers>,
    /// What came and was not sent yet.
    rest: Encoded,
    lifetime: Deadline,
}

impl Enveloped {
    /// The next part of what came. Protobuf is shared by all streams, and sent as it is. JSON is made for each of them,
    /// some messages at a time: HTTP/2 holds a part for a reader that has stopped.
    fn part(&mut self) -> Result<Bytes, Status> {
        if self.format == Format::Protobuf {
            return Ok(std::mem::take(&mut self.rest).into_frames());
        }
        let mut part = Vec::new();
        while part.len() < ANSWER_PART_BYTES
            && let Some(protobuf) = self.rest.take_protobuf()
        {
            let start = part.len();
            prefix::put(&mut part, 0);
            self.messages.write_response(protobuf, &mut part)?;
            prefix::set_length(&mut part[start..]);
        }
        Ok(part.into())
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
        let end = loop {
            let Some(answers) = &mut this.answers else { return Poll::Ready(None) };
            if let Poll::Ready(status) = this.lifetime.poll_passed(context) {
                break Err(status);
            }
            if !this.rest.is_empty() {
                match this.part() {
                    Ok(part) => return Poll::Ready(Some(Ok(Frame::data(part)))),
                    Err(status) => break Err(status),
                }
            }
            match ready!(answers.poll_next_unpin(context)) {
                Some(Ok(encoded)) => this.rest = encoded,
                Some(Err(status)) => break Err(status),
                None => break Ok(()),
            }
        };
        (this.answers, this.rest) = (None, Encoded::default());
        Poll::Ready(Some(Ok(Frame::data(errors::end_of_stream(end.as_ref().map(|()| ()).map_err(|status| status))))))
    }

    fn is_end_stream(&self) -> bool {
        self.answers.is_none()
    }
}

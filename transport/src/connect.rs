//! The Connect protocol (connectrpc.com/docs/protocol): what `curl` and browsers can speak by themselves. A unary call
//! is a POST whose body is the message and nothing else, as JSON or protobuf, and fails with an HTTP code and an error
//! as JSON. A stream has messages in envelopes, which begin as gRPC's do, and ends with one that says how.
//!
//! A call comes here from [`dispatch`](super::dispatch) with its context, when everything was asked that is asked of
//! every call, and goes straight to its method's operation.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as HttpBody;
use tidings::{limits::JSON_ANSWER_GROWTH, status};
use tonic::{Status, body::Body, codegen::StdError};

use super::{
    CallContext,
    bodies::{Meter, Metered, Takes},
    json::Messages,
    methods::Method,
    operation::any::AnyOperation,
    unread::{self, Cut},
};

pub(super) use self::errors::failed;

mod answers;
mod errors;
mod requests;

/// How a call's messages lie in bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Whether each is in an envelope, as in the bodies of streams.
    pub(super) is_stream: bool,
    pub(super) format: Format,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Protobuf,
}

impl Form {
    pub(super) const UNARY_JSON: Self = Self { is_stream: false, format: Format::Json };
    pub(super) const UNARY_PROTOBUF: Self = Self { is_stream: false, format: Format::Protobuf };
    pub(super) const STREAM_JSON: Self = Self { is_stream: true, format: Format::Json };
    pub(super) const STREAM_PROTOBUF: Self = Self { is_stream: true, format: Format::Protobuf };

    /// The content type of its bodies.
    pub(super) const fn content_type(self) -> &'static str {
        match (self.is_stream, self.format) {
            (false, Format::Json) => "application/json",
            (false, Format::Protobuf) => "application/proto",
            (true, Format::Json) => "application/connect+json",
            (true, Format::Protobuf) => "application/connect+proto",
        }
    }

    /// Refuses what a request's headers ask for and is not done, of a method that is unary or not.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT: another version, a timeout that is none, the content type of other methods. UNIMPLEMENTED: it
    /// is compressed.
    pub(super) fn check(self, headers: &HeaderMap, is_unary: bool) -> Result<(), Status> {
        if self.is_stream == is_unary {
            let right = if is_unary {
                [Self::UNARY_JSON, Self::UNARY_PROTOBUF]
            } else {
                [Self::STREAM_JSON, Self::STREAM_PROTOBUF]
            };
            return Err(status::wrong_content_type(&right.map(Self::content_type).join(" or ")));
        }
        let version = headers.get("connect-protocol-version");
        if version.is_some_and(|version| version != "1") {
            return Err(status::invalid("connect-protocol-version", "only version 1 is spoken here"));
        }
        let encoding = match self.is_stream {
            true => headers.get("connect-content-encoding"),
            false => headers.get(header::CONTENT_ENCODING),
        };
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(status::compressed());
        }
        timeout(headers).map(|_| ())
    }

    fn content_type_header(self) -> HeaderValue {
        HeaderValue::from_static(self.content_type())
    }
}

/// How long the caller waits, as `connect-timeout-ms` says: at most ten digits.
///
/// # Errors
///
/// INVALID_ARGUMENT where it says something else.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("connect-timeout-ms") else { return Ok(None) };
    let digits =
        value.to_str().ok().filter(|text| (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(ms) => Ok(Some(Duration::from_millis(ms))),
        None => Err(status::invalid("connect-timeout-ms", "it must be milliseconds, in one to ten digits")),
    }
}

/// A call whose request is still to come.
pub(super) struct Call {
    form: Form,
    context: CallContext,
    messages: Messages,
    operation: AnyOperation,
    request_bytes: usize,
    answer_bytes: usize,
}

impl Call {
    /// A call of this method, which this operation answers.
    ///
    /// # Errors
    ///
    /// INTERNAL where its messages are not known.
    pub(super) fn new(
        form: Form,
        context: CallContext,
        method: &Method,
        operation: AnyOperation,
    ) -> Result<Self, Status> {
        let (messages, request_bytes) = (Messages::of(method.path())?, method.request_bytes());
        let answer_bytes = match form.format {
            Format::Json => method.answer_bytes() * JSON_ANSWER_GROWTH,
            Format::Protobuf => method.answer_bytes(),
        };
        Ok(Self { form, context, messages, operation, request_bytes, answer_bytes })
    }

    /// Reads the request, calls the operation, and begins the answer.
    ///
    /// # Errors
    ///
    /// Those of the body, of the message and of the operation.
    pub(super) async fn answer<B>(self, body: B) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let Self { form, context, messages, operation, request_bytes, answer_bytes } = self;
        let takes = match &operation {
            AnyOperation::Unary(_) => Takes::Whole(body.size_hint().exact().map(|bytes| bytes as usize)),
            AnyOperation::ServerStreaming(_) => Takes::One,
            AnyOperation::Bidirectional(_) => Takes::Many,
        };
        let body = Metered::new(body, Meter::new(context.bodies().clone(), takes, request_bytes));
        match operation {
            AnyOperation::Unary(operation) => {
                let request = unless_drained(&context, requests::whole(form.format, &messages, body)).await?;
                let share = match answer_bytes {
                    0 => None,
                    bytes => Some(unread::share(context.address().cloned(), bytes).await?),
                };
                let connection = Arc::clone(context.connection());
                let answer = operation.call(context, request.message).await?;
                let response = answers::single(form, &messages, answer)?;
                Ok(match share {
                    Some(share) => response.map(|body| connection.unread().watched(body, share, Cut::Reset)),
                    None => response,
                })
            }
            AnyOperation::ServerStreaming(operation) => {
                let lifetime = context.lifetime();
                let requests = requests::in_envelopes(form.format, messages.clone(), body);
                let request = unless_drained(&context, requests::only(requests)).await?;
                let answers = operation.open(context, request.message).await?;
                Ok(answers::streamed(form, messages, answers, lifetime))
            }
            AnyOperation::Bidirectional(operation) => {
                let lifetime = context.lifetime();
                let requests = requests::in_envelopes(form.format, messages.clone(), body);
                Ok(answers::streamed(form, messages, operation.open(context, requests), lifetime))
            }
        }
    }
}

/// Waits for a request while its server goes on.
async fn unless_drained<T>(
    context: &CallContext,
    request: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::select! {
        // What has come is answered.
        biased;
        request = request => request,
        () = context.drain().begun() => Err(context.drain().status(context.call())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn timeouts_are_milliseconds_of_at_most_ten_digits() {
        let read = |value| timeout(&headers(&[("connect-timeout-ms", value)]));
        for (value, ms) in [("0", 0), ("250", 250), ("9999999999", 9_999_999_999)] {
            assert_eq!(read(value).expect(value), Some(Duration::from_millis(ms)));
        }
        for bad in ["", "-1", "+1", "1.5", "1s", "10000000000", " 1 1"] {
            assert_eq!(read(bad).expect_err(bad).code(), tonic::Code::InvalidArgument);
        }
        assert_eq!(timeout(&HeaderMap::new()).expect("none"), None);
    }

    #[test]
    fn headers_are_of_the_methods_kind() {
        let reason = |form: Form, all: &[_], is_unary| {
            let refused = form.check(&headers(all), is_unary).err()?;
            Some(tonic_types::StatusExt::get_details_error_info(&refused).expect("a reason").reason)
        };
        let (unary, stream) = (Form::UNARY_JSON, Form::STREAM_PROTOBUF);
        for (form, all, is_unary, expected) in [
            (unary, &[][..], true, None),
            (unary, &[("connect-protocol-version", "1"), ("content-encoding", "identity")], true, None),
            (unary, &[], false, Some("WRONG_CONTENT_TYPE")),
            (stream, &[], true, Some("WRONG_CONTENT_TYPE")),
            (unary, &[("connect-protocol-version", "2")], true, Some("INVALID_FIELD")),
            (unary, &[("connect-timeout-ms", "soon")], true, Some("INVALID_FIELD")),
            (unary, &[("content-encoding", "gzip")], true, Some("COMPRESSED")),
            (stream, &[("connect-content-encoding", "gzip")], false, Some("COMPRESSED")),
            // Of a stream's body as a whole; its messages are not compressed.
            (unary, &[("connect-content-encoding", "gzip")], true, None),
        ] {
            assert_eq!(reason(form, all, is_unary).as_deref(), expected, "{form:?} {all:?}");
        }
    }
}

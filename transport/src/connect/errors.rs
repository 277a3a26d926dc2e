//! Errors as Connect writes them: JSON, whatever format the messages have, with an HTTP code that means the same where
//! nothing was answered yet, and in the envelope that ends a stream.

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;
use tidings::status::reason;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::Form;
use crate::{json, prefix};

/// The flag of the envelope that ends a stream.
const END_OF_STREAM: u8 = 2;

/// "Error" of the protocol.
#[derive(Serialize)]
struct Error<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    #[serde(rename = "type")]
    name: String,
    /// The protobuf, as base64 without padding.
    value: String,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Value>,
}

/// "EndStreamResponse" of the protocol.
#[derive(Serialize)]
struct End<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
}

impl<'a> Error<'a> {
    fn of(status: &'a Status) -> Self {
        // The details are the bytes of a `google.rpc.Status`.
        let details = tonic_types::Status::decode(status.details()).map(|rpc| rpc.details).unwrap_or_default();
        let details = details.into_iter().map(|detail| Detail {
            name: detail.type_url.rsplit('/').next().unwrap_or_default().to_owned(),
            debug: json::detail(&detail),
            value: BASE64_STANDARD_NO_PAD.encode(detail.value),
        });
        Self { code: row(status.code()).0, message: status.message(), details: details.collect() }
    }
}

/// The answer to a call that failed before its first message.
pub(crate) fn failed(form: Form, status: &Status) -> Response<Body> {
    let (code, content_type, body) = match http_code(status) {
        // A stream's own failures come at its end. Who sent it as what it is not gets none.
        code if form.is_stream && code != StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            (StatusCode::OK, form.content_type_header(), end_of_stream(Some(status)))
        }
        code => (code, HeaderValue::from_static("application/json"), json(&Error::of(status)).into()),
    };
    let mut response = Response::new(Body::new(http_body_util::Full::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// The envelope that ends a stream, well or with a failure.
pub(super) fn end_of_stream(failure: Option<&Status>) -> Bytes {
    let json = json(&End { error: failure.map(Error::of) });
    let mut envelope = Vec::with_capacity(prefix::BYTES + json.len());
    prefix::put(&mut envelope, json.len());
    envelope[0] = END_OF_STREAM;
    envelope.extend_from_slice(&json);
    envelope.into()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts can be written")
}

/// What HTTP makes of a status.
fn http_code(status: &Status) -> StatusCode {
    let info = status.get_details_error_info();
    // What is too large stays so: a repeat is in vain, as it is not where a limit is used up.
    if status.code() == Code::ResourceExhausted && info.as_ref().is_some_and(|info| info.metadata.contains_key("size"))
    {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    match info.map(|info| info.reason).as_deref() {
        Some(reason::WRONG_CONTENT_TYPE) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(reason::REQUEST_TOO_LARGE) => StatusCode::PAYLOAD_TOO_LARGE,
        // Clients read it as unimplemented as well, and everybody else knows what it means.
        Some(reason::UNKNOWN_METHOD | reason::OTHER_SERVICE) => StatusCode::NOT_FOUND,
        _ => row(status.code()).1,
    }
}

/// What the protocol calls a code, and its HTTP code: the table under "Error codes".
fn row(code: Code) -> (&'static str, StatusCode) {
    match code {
        Code::Cancelled => ("canceled", StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)),
        Code::InvalidArgument => ("invalid_argument", StatusCode::BAD_REQUEST),
        Code::DeadlineExceeded => ("deadline_exceeded", StatusCode::GATEWAY_TIMEOUT),
        Code::NotFound => ("not_found", StatusCode::NOT_FOUND),
        Code::AlreadyExists => ("already_exists", StatusCode::CONFLICT),
        Code::PermissionDenied => ("permission_denied", StatusCode::FORBIDDEN),
        Code::ResourceExhausted => ("resource_exhausted", StatusCode::TOO_MANY_REQUESTS),
        Code::FailedPrecondition => ("failed_precondition", StatusCode::BAD_REQUEST),
        Code::Aborted => ("aborted", StatusCode::CONFLICT),
        Code::OutOfRange => ("out_of_range", StatusCode::BAD_REQUEST),
        Code::Unimplemented => ("unimplemented", StatusCode::NOT_IMPLEMENTED),
        Code::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        Code::DataLoss => ("data_loss", StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED),
        Code::Ok | Code::Unknown => ("unknown", StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::json;
    use tidings::status;

    use super::*;
    use crate::connect::Format;

    async fn read(form: Form, status: &Status) -> (u16, String, Vec<u8>) {
        let response = failed(form, status);
        let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let code = response.status().as_u16();
        (code, kind, response.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_failed_call_says_why_in_json() {
        let refused = status::invalid("text", "why");
        for format in [Format::Json, Format::Protobuf] {
            let (code, kind, body) = read(Form { is_stream: false, format }, &refused).await;
            assert_eq!((code, &kind[..]), (400, "application/json"));
            let error: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((&error["code"], &error["message"]), (&json!("invalid_argument"), &json!("text: why")));
            let details = error["details"].as_array().expect("details");
            let names: Vec<_> = details.iter().map(|detail| detail["type"].as_str().expect("a name")).collect();
            assert_eq!(names, ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]);
            let values: Vec<_> = details.iter().map(|detail| detail["value"].as_str().expect("text")).collect();
            assert!(values.iter().any(|value| !value.len().is_multiple_of(4)), "one is not padded: {values:?}");
            assert_eq!(details[0]["debug"], json!({"reason": "INVALID_FIELD", "domain": "tidings"}));
            let value = BASE64_STANDARD_NO_PAD.decode(details[0]["value"].as_str().expect("text")).expect("base64");
            let info = tonic_types::pb::ErrorInfo::decode(&value[..]).expect("an ErrorInfo");
            assert_eq!(info.reason, "INVALID_FIELD");
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_what_went_wrong() {
        let (code, kind, body) = read(Form::STREAM_PROTOBUF, &status::internal()).await;
        assert_eq!((code, &kind[..]), (200, "application/connect+proto"));
        let (prefix, json) = body.split_at(prefix::BYTES);
        assert_eq!((prefix[0], prefix[4] as usize), (2, json.len() - usize::from(prefix[3]) * 256));
        let end: Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(end["error"]["code"], "internal");
        assert_eq!(&end_of_stream(None)[..], b"\x02\0\0\0\x02{}");
    }

    #[tokio::test]
    async fn http_codes_say_what_the_codes_do() {
        for (status, expected) in [
            (status::unknown_method("/a", "x"), 404),
            (status::wrong_service("a", "b"), 404),
            (status::wrong_content_type("x"), 415),
            (status::undecodable(1), 413),
            (status::compressed(), 501),
            (status::unauthenticated(), 401),
            (Status::cancelled("x"), 499),
            (Status::unknown("x"), 500),
            (Status::permission_denied("x"), 403),
            (Status::unavailable("x"), 503),
            (Status::deadline_exceeded("x"), 504),
            (Status::resource_exhausted("x"), 429),
            (Status::out_of_range("x"), 400),
        ] {
            assert_eq!(read(Form::UNARY_JSON, &status).await.0, expected, "{status:?}");
        }
        assert_eq!(read(Form::STREAM_JSON, &status::wrong_content_type("x")).await.0, 415);
    }
}

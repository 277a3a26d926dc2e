//! The first to see a request: recognises its protocol, passes it to [`Dispatch`], browsers' calls through CORS and
//! gRPC-Web, turns away pages of origins that are not allowed, and says in words what is no call.

use std::{convert::Infallible, sync::Arc};

use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::util::ServiceExt as _;
use tower_http::cors::Cors;
use tower_layer::Layer as _;

use super::{
    Origins,
    backlog::Followed,
    connect::Form,
    context::Connection,
    cors,
    dispatch::{Call, Dispatch},
    parts::InParts,
    protocol::Protocol,
};

const NO_PROTOCOL: &str = "Calls of this content type are not taken. Send JSON, such as: curl -H 'content-type: application/json' -d '{}' \
                           http://ADDRESS/tidings.v1.PublisherService/Publish. Or gRPC over HTTP/2, such as: grpcurl -plaintext ADDRESS list. \
                           Connect (application/json, application/proto, application/connect+json, application/connect+proto) and \
                           gRPC-Web work over HTTP/1.1 as well.\n";
const NO_CALL: &str = "Calls are made by POST.\n";
const FOREIGN_ORIGIN: &str =
    "Pages of this origin may not call this server. Its operator can allow it: --cors-allow-origin ORIGIN\n";

/// The service of every connection.
#[derive(Clone)]
pub(super) struct Front {
    dispatch: Dispatch,
    web: Cors<GrpcWebService<InParts<Dispatch>>>,
    connect: Cors<Dispatch>,
    origins: Arc<Origins>,
}

impl Front {
    pub(super) fn new(dispatch: Dispatch, origins: Origins) -> Self {
        let origins = Arc::new(origins);
        let cors = cors::layer(Arc::clone(&origins));
        let web = cors.layer(GrpcWebLayer::new().layer(InParts(dispatch.clone())));
        Self { connect: cors.layer(dispatch.clone()), dispatch, web, origins }
    }

    /// Answers a request of this connection.
    pub(super) fn call(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Calling {
        let mut request = request.map(|body| Followed::new(body, Arc::clone(connection.backlog())));
        let is_of_page = request.headers().contains_key(header::ORIGIN);
        // Refused whole: a page whose own name leads here (DNS rebinding) would need no permission of CORS. No browser
        // sends two, and what is in between may look at another one than we.
        if is_of_page && !request.headers().get_all(header::ORIGIN).iter().all(|origin| self.origins.allow(origin)) {
            return answer(refuse(StatusCode::FORBIDDEN, FOREIGN_ORIGIN));
        }
        match kind(&request) {
            Kind::Call(Way::Direct(protocol)) if !is_of_page => {
                Either::Left(self.dispatch.call(request, connection, protocol))
            }
            Kind::Call(Way::Direct(protocol @ Protocol::Connect(_))) => {
                request.extensions_mut().insert(protocol);
                request.extensions_mut().insert(Arc::clone(connection));
                Either::Right(Either::Left(Box::pin(self.connect.clone().oneshot(request))))
            }
            Kind::Call(Way::Direct(Protocol::Grpc) | Way::Web) => {
                request.extensions_mut().insert(Arc::clone(connection));
                Either::Right(Either::Left(Box::pin(self.web.clone().oneshot(request))))
            }
            Kind::NoCall => {
                let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, NO_CALL);
                refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
                answer(refused)
            }
            Kind::Other => answer(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_PROTOCOL)),
        }
    }
}

type Answer = Result<Response<Body>, Infallible>;
type Web = Either<BoxFuture<'static, Answer>, Ready<Answer>>;
/// A request that is being answered.
pub(super) type Calling = Either<Call<Followed<Incoming>>, Web>;

/// Which way a call goes to [`Dispatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct(Protocol),
    /// By gRPC-Web, which makes gRPC of it.
    Web,
}

/// Which protocol a request's content type means.
const PROTOCOLS: [(&str, Way); 7] = [
    ("application/grpc", Way::Direct(Protocol::Grpc)),
    ("application/grpc-web", Way::Web),
    ("application/grpc-web-text", Way::Web),
    (Form::UNARY_JSON.content_type(), Way::Direct(Protocol::Connect(Form::UNARY_JSON))),
    (Form::UNARY_PROTOBUF.content_type(), Way::Direct(Protocol::Connect(Form::UNARY_PROTOBUF))),
    (Form::STREAM_JSON.content_type(), Way::Direct(Protocol::Connect(Form::STREAM_JSON))),
    (Form::STREAM_PROTOBUF.content_type(), Way::Direct(Protocol::Connect(Form::STREAM_PROTOBUF))),
];

enum Kind {
    Call(Way),
    /// It says that it is a call, and is no POST.
    NoCall,
    Other,
}

fn kind<B>(request: &Request<B>) -> Kind {
    let content = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    // gRPC is over HTTP/2 alone.
    let is_spoken = |way: &Way| *way != Way::Direct(Protocol::Grpc) || request.version() == Version::HTTP_2;
    match (request.method(), way(content).filter(is_spoken)) {
        // What a page asks before it calls.
        (&Method::OPTIONS, _) => Kind::Call(Way::Web),
        (&Method::POST, Some(way)) => Kind::Call(way),
        (_, Some(_)) => Kind::NoCall,
        (_, None) => Kind::Other,
    }
}

fn way(content: &[u8]) -> Option<Way> {
    PROTOCOLS.into_iter().find(|(kind, way)| is(content, kind, *way)).map(|(_, way)| way)
}

/// Whether a content type is this one, perhaps with parameters after it, or with a message's format (`+proto`), which
/// those of Connect have already.
fn is(content: &[u8], kind: &str, way: Way) -> bool {
    let has_format = matches!(way, Way::Direct(Protocol::Connect(_)));
    content.strip_prefix(kind.as_bytes()).is_some_and(|rest| match rest.first() {
        None | Some(b';' | b' ') => true,
        Some(b'+') => !has_format,
        Some(_) => false,
    })
}

fn refuse(code: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn answer<A, B>(response: Response<Body>) -> Either<A, Either<B, Ready<Answer>>> {
    Either::Right(Either::Right(ready(Ok(response))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_whole_words() {
        let grpc = Some(Way::Direct(Protocol::Grpc));
        let connect = |form| Some(Way::Direct(Protocol::Connect(form)));
        for (content, expected) in [
            ("application/grpc", grpc),
            ("application/grpc+proto", grpc),
            ("application/grpc;charset=utf-8", grpc),
            ("application/grpcx", None),
            ("application/grpc-web", Some(Way::Web)),
            ("application/grpc-web+proto", Some(Way::Web)),
            ("application/grpc-web-text", Some(Way::Web)),
            ("application/grpc-website", None),
            ("application/json", connect(Form::UNARY_JSON)),
            ("application/json; charset=utf-8", connect(Form::UNARY_JSON)),
            ("application/json+x", None),
            ("application/jsonx", None),
            ("application/proto", connect(Form::UNARY_PROTOBUF)),
            ("application/protobuf", None),
            ("application/connect+json", connect(Form::STREAM_JSON)),
            ("application/connect+proto", connect(Form::STREAM_PROTOBUF)),
            ("application/connect", None),
            ("application/connect+x", None),
            ("", None),
        ] {
            assert_eq!(way(content.as_bytes()), expected, "{content:?}");
        }
    }
}

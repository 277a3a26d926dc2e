//! The first to see a request: passes gRPC straight to [`Dispatch`], sends browsers there through CORS and gRPC-Web,
//! turns away pages of origins that are not allowed, and answers HTTP clients that this is no web server.

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
    context::Connection,
    cors,
    dispatch::{Call, Dispatch},
    parts::InParts,
};

const NO_WEB_PAGE: &str =
    "This is a gRPC server: use HTTP/2, or gRPC-Web over HTTP/1.1. Try: grpcurl -plaintext ADDRESS list\n";
const NO_CALL: &str = "gRPC calls are made by POST.\n";
const FOREIGN_ORIGIN: &str =
    "Pages of this origin may not call this server. Its operator can allow it: --cors-allow-origin ORIGIN\n";

/// The service of every connection.
#[derive(Clone)]
pub(super) struct Front {
    grpc: Dispatch,
    web: Cors<GrpcWebService<InParts<Dispatch>>>,
    origins: Arc<Origins>,
}

impl Front {
    pub(super) fn new(grpc: Dispatch, origins: Origins) -> Self {
        let origins = Arc::new(origins);
        let web = cors::layer(Arc::clone(&origins)).layer(GrpcWebLayer::new().layer(InParts(grpc.clone())));
        Self { grpc, web, origins }
    }

    /// Answers a request of this connection.
    pub(super) fn call(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Calling {
        let mut request = request.map(|body| Followed::new(body, Arc::clone(connection.backlog())));
        let is_of_page = request.headers().contains_key(header::ORIGIN);
        // Refused whole: a page whose own name leads here (DNS rebinding) would need no permission of CORS. No browser
        // sends two, and what is in between may look at another one than we.
        if is_of_page && !request.headers().get_all(header::ORIGIN).iter().all(|origin| self.origins.allow(origin)) {
            return refuse(StatusCode::FORBIDDEN, FOREIGN_ORIGIN);
        }
        match kind(&request) {
            Kind::Call(Protocol::Grpc) if !is_of_page => Either::Left(self.grpc.call(request, connection)),
            Kind::Call(Protocol::Grpc | Protocol::Web) => {
                request.extensions_mut().insert(Arc::clone(connection));
                Either::Right(Either::Left(Box::pin(self.web.clone().oneshot(request))))
            }
            Kind::NoCall => refuse(StatusCode::METHOD_NOT_ALLOWED, NO_CALL),
            Kind::Other => refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_WEB_PAGE),
        }
    }
}

type Answer = Result<Response<Body>, Infallible>;
type Web = Either<BoxFuture<'static, Answer>, Ready<Answer>>;
/// A request that is being answered.
pub(super) type Calling = Either<Call<Followed<Incoming>>, Web>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// Over HTTP/2 alone.
    Grpc,
    Web,
}

/// Which protocol a request's content type means.
const PROTOCOLS: [(&str, Protocol); 3] = [
    ("application/grpc", Protocol::Grpc),
    ("application/grpc-web", Protocol::Web),
    ("application/grpc-web-text", Protocol::Web),
];

enum Kind {
    Call(Protocol),
    /// It says that it is a call, and is no POST.
    NoCall,
    Other,
}

fn kind<B>(request: &Request<B>) -> Kind {
    let content = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let protocol =
        protocol(content).filter(|protocol| *protocol != Protocol::Grpc || request.version() == Version::HTTP_2);
    match (request.method(), protocol) {
        // What a page asks before it calls.
        (&Method::OPTIONS, _) => Kind::Call(Protocol::Web),
        (&Method::POST, Some(protocol)) => Kind::Call(protocol),
        (_, Some(_)) => Kind::NoCall,
        (_, None) => Kind::Other,
    }
}

fn protocol(content: &[u8]) -> Option<Protocol> {
    PROTOCOLS.into_iter().find(|(kind, _)| is(content, kind)).map(|(_, protocol)| protocol)
}

/// Whether a content type is this one, perhaps with a message's format (`+proto`) or parameters after it.
fn is(content: &[u8], kind: &str) -> bool {
    content.strip_prefix(kind.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

fn refuse<A, B>(code: StatusCode, text: &'static str) -> Either<A, Either<B, Ready<Answer>>> {
    let body = Body::new(http_body_util::Full::from(text));
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Either::Right(Either::Right(ready(Ok(response))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_whole_words() {
        for (content, expected) in [
            ("application/grpc", Some(Protocol::Grpc)),
            ("application/grpc+proto", Some(Protocol::Grpc)),
            ("application/grpc;charset=utf-8", Some(Protocol::Grpc)),
            ("application/grpcx", None),
            ("application/grpc-web", Some(Protocol::Web)),
            ("application/grpc-web+proto", Some(Protocol::Web)),
            ("application/grpc-web-text", Some(Protocol::Web)),
            ("application/grpc-website", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(protocol(content.as_bytes()), expected, "{content:?}");
        }
    }
}

//! The answer to calls that nothing here serves: where the other service is, or that there is no such method.

use std::{convert::Infallible, net::SocketAddr};

use http::Request;
use tidings::status;
use tonic::{body::Body, service::Routes};
use tower::service_fn;

/// Both services, with what people start to have them.
const SERVICES: [(&str, &str); 2] = [
    ("tidings.v1.PublisherService", "tidings-publisher (port 3000 by default)"),
    ("tidings.v1.SubscriberService", "tidings-subscriber (port 3001 by default)"),
];

/// Adds the answer to the routes of a server that serves `served`.
pub(super) fn add(routes: Routes, served: Vec<&'static str>, elsewhere: Option<SocketAddr>) -> Routes {
    let answer = move |path: &str| {
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let other = SERVICES.iter().find(|(name, _)| *name == service && !served.contains(name));
        match (other, elsewhere) {
            (Some(_), Some(address)) => status::wrong_service(service, &format!("the server at {address}")),
            (Some((_, place)), None) => status::wrong_service(service, place),
            (None, _) => status::unknown_method(path, status::LISTED),
        }
    };
    let fallback = service_fn(move |request: Request<_>| {
        let response = answer(request.uri().path()).into_http::<Body>();
        async move { Ok::<_, Infallible>(respond(request, response)) }
    });
    routes.into_axum_router().fallback_service(fallback).into()
}

/// Names the request's body type, which is the router's own.
fn respond<B>(request: Request<B>, response: http::Response<Body>) -> http::Response<Body> {
    drop(request);
    response
}

//! What the admin listener answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tidings::broker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Hosts, Scrape};
use crate::Readiness;

const TEXT: &str = "text/plain; charset=utf-8";
/// The version is that of the format: Prometheus wants it there.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const FOREIGN_HOST: &str = "This name may not be asked for here: pages in browsers could lead their own names to this address. Its operator can allow it: --admin-allow-host NAME\n";

/// What answers are made of.
pub(super) struct Answers {
    pub(super) scrape: Scrape,
    pub(super) broker: broker::Shared,
    pub(super) readiness: Readiness,
    pub(super) shutdown: CancellationToken,
    pub(super) hosts: Hosts,
    pub(super) since: Instant,
}

impl Answers {
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !self.hosts.allow(request) {
            return text(StatusCode::FORBIDDEN, FOREIGN_HOST.to_owned());
        }
        let (path, method) = (request.uri().path(), request.method());
        if !["/metrics", "/livez", "/readyz"].contains(&path) {
            return text(StatusCode::NOT_FOUND, "There is /metrics, /livez and /readyz here.\n".to_owned());
        }
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here.\n".to_owned());
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/metrics" => {
                let mut metrics = text(StatusCode::OK, self.scrape.text(self.probe_age()));
                metrics.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(METRICS));
                metrics
            }
            "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
            _ => self.ready(),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        if self.shutdown.is_cancelled() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: it is stopping\n".to_owned());
        }
        match self.readiness.now() {
            Ok(()) => {
                let age = self.probe_age().as_secs_f64();
                text(StatusCode::OK, format!("ready: the broker last answered {age:.1} s ago\n"))
            }
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        }
    }

    fn probe_age(&self) -> Duration {
        self.broker.probe_age().unwrap_or_else(|| self.since.elapsed())
    }
}

fn text(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

//! Which pages may call from a browser.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use tidings::limits::PREFLIGHT_AGE;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// The origins that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Pages of this machine: localhost, 127.0.0.1 and `[::1]`, with any scheme and port. The default.
    Localhost,
    /// Just these, such as `https://app.example.com`.
    These(Vec<HeaderValue>),
    /// Every page.
    Any,
}

impl Origins {
    /// Whether a page of this origin may call.
    pub fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Localhost => origin.to_str().is_ok_and(is_localhost),
            Self::These(origins) => origins.contains(origin),
            Self::Any => true,
        }
    }
}

fn is_localhost(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| {
        let rest = authority.strip_prefix(host);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
    })
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// Answers preflights, and lets pages read the headers that gRPC-Web has its status in.
pub(super) fn layer(origins: Arc<Origins>) -> CorsLayer {
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| origins.allow(origin)))
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(PREFLIGHT_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_are_localhost() {
        let allow = |origin: &'static str| Origins::Localhost.allow(&HeaderValue::from_static(origin));
        for good in ["http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:80"] {
            assert!(allow(good), "{good}");
        }
        for bad in ["null", "http://localhost.evil.com", "http://evil.com", "http://localhost:x", "localhost", ""] {
            assert!(!allow(bad), "{bad}");
        }
    }

    #[test]
    fn named_origins_are_matched_whole() {
        let origins = Origins::These(vec![HeaderValue::from_static("https://a.example")]);
        assert!(origins.allow(&HeaderValue::from_static("https://a.example")));
        assert!(!origins.allow(&HeaderValue::from_static("https://a.example.evil")));
        assert!(!origins.allow(&HeaderValue::from_static("http://localhost")));
    }
}

//! Which names the admin listener is asked for by. A page in a browser may lead its own name to this address (DNS
//! rebinding), and would then be of the same origin as what is here; but the name stands in `Host`, and a page can't
//! change that. So only names are answered that no stranger's name server has: addresses, and names that the public DNS
//! does not know.

use std::net::IpAddr;

use http::{HeaderMap, Request, header, uri::Authority};

/// Names that never are in the public DNS, with all below them: RFC 6761, 6762, 8375, and ICANN's `.internal`.
const PRIVATE: [&str; 4] = ["localhost", "local", "internal", "home.arpa"];

/// Names that are allowed besides.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts(Vec<String>);

/// Why a text is no name of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write the name of a host without a port, such as metrics.example.com")]
pub struct InvalidHost;

/// Reads the name of a host.
///
/// # Errors
///
/// It is none, or has a port.
pub fn parse(text: &str) -> Result<String, InvalidHost> {
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match !text.is_empty() && text.len() <= 253 && is_name(text) {
        true => Ok(text.trim_end_matches('.').to_ascii_lowercase()),
        false => Err(InvalidHost),
    }
}

impl Hosts {
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.to_vec())
    }

    /// Whether a request is for a name that may be asked for. One without any comes from no browser.
    pub(super) fn allow<B>(&self, request: &Request<B>) -> bool {
        let of_target = request.uri().authority().is_none_or(|authority| self.is_allowed(authority.as_str()));
        of_target && self.allow_headers(request.headers())
    }

    fn allow_headers(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) => true,
            (Some(host), None) => host.to_str().is_ok_and(|host| self.is_allowed(host)),
            (Some(_), Some(_)) => false,
        }
    }

    fn is_allowed(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let is_below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        // A name of one word has no owner in the public DNS: it is one of this network or of this set of containers.
        let is_one_word = !host.is_empty() && !host.contains(['.', ':']);
        address.parse::<IpAddr>().is_ok() || is_one_word || PRIVATE.into_iter().any(is_below) || self.0.contains(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_stranger_may_own_are_not_answered() {
        let hosts = Hosts::new(&["metrics.example.com".to_owned()]);
        for (host, allowed) in [
            ("127.0.0.1:9100", true),
            ("127.0.0.1", true),
            ("[::1]:9100", true),
            ("localhost:9100", true),
            ("LOCALHOST.", true),
            ("tidings-publisher:9100", true),
            ("a.localhost", true),
            ("tidings.svc.cluster.local:9100", true),
            ("node1.internal", true),
            ("metrics.example.com:9100", true),
            ("Metrics.Example.COM", true),
            ("evil.example:9100", false),
            ("x.metrics.example.com", false),
            ("127.0.0.1.evil.example", false),
            ("notlocalhost.evil", false),
            ("evillocal.example", false),
            ("evil.notlocal", false),
            ("127.0.0.1@evil.example", false),
            ("", false),
            ("::1", false),
            ("a b", false),
        ] {
            assert_eq!(hosts.is_allowed(host), allowed, "{host}");
        }
    }

    #[test]
    fn two_hosts_are_one_too_many_and_the_target_counts_as_well() {
        let request = |uri: &str, hosts: &[&str]| {
            let builder = hosts.iter().fold(Request::get(uri), |builder, host| builder.header(header::HOST, *host));
            builder.body(()).expect("a request")
        };
        let hosts = Hosts::default();
        assert!(hosts.allow(&request("/metrics", &["localhost"])) && hosts.allow(&request("/metrics", &[])));
        assert!(!hosts.allow(&request("/metrics", &["localhost", "evil.example"])));
        assert!(!hosts.allow(&request("/metrics", &["localhost", "localhost"])));
        assert!(!hosts.allow(&request("http://evil.example/metrics", &["localhost"])));
    }

    #[test]
    fn allowed_names_have_no_port() {
        assert_eq!(parse("Metrics.Example.com."), Ok("metrics.example.com".to_owned()));
        for bad in ["", "a:9100", "http://a", "a/b", "*"] {
            assert_eq!(parse(bad), Err(InvalidHost), "{bad}");
        }
    }
}

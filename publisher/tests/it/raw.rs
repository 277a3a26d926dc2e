//! gRPC calls whose bytes the tests write by themselves, since clients do not send what is odd.

use std::{net::SocketAddr, time::Duration};

use h2::client::SendRequest;
use prost::bytes::Bytes;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tonic::{
    Status,
    codegen::http::{HeaderMap, Request},
};

use crate::publish;

/// One HTTP/2 connection.
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    address: SocketAddr,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What a call is answered with.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// The code of HTTP.
    pub(crate) code: u16,
    /// Of the headers those that gRPC knows.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// That of the status.
    pub(crate) reason: String,
}

impl Answer {
    /// The status, in the headers or the trailers.
    pub(crate) fn status(&self) -> String {
        let mut all = self.headers.iter().chain(&self.trailers);
        let status = all.find(|(name, _)| name == "grpc-status").map(|(_, value)| value.clone());
        String::from_utf8(status.expect("a status")).expect("ASCII")
    }

    pub(crate) fn message(&self) -> String {
        let message = self.headers.iter().find(|(name, _)| name == "grpc-message").map(|(_, value)| value.clone());
        String::from_utf8(message.unwrap_or_default()).expect("ASCII")
    }
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// With its last part.
    Last,
    /// By an empty part of its own.
    Empty,
    /// By trailers.
    Trailers,
}

/// A frame of gRPC.
pub(crate) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small");
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("it listens");
        let (send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        let driver = tokio::spawn(async move {
            // A connection that breaks fails its calls.
            let _ = connection.await;
        });
        Self { send, driver, address }
    }

    /// Calls with a body in these parts, a moment apart.
    pub(crate) async fn call(&self, path: &str, headers: &[(&str, &str)], parts: &[Vec<u8>], end: End) -> Answer {
        let called = self.call_as("POST", path, headers, parts, end);
        timeout(Duration::from_secs(10), called).await.expect("an answer in time")
    }

    pub(crate) async fn call_as(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        parts: &[Vec<u8>],
        end: End,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut ready = self.send.clone().ready().await.expect("a connection");
        let (response, mut body) = ready.send_request(request, false).expect("a call");
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let is_last = i + 1 == parts.len() && end == End::Last;
            // A server that has answered takes no more.
            let _ = body.send_data(part.clone().into(), is_last);
        }
        let _ = match end {
            End::Last => Ok(()),
            End::Empty => body.send_data(Bytes::new(), true),
            End::Trailers => body.send_trailers(HeaderMap::new()),
        };
        let response = response.await.expect("a response");
        let code = response.status().as_u16();
        let headers = listed(response.headers());
        let status = Status::from_header_map(response.headers());
        let mut stream = response.into_body();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data.expect("no error");
            stream.flow_control().release_capacity(data.len()).expect("open");
            body.extend_from_slice(&data);
        }
        let trailers = stream.trailers().await.expect("no error").unwrap_or_default();
        let status = status.or_else(|| Status::from_header_map(&trailers));
        let reason = status.as_ref().map(publish::reason).unwrap_or_default();
        Answer { code, headers, body, trailers: listed(&trailers), reason }
    }
}

fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let known = headers.iter().filter(|(name, _)| name.as_str().starts_with("grpc-") || *name == "content-type");
    let mut listed: Vec<_> = known.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    listed.sort();
    if let Some((_, details)) = listed.iter_mut().find(|(name, _)| name == "grpc-status-details-bin") {
        // What a map in them holds comes in any order.
        *details = Status::from_header_map(headers).expect("a status").details().to_vec();
        details.sort_unstable();
    }
    listed
}

//! Calls whose bytes the tests write by themselves, over a connection of HTTP/2: clients send nothing that is odd.

use std::net::{Ipv4Addr, SocketAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use h2::client::{ResponseFuture, SendRequest};
use prost::{
    Message,
    bytes::{BufMut as _, Bytes, BytesMut},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tonic::{
    Code, Status,
    codegen::http::{HeaderMap, HeaderName, HeaderValue, Request, Response},
};

use self::connect::Dialect;
use crate::{TEST_TIMEOUT, reason};

mod connect;

/// Plain gRPC.
pub const GRPC: &str = "application/grpc";
/// As browsers speak it.
pub const WEB: &str = "application/grpc-web+proto";
/// The same as base64.
pub const WEB_TEXT: &str = "application/grpc-web-text+proto";
/// Connect with messages as JSON, and as protobuf. Which content type that is depends on the method.
pub const CONNECT_JSON: &str = "Connect with JSON";
/// See there.
pub const CONNECT_PROTOBUF: &str = "Connect with protobuf";
/// The content type of streams of the former.
pub const CONNECT_JSON_STREAM: &str = "application/connect+json";
/// The flag of a frame in which gRPC-Web has its trailers.
const TRAILERS: u8 = 0x80;

/// A connection.
#[derive(Clone)]
pub struct Wire {
    send: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Wire {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("it listens"), address).await
    }

    /// Connects from another address of the loopback.
    pub async fn open_from(from: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of the loopback");
        Self::over(socket.connect(address).await.expect("it listens"), address).await
    }

    async fn over(socket: TcpStream, address: SocketAddr) -> Self {
        // Without it each window of a large request waits for the kernel's delayed acknowledgement.
        socket.set_nodelay(true).expect("a socket");
        let mut client = h2::client::Builder::new();
        let (send, connection) = client.initial_max_send_streams(1_000).handshake(socket).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { send, address }
    }

    /// Begins a call, whose body is to come.
    pub async fn begin(
        &self,
        path: &str,
        kind: &str,
        headers: &[(&str, &str)],
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let mut request = Request::post(format!("http://{}{path}", self.address));
        // gRPC-Web answers in the form that is accepted.
        for (name, value) in [("content-type", kind), ("accept", kind), ("te", "trailers")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut send = self.send.clone().ready().await.expect("a connection");
        send.send_request(request, false).expect("a call")
    }

    /// What any request is answered with, as HTTP counts it.
    pub async fn code(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> u16 {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut send = self.send.clone().ready().await.expect("a connection");
        let (answer, mut sending) = send.send_request(request, false).expect("a call");
        let _ = sending.send_data(body.into(), true);
        answer.await.expect("a response").status().as_u16()
    }

    /// A whole call: the frames of the answer, and the status. The request and its headers are written as for gRPC.
    pub async fn call(
        &self,
        path: &str,
        kind: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (Vec<Vec<u8>>, Status) {
        if [CONNECT_JSON, CONNECT_PROTOBUF].contains(&kind) {
            let dialect = Dialect::of(path, kind == CONNECT_JSON);
            return self.connect(path, &dialect, headers, dialect.request(&body)).await;
        }
        let (answer, mut sending) = self.begin(path, kind, headers).await;
        // A server that needs no body to refuse a call may have done so.
        let body = if kind == WEB_TEXT { BASE64_STANDARD.encode(body).into() } else { body.into() };
        let _ = sending.send_data(body, true);
        read(answer.await.expect("a response")).await
    }

    /// A call of Connect with this body.
    async fn connect(
        &self,
        path: &str,
        dialect: &Dialect,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (Vec<Vec<u8>>, Status) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| dialect.header(name, value)).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let (answer, mut sending) = self.begin(path, dialect.content_type(), &headers).await;
        let _ = sending.send_data(body.into(), true);
        let answer = answer.await.expect("a response");
        let http_code = answer.status().as_u16();
        dialect.answer(http_code, &all(answer.into_body()).await.0)
    }
}

/// Whether a call of a method has messages in frames or envelopes, so that something can be wrong with those.
pub fn has_frames(path: &str, kind: &str) -> bool {
    ![CONNECT_JSON, CONNECT_PROTOBUF].contains(&kind) || Dialect::of(path, false).is_stream()
}

/// Frames of gRPC, as Connect has them in JSON.
pub fn as_json(path: &str, frames: &[u8]) -> Vec<u8> {
    Dialect::of(path, true).request(frames)
}

/// The code and the reason of a refusal; no reason where it is none.
pub type Refusal = (Code, String);

/// A page's call takes no fast path.
const PAGE: (&str, &str) = ("origin", "http://localhost");

impl Wire {
    /// What is said of a body on each way to a method that takes one request: the fast path where there is one, the
    /// generated server, and gRPC-Web.
    pub async fn on_all_paths(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<Refusal> {
        let mut all = Vec::new();
        for (kind, page) in [(GRPC, None), (GRPC, Some(PAGE)), (WEB, None), (WEB, Some(PAGE))] {
            let headers: Vec<_> = headers.iter().copied().chain(page).collect();
            let call = self.call(path, kind, &headers, body.to_vec());
            all.push(refusal(&timeout(TEST_TIMEOUT, call).await.expect("in time").1));
        }
        all
    }
}

/// What a status refuses; its message must say something.
pub fn refusal(status: &Status) -> Refusal {
    assert!(status.message().len() > 10 || status.code() == Code::Ok, "{status:?}");
    let reason = if status.code() == Code::Ok { String::new() } else { reason(status) };
    (status.code(), reason)
}

/// A message in its frame.
pub fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    framed(0, message.len(), &message).to_vec()
}

/// A frame of gRPC that claims a length.
pub fn framed(flag: u8, claimed: usize, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + bytes.len());
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(claimed).expect("small"));
    frame.put_slice(bytes);
    frame.freeze()
}

/// How a call ended.
pub async fn end(answer: ResponseFuture) -> Status {
    read(answer.await.expect("a response")).await.1
}

/// All of a body, and its trailers.
async fn all(mut body: h2::RecvStream) -> (Vec<u8>, HeaderMap) {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("no error");
        let _ = body.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    (all, body.trailers().await.expect("no error").unwrap_or_default())
}

async fn read(answer: Response<h2::RecvStream>) -> (Vec<Vec<u8>>, Status) {
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return (Vec::new(), status);
    }
    let is_text = answer.headers().get("content-type").is_some_and(|kind| kind == WEB_TEXT);
    let (mut all, mut trailers) = all(answer.into_body()).await;
    if is_text {
        all = from_text(&all);
    }
    let mut frames = Vec::new();
    let mut rest = &all[..];
    while let Some((prefix, after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let (frame, next) = after.split_at(length);
        if prefix[0] == TRAILERS {
            trailers = headers(std::str::from_utf8(frame).expect("text"));
        } else {
            frames.push(frame.to_vec());
        }
        rest = next;
    }
    (frames, Status::from_header_map(&trailers).expect("a status"))
}

/// Base64 whose parts were encoded by themselves: each ends where its padding does.
fn from_text(text: &[u8]) -> Vec<u8> {
    let quads = text.chunks(4).map(|quad| BASE64_STANDARD.decode(quad).expect("base64"));
    quads.flatten().collect()
}

/// Those that are in lines.
fn headers(lines: &str) -> HeaderMap {
    let lines = lines.lines().filter_map(|line| line.split_once(':'));
    let parse = |(name, value): (&str, &str)| {
        (name.parse::<HeaderName>().expect("a name"), value.trim().parse::<HeaderValue>().expect("a value"))
    };
    lines.map(parse).collect()
}

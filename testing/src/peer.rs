//! A peer that speaks HTTP/2 by hand over a plain socket, and so can do what no library does: stop reading it, go away
//! in the middle of a word, or promise windows that it never means to use.

use std::net::{Ipv4Addr, SocketAddr};

use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    TEST_TIMEOUT,
    wire::{CONNECT_JSON_STREAM, as_json},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const GRPC: &str = "application/grpc";
/// The largest window that HTTP/2 knows.
const WINDOW: u32 = (1 << 31) - 1;
/// What a connection's window is before it is enlarged.
const FIRST_WINDOW: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CANCEL: u32 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One end of a connection.
pub struct Peer(TcpStream);

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Bytes of its payload.
    pub length: usize,
}

impl Frame {
    /// Whether the server ends the connection.
    pub fn is_goaway(&self) -> bool {
        self.kind == GOAWAY
    }

    /// Whether the server gives its stream up.
    pub fn is_reset(&self) -> bool {
        self.kind == RST_STREAM
    }

    /// Whether nothing comes behind it on its stream.
    pub fn ends_its_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

impl Peer {
    /// Connects and says nothing. The kernel holds little for it, so that its socket is soon full when it does not
    /// read.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, address).await
    }

    /// The same from another address of the loopback.
    pub async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of the loopback");
        socket.set_recv_buffer_size(8 << 10).expect("a size");
        Self(timeout(TEST_TIMEOUT, socket.connect(address)).await.expect("in time").expect("it listens"))
    }

    /// Says these bytes, whatever they are.
    pub async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the server reads");
    }

    /// Says these bytes; whether they were taken.
    pub async fn try_say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// The bytes of a frame.
    pub fn frame_of(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put(&mut frame, kind, 0, stream, payload);
        frame
    }

    /// A hello that lets the server send as much as it likes.
    pub fn hello() -> Vec<u8> {
        Self::hello_of_window(WINDOW)
    }

    /// A hello that lets the server send so much on each stream.
    pub fn hello_of_window(window: u32) -> Vec<u8> {
        let mut hello = PREFACE.to_vec();
        let initial_window_size = [&[0, 4][..], &window.to_be_bytes()].concat();
        put(&mut hello, SETTINGS, 0, 0, &initial_window_size);
        put(&mut hello, WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes());
        hello
    }

    /// Says hello.
    pub async fn greet(&mut self) {
        self.say(&Self::hello()).await;
    }

    /// Calls a method with one message. Streams have odd numbers.
    pub async fn call(&mut self, stream: u32, path: &str, request: &impl Message) {
        self.call_as((GRPC, GRPC), stream, path, request).await;
    }

    /// The same with a content type of its own for the request, and one that is wanted for the answer.
    pub async fn call_as(&mut self, kinds: (&str, &str), stream: u32, path: &str, request: &impl Message) {
        self.say(&call_of(kinds, stream, path, request)).await;
    }

    /// The bytes of a call with one message.
    pub fn call_of(stream: u32, path: &str, request: &impl Message) -> Vec<u8> {
        call_of((GRPC, GRPC), stream, path, request)
    }

    /// Begins a call, whose messages are to come.
    pub async fn open(&mut self, stream: u32, path: &str) {
        let mut frame = Vec::new();
        put(&mut frame, HEADERS, END_HEADERS, stream, &head(path, (GRPC, GRPC)));
        self.say(&frame).await;
    }

    /// Sends the same bytes on a call so many times, each in a frame of its own.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], times: usize) {
        let mut frame = Vec::new();
        put(&mut frame, DATA, 0, stream, bytes);
        self.say(&frame.repeat(times)).await;
    }

    /// Ends the requests of a call.
    pub async fn end(&mut self, stream: u32) {
        let mut frame = Vec::new();
        put(&mut frame, DATA, END_STREAM, stream, &[]);
        self.say(&frame).await;
    }

    /// The next frame, or `None` where the connection has ended. Settings and pings are answered and not shown.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            timeout(TEST_TIMEOUT, self.0.read_exact(&mut head)).await.expect("a frame in time").ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            timeout(TEST_TIMEOUT, self.0.read_exact(&mut payload)).await.expect("all of it in time").ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut answer = Vec::new();
            match (head[3], head[4] & ACK) {
                (SETTINGS, 0) => put(&mut answer, SETTINGS, ACK, 0, &[]),
                (PING, 0) => put(&mut answer, PING, ACK, 0, &payload),
                (SETTINGS | PING | WINDOW_UPDATE, _) => continue,
                (kind, _) => return Some(Frame { kind, flags: head[4], stream, length }),
            }
            // A client that has gone does not need it.
            let _ = self.0.write_all(&answer).await;
        }
    }

    /// Waits until a stream has its first data.
    pub async fn first_data(&mut self, stream: u32) {
        loop {
            let frame = self.frame().await.expect("the connection continues");
            if frame.stream == stream && frame.kind == DATA {
                return;
            }
        }
    }

    /// Cancels a call.
    pub async fn cancel(&mut self, stream: u32) {
        let mut frame = Vec::new();
        put(&mut frame, RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        self.say(&frame).await;
    }

    /// Calls a method so many times, and cancels each call at once, all in one breath. Says whether the server took all
    /// of it.
    pub async fn call_and_cancel(&mut self, first: u32, calls: u32, path: &str) -> bool {
        let mut frames = Vec::new();
        for call in 0..calls {
            let stream = first + 2 * call;
            put(&mut frames, HEADERS, END_HEADERS, stream, &head(path, (GRPC, GRPC)));
            put(&mut frames, RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        }
        self.0.write_all(&frames).await.is_ok()
    }

    /// Says goodbye as HTTP/2 wants it, and closes the connection.
    pub async fn say_goodbye(mut self) {
        let mut frame = Vec::new();
        put(&mut frame, GOAWAY, 0, 0, &[0; 8]);
        self.say(&frame).await;
        self.0.shutdown().await.expect("the connection was open");
        while self.frame().await.is_some() {}
    }

    /// Goes away with a TCP reset, as a crashed host's successor does.
    pub fn reset(self) {
        self.0.set_zero_linger().expect("a socket");
    }
}

fn call_of(kinds: (&str, &str), stream: u32, path: &str, request: &impl Message) -> Vec<u8> {
    let mut frames = Vec::new();
    put(&mut frames, HEADERS, END_HEADERS, stream, &head(path, kinds));
    let mut message = vec![0];
    message.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
    message.extend_from_slice(&request.encode_to_vec());
    let body = if kinds.0 == CONNECT_JSON_STREAM { as_json(path, &message) } else { message };
    put(&mut frames, DATA, END_STREAM, stream, &body);
    frames
}

/// The headers of a call.
fn head(path: &str, (content_type, accept): (&str, &str)) -> Vec<u8> {
    let mut head = vec![0x83, 0x86];
    let names = [&[0x04][..], &[0x01], &[0x0f, 0x10], &[0x0f, 0x04]];
    for (name, value) in names.into_iter().zip([path, "it", content_type, accept]) {
        head.extend_from_slice(name);
        literal(&mut head, value);
    }
    head.push(0);
    literal(&mut head, "te");
    literal(&mut head, "trailers");
    head
}

fn put(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// A text of HPACK, as it is.
fn literal(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).expect("short"));
    to.extend_from_slice(text.as_bytes());
}

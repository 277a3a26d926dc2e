//! Many streams of the subscriber on one connection, read as bare Redis subscribers are: large reads into one buffer, and HTTP/2's
//! frames taken apart where they lie (RFC 9113, as much of it as a reader of streams needs). A full client took more of
//! the processors than the subscriber did.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tidings::pb::StreamMessagesRequest;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    Reader,
    frames::{Frames, Order},
    grpc::{CONNECTION_WINDOW_BYTES, STREAM_MESSAGES, STREAM_WINDOW_BYTES, framed},
    resp::{connect, read},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Flags. The first is `ACK` of settings and pings.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// The window that every connection begins with.
const FIRST_WINDOW_BYTES: u32 = 65_535;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Some streams on one channel, on a connection of their own.
pub(crate) struct Streams {
    socket: TcpStream,
    session: Session,
}

/// What was read of a connection.
#[derive(Default)]
struct Session {
    /// A frame that has arrived in part, unless it is data.
    part: Vec<u8>,
    /// The stream whose data comes now, and how much of it is still to come.
    data: Option<(usize, usize)>,
    streams: Vec<Stream>,
    /// Taken off the connection's window and not given back yet.
    taken: u32,
    /// To be sent.
    out: Vec<u8>,
}

struct Stream {
    frames: Frames,
    accepted: bool,
    /// Taken off its window and not given back yet.
    taken: u32,
}

impl Streams {
    /// Opens so many, and waits until all are accepted: whatever is published from then on will arrive.
    pub(crate) async fn open(
        address: SocketAddr,
        request: &StreamMessagesRequest,
        count: usize,
        order: Order,
    ) -> anyhow::Result<Self> {
        let mut session = Session::default();
        session.out.extend_from_slice(PREFACE);
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &STREAM_WINDOW_BYTES.to_be_bytes()].concat();
        session.send(SETTINGS, 0, 0, &setting);
        session.give(0, CONNECTION_WINDOW_BYTES - FIRST_WINDOW_BYTES);
        let (headers, body) = (headers(&address.to_string()), framed(request));
        for n in 0..count {
            session.send(HEADERS, END_HEADERS, number(n), &headers);
            session.send(DATA, END_STREAM, number(n), &body);
            session.streams.push(Stream { frames: Frames::new(order), accepted: false, taken: 0 });
        }
        let mut streams = Self { socket: connect(address).await?, session };
        while !streams.session.streams.iter().all(|stream| stream.accepted) {
            streams.flush().await?;
            streams.more().await?;
        }
        Ok(streams)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(&self.session.out).await?;
        self.session.out.clear();
        Ok(())
    }
}

impl Reader for Streams {
    async fn more(&mut self) -> anyhow::Result<u64> {
        read(&self.socket, |bytes| self.session.take(bytes)).await?;
        if !self.session.out.is_empty() {
            self.flush().await?;
        }
        Ok(self.session.streams.iter().map(|stream| stream.frames.seen).min().unwrap_or_default())
    }

    fn streams(&self) -> u64 {
        self.session.streams.len() as u64
    }
}

/// The number of the nth stream: those of clients are odd.
fn number(n: usize) -> u32 {
    n as u32 * 2 + 1
}

/// The request's headers in HPACK: by their place in its static table, or as they are.
fn headers(authority: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    const METHOD_POST: u8 = 0x83;
    const SCHEME_HTTP: u8 = 0x86;
    const PATH: u8 = 4;
    const AUTHORITY: u8 = 1;
    const CONTENT_TYPE: [u8; 2] = [0x0f, 31 - 0x0f];
    const OTHER: u8 = 0;
    [
        &[METHOD_POST, SCHEME_HTTP, PATH][..],
        &text(STREAM_MESSAGES),
        &[AUTHORITY],
        &text(authority),
        &CONTENT_TYPE,
        &text("application/grpc"),
        &[OTHER],
        &text("te"),
        &text("trailers"),
    ]
    .concat()
}

impl Session {
    fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            if let Some((n, left)) = self.data {
                let (some, rest) = bytes.split_at(left.min(bytes.len()));
                self.streams[n].frames.take(some)?;
                self.data = (some.len() < left).then_some((n, left - some.len()));
                bytes = rest;
                continue;
            }
            let wanted = match self.part.first_chunk::<HEADER_BYTES>() {
                Some(header) => HEADER_BYTES + length(header),
                None => HEADER_BYTES,
            };
            let (some, rest) = bytes.split_at(bytes.len().min(wanted - self.part.len()));
            self.part.extend_from_slice(some);
            bytes = rest;
            self.frame()?;
        }
        Ok(())
    }

    /// Looks at the frame in hand, if there is enough of it.
    fn frame(&mut self) -> anyhow::Result<()> {
        let Some(&header) = self.part.first_chunk::<HEADER_BYTES>() else { return Ok(()) };
        let (length, [.., kind, flags, a, b, c, d]) = (length(&header), header);
        let n = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(1) / 2;
        if kind == DATA {
            ensure!(flags & (END_STREAM | PADDED) == 0, "stream {n} ended");
            self.part.clear();
            self.data = (length > 0).then_some((n, length));
            return self.taken(n, length as u32);
        }
        if self.part.len() < HEADER_BYTES + length {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, &part[HEADER_BYTES..]),
            // Trailers: what went wrong is packed into them.
            HEADERS if flags & END_STREAM != 0 => bail!("stream {n} ended, or was refused"),
            HEADERS => self.streams.get_mut(n).context("an unknown stream")?.accepted = true,
            RST_STREAM | GOAWAY => bail!("the connection or stream {n} was cut: {:?}", &part[HEADER_BYTES..]),
            _ => {}
        }
        Ok(())
    }

    /// Gives windows back when half of them is taken.
    fn taken(&mut self, n: usize, bytes: u32) -> anyhow::Result<()> {
        let stream = self.streams.get_mut(n).context("an unknown stream")?;
        stream.taken += bytes;
        self.taken += bytes;
        if stream.taken > STREAM_WINDOW_BYTES / 2 {
            let taken = std::mem::take(&mut stream.taken);
            self.give(number(n), taken);
        }
        if self.taken > CONNECTION_WINDOW_BYTES / 2 {
            let taken = std::mem::take(&mut self.taken);
            self.give(0, taken);
        }
        Ok(())
    }

    fn give(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }
}

fn length(header: &[u8; HEADER_BYTES]) -> usize {
    u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize
}

#[cfg(test)]
mod tests;

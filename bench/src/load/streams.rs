//! Many streams of the subscriber on one connection, read as bare Redis subscribers are: large reads into one buffer,
//! whose frames are followed where they lie.

use anyhow::{Context as _, bail, ensure};
use tidings::pb::StreamMessagesRequest;
use tokio::io::AsyncWriteExt as _;

use super::{
    Reader,
    frames::{Frames, Order},
    grpc::{CONNECTION_WINDOW_BYTES, STREAM_MESSAGES, STREAM_WINDOW_BYTES, framed},
    http2::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, Parser, Part, RST_STREAM, SETTINGS, give,
        greet, headers, put,
    },
    target::{Socket, Target},
};

/// Some streams on one channel, on a connection of their own.
pub(crate) struct Streams {
    socket: Socket,
    session: Session,
}

/// What was read of a connection.
#[derive(Default)]
struct Session {
    parser: Parser,
    state: State,
}

#[derive(Default)]
struct State {
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
        target: &Target,
        request: &StreamMessagesRequest,
        count: usize,
        order: Order,
    ) -> anyhow::Result<Self> {
        let mut state = State::default();
        greet(&mut state.out);
        let (headers, body) = (headers(target, STREAM_MESSAGES), framed(request));
        for n in 0..count {
            put(&mut state.out, HEADERS, END_HEADERS, number(n), &headers);
            put(&mut state.out, DATA, END_STREAM, number(n), &body);
            state.streams.push(Stream { frames: Frames::new(order), accepted: false, taken: 0 });
        }
        let session = Session { parser: Parser::default(), state };
        let mut streams = Self { socket: target.connect().await?, session };
        while !streams.session.state.streams.iter().all(|stream| stream.accepted) {
            streams.flush().await?;
            streams.more().await?;
        }
        Ok(streams)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(&self.session.state.out).await?;
        // TLS takes bytes before the socket does.
        self.socket.flush().await?;
        self.session.state.out.clear();
        Ok(())
    }
}

impl Reader for Streams {
    async fn more(&mut self) -> anyhow::Result<u64> {
        self.socket.read(|bytes| self.session.take(bytes)).await?;
        if !self.session.state.out.is_empty() {
            self.flush().await?;
        }
        Ok(self.session.state.streams.iter().map(|stream| stream.frames.seen).min().unwrap_or_default())
    }

    fn streams(&self) -> u64 {
        self.session.state.streams.len() as u64
    }
}

/// The number of the nth stream: those of clients are odd.
fn number(n: usize) -> u32 {
    n as u32 * 2 + 1
}

impl Session {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.parser.take(bytes, |part| self.state.take(part))
    }
}

impl State {
    fn take(&mut self, part: Part<'_>) -> anyhow::Result<()> {
        match part {
            Part::Data { stream, bytes } => self.stream(stream)?.frames.take(bytes)?,
            Part::Begins { stream, flags, length } => {
                ensure!(flags & (END_STREAM | PADDED) == 0, "stream {stream} ended");
                self.taken(stream, length)?;
            }
            Part::Frame { kind: SETTINGS, flags, .. } if flags & ACK == 0 => put(&mut self.out, SETTINGS, ACK, 0, &[]),
            Part::Frame { kind: PING, flags, payload, .. } if flags & ACK == 0 => {
                put(&mut self.out, PING, ACK, 0, payload)
            }
            // Trailers: what went wrong is packed into them.
            Part::Frame { kind: HEADERS, flags, stream, .. } if flags & END_STREAM != 0 => {
                bail!("stream {stream} ended, or was refused")
            }
            Part::Frame { kind: HEADERS, stream, .. } => self.stream(stream)?.accepted = true,
            Part::Frame { kind: RST_STREAM | GOAWAY, stream, payload, .. } => {
                bail!("the connection or stream {stream} was cut: {payload:?}")
            }
            Part::Frame { .. } => {}
        }
        Ok(())
    }

    fn stream(&mut self, number: u32) -> anyhow::Result<&mut Stream> {
        self.streams.get_mut((number as usize).saturating_sub(1) / 2).context("an unknown stream")
    }

    /// Gives windows back when half of them is taken.
    fn taken(&mut self, number: u32, bytes: u32) -> anyhow::Result<()> {
        self.taken += bytes;
        if self.taken > CONNECTION_WINDOW_BYTES / 2 {
            give(&mut self.out, 0, std::mem::take(&mut self.taken));
        }
        let stream = self.stream(number)?;
        stream.taken += bytes;
        if stream.taken > STREAM_WINDOW_BYTES / 2 {
            let taken = std::mem::take(&mut stream.taken);
            give(&mut self.out, number, taken);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

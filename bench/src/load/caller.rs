//! Lone calls, written as bytes when they are begun: what a client's own layers take is not part of what is measured,
//! as it is not with a bare Redis client.

use std::collections::HashSet;

use anyhow::{bail, ensure};
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    frames::frame_bytes,
    http2::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, Parser, Part, RST_STREAM, SETTINGS, give, greet,
        headers_in_turn, put,
    },
    publishing::receipt,
    resp::{connect, read},
    target::Target,
};

/// Calls a method again and again.
pub(crate) struct Caller {
    socket: OwnedWriteHalf,
    /// Of its first call, and of all others.
    headers: [Vec<u8>; 2],
    stream: u32,
    out: Vec<u8>,
}

/// What is answered to a caller.
pub(crate) struct Answers {
    socket: OwnedReadHalf,
    parser: Parser,
    state: State,
}

#[derive(Default)]
struct State {
    /// A message as it comes.
    message: Vec<u8>,
    /// Calls whose message has come, and their status not yet.
    open: HashSet<u32>,
    done: usize,
    /// The greatest sequence.
    last: u64,
}

/// Room for all answers of a measurement, so that none need be given back.
const WINDOW_BYTES: u32 = 1 << 30;

/// Calls a method of a server.
pub(crate) async fn open(target: &Target, path: &str) -> anyhow::Result<(Caller, Answers)> {
    ensure!(target.tls.is_none(), "lone calls are made in plain text");
    let socket: TcpStream = connect(target.address).await?;
    let (reader, writer) = socket.into_split();
    let mut out = Vec::new();
    greet(&mut out);
    give(&mut out, 0, WINDOW_BYTES);
    put(&mut out, SETTINGS, ACK, 0, &[]);
    let headers = [true, false].map(|is_first| headers_in_turn(target, path, is_first));
    let caller = Caller { socket: writer, headers, stream: 1, out };
    Ok((caller, Answers { socket: reader, parser: Parser::default(), state: State::default() }))
}

impl Caller {
    /// Begins a call with a framed message.
    pub(crate) async fn call(&mut self, message: &[u8]) -> anyhow::Result<()> {
        self.add(message);
        self.leave().await
    }

    /// Adds a call to what leaves next.
    pub(crate) fn add(&mut self, message: &[u8]) {
        let headers = &self.headers[usize::from(self.stream > 1)];
        put(&mut self.out, HEADERS, END_HEADERS, self.stream, headers);
        put(&mut self.out, DATA, END_STREAM, self.stream, message);
        self.stream += 2;
    }

    /// Lets what was added leave.
    pub(crate) async fn leave(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }
}

impl Answers {
    /// Reads so many answers, each of which must be a receipt.
    pub(crate) async fn read(mut self, count: usize) -> anyhow::Result<()> {
        while self.state.done < count {
            self.more().await?;
        }
        Ok(())
    }

    /// Waits for more, and answers how many there were in all, and the greatest sequence among them.
    pub(crate) async fn more(&mut self) -> anyhow::Result<(u64, u64)> {
        read(self.socket.as_ref(), |bytes| self.parser.take(bytes, |part| self.state.take(part))).await?;
        Ok((self.state.done as u64, self.state.last))
    }
}

impl State {
    fn take(&mut self, part: Part<'_>) -> anyhow::Result<()> {
        match part {
            Part::Begins { flags, .. } => ensure!(flags & PADDED == 0, "padded data"),
            Part::Data { stream, bytes } => {
                self.message.extend_from_slice(bytes);
                if frame_bytes(&self.message) == Some(self.message.len()) {
                    self.last = self.last.max(receipt(&self.message)?);
                    self.message.clear();
                    self.open.insert(stream);
                }
            }
            // Without a message before them, trailers say what went wrong.
            Part::Frame { kind: HEADERS, flags, stream, .. } if flags & END_STREAM != 0 => {
                ensure!(self.open.remove(&stream), "call {stream} failed");
                self.done += 1;
            }
            Part::Frame { kind: RST_STREAM | GOAWAY, payload, .. } => bail!("the call was cut: {payload:?}"),
            Part::Frame { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidings::pb::PublishResponse;

    use super::*;
    use crate::load::grpc::framed;

    fn take(frames: &[(u8, u8, u32, &[u8])]) -> anyhow::Result<usize> {
        let (mut parser, mut state, mut sent) = (Parser::default(), State::default(), Vec::new());
        frames.iter().for_each(|(kind, flags, stream, payload)| put(&mut sent, *kind, *flags, *stream, payload));
        for piece in sent.chunks(7) {
            parser.take(piece, |part| state.take(part))?;
        }
        Ok(state.done)
    }

    #[test]
    fn an_answer_is_a_receipt_and_its_trailers_and_anything_else_an_error() {
        let receipt = framed(&PublishResponse { sequence: 7, ..PublishResponse::default() });
        let (begin, end) = ((HEADERS, END_HEADERS), (HEADERS, END_HEADERS | END_STREAM));
        let whole = |stream| {
            [(begin.0, begin.1, stream, &[0x88][..]), (DATA, 0, stream, &receipt), (end.0, end.1, stream, &[])]
        };
        assert_eq!(take(&[whole(1), whole(3)].concat()).expect("two answers"), 2);
        let [a, b] = [whole(1), whole(3)];
        assert_eq!(take(&[a[0], b[0], b[1], a[1], a[2], b[2]]).expect("in turns"), 2);
        assert!(take(&[(end.0, end.1, 1, &[0x88])]).is_err(), "trailers only");
        assert!(take(&[a[0], (DATA, 0, 1, &[0, 0, 0, 0, 0]), a[2]]).is_err(), "no sequence");
        assert!(take(&[(GOAWAY, 0, 0, &[0; 8])]).is_err());
    }
}

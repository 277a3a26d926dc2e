//! HTTP/2 by hand (RFC 9113), as much of it as clients need that know what they will be sent: frames are taken apart
//! where they lie. A full client took more of the processors than the servers did.

use super::{
    grpc::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES},
    target::Target,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
/// Flags. The first is `ACK` of settings and pings.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
/// The window that every connection begins with.
const FIRST_WINDOW_BYTES: u32 = 65_535;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Where the first header that a client adds to HPACK's table is found from then on: after the static ones (RFC 7541,
/// 2.3.3), as a whole field (6.1).
const FIRST_ADDED: u8 = 0x80 | 62;

/// The request's headers in HPACK: by their index in its static table, or as they are. The token is added to the
/// table with the first call of a connection, and found there with all others (`is_first`), as most clients do it.
pub(super) fn headers_in_turn(target: &Target, path: &str, is_first: bool) -> Vec<u8> {
    let mut headers = headers(&Target { token: None, ..target.clone() }, path);
    // A literal that is added to the table, RFC 7541, 6.2.1, with a name of the static one.
    const ADDED_AUTHORIZATION: u8 = 0x40 | 23;
    match &target.token {
        Some(token) if is_first => {
            headers.push(ADDED_AUTHORIZATION);
            headers.extend(text(token.to_str().unwrap_or_default()));
        }
        Some(_) => headers.push(FIRST_ADDED),
        None => {}
    }
    headers
}

/// The request's headers in HPACK: by their index in its static table, or as they are.
pub(super) fn headers(target: &Target, path: &str) -> Vec<u8> {
    let authority = target.address.to_string();
    const METHOD_POST: u8 = 0x83;
    let scheme = if target.tls.is_some() { 0x87 } else { 0x86 };
    const PATH: u8 = 4;
    const AUTHORITY: u8 = 1;
    const CONTENT_TYPE: [u8; 2] = [0x0f, 31 - 0x0f];
    const AUTHORIZATION: [u8; 2] = [0x0f, 23 - 0x0f];
    const OTHER: u8 = 0;
    let mut headers = [
        &[METHOD_POST, scheme, PATH][..],
        &text(path),
        &[AUTHORITY],
        &text(&authority),
        &CONTENT_TYPE,
        &text("application/grpc"),
        &[OTHER],
        &text("te"),
        &text("trailers"),
    ]
    .concat();
    if let Some(token) = &target.token {
        headers.extend_from_slice(&AUTHORIZATION);
        headers.extend(text(token.to_str().unwrap_or_default()));
    }
    headers
}

/// A text in HPACK, as it is: its length (RFC 7541, 5.1, with a prefix of 7 bits), and its bytes.
fn text(text: &str) -> Vec<u8> {
    const PREFIX: usize = 0x7f;
    let mut bytes = vec![text.len().min(PREFIX) as u8];
    if let Some(mut rest) = text.len().checked_sub(PREFIX) {
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Appends what a client says first.
pub(super) fn greet(out: &mut Vec<u8>) {
    out.extend_from_slice(PREFACE);
    put(out, SETTINGS, 0, 0, &[&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &STREAM_WINDOW_BYTES.to_be_bytes()].concat());
    give(out, 0, CONNECTION_WINDOW_BYTES - FIRST_WINDOW_BYTES);
}

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends a window's update.
pub(super) fn give(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    put(out, WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// What a server sent.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// Data of so many bytes begins.
    Begins { stream: u32, flags: u8, length: u32 },
    /// Some of it.
    Data { stream: u32, bytes: &'a [u8] },
    /// Any other frame.
    Frame { kind: u8, flags: u8, stream: u32, payload: &'a [u8] },
}

/// Bytes in, parts out.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// A frame that has arrived in part, unless it is data.
    part: Vec<u8>,
    /// The stream whose data comes now, and how much of it is still to come.
    data: Option<(u32, usize)>,
}

impl Parser {
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(Part<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            if let Some((stream, left)) = self.data {
                let (some, rest) = bytes.split_at(left.min(bytes.len()));
                on(Part::Data { stream, bytes: some })?;
                self.data = (some.len() < left).then_some((stream, left - some.len()));
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
            self.frame(&mut on)?;
        }
        Ok(())
    }

    /// Looks at the frame in hand, if there is enough of it.
    fn frame(&mut self, on: &mut impl FnMut(Part<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(&header) = self.part.first_chunk::<HEADER_BYTES>() else { return Ok(()) };
        let (length, [.., kind, flags, a, b, c, d]) = (length(&header), header);
        let stream = u32::from_be_bytes([a, b, c, d]);
        if kind == DATA {
            self.part.clear();
            self.data = (length > 0).then_some((stream, length));
            return on(Part::Begins { stream, flags, length: length as u32 });
        }
        if self.part.len() < HEADER_BYTES + length {
            return Ok(());
        }
        let result = on(Part::Frame { kind, flags, stream, payload: &self.part[HEADER_BYTES..] });
        self.part.clear();
        result
    }
}

fn length(header: &[u8; HEADER_BYTES]) -> usize {
    u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize
}

//! A connection whose bytes we read ourselves: commands out, replies in. Live connections are such, and the one over
//! which long parts of logs are read.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Duration, timeout},
};

use super::{
    ServerUrl,
    error::Said,
    net::{OwnedReadHalf, OwnedWriteHalf, TcpStream},
    resp::{Decoder, Reply},
};

pub(super) struct RespConnection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    out: BytesMut,
    read_bytes: usize,
    /// How long a write may take.
    write_timeout: Duration,
}

impl RespConnection {
    /// Connects to a primary and greets it under a name, which `CLIENT LIST` shows. Reads take so many bytes at a time.
    pub(super) async fn open(
        url: &ServerUrl,
        name: &str,
        read_bytes: usize,
        write_timeout: Duration,
    ) -> Result<Self, String> {
        let socket = TcpStream::connect(url.address()).await.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let (reader, writer) = socket.into_split();
        let mut connection =
            Self { reader, writer, decoder: Decoder::default(), out: BytesMut::new(), read_bytes, write_timeout };
        match url.credentials() {
            Some((user, password)) => connection.command(&["HELLO", "3", "AUTH", user, password, "SETNAME", name]),
            None => connection.command(&["HELLO", "3", "SETNAME", name]),
        }
        connection.command(&["SELECT", &url.database().to_string()]);
        connection.flush().await?;
        for _ in 0..2 {
            match connection.reply().await? {
                Reply::Error(text) => return Err(words(&text)),
                // Known before anything is asked: as long as the name leads to a replica, there is no session.
                Reply::List(greeting) if !is_primary(&greeting) => return Err(words(b"READONLY")),
                _ => {}
            }
        }
        Ok(connection)
    }

    /// What was read and not taken.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.decoder.buffer()
    }

    /// The channel and the payload of a message, where one is next and there as a whole.
    pub(super) fn next_message(&mut self) -> Option<(Bytes, Bytes)> {
        self.decoder.next_message()
    }

    /// The next reply that is there as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, String> {
        self.decoder.next().map_err(|error| error.to_string())
    }

    /// Waits for the next reply.
    pub(super) async fn reply(&mut self) -> Result<Reply, String> {
        loop {
            if let Some(reply) = self.next()? {
                return Ok(reply);
            }
            if !self.read().await? {
                return Err("it closed the connection".to_owned());
            }
        }
    }

    /// Reads what is there, and waits for something when nothing is. False at the end.
    pub(super) async fn read(&mut self) -> Result<bool, String> {
        self.decoder.buffer().reserve(self.read_bytes);
        let read = self.reader.read_buf(self.decoder.buffer()).await;
        read.map(|bytes| bytes > 0).map_err(|error| error.to_string())
    }

    /// Appends a command to those that wait for [`flush`](Self::flush).
    pub(super) fn command(&mut self, words: &[&str]) {
        put_array(&mut self.out, words.len());
        for word in words {
            put_text(&mut self.out, word);
        }
    }

    /// For callers that read and write at the same time.
    pub(super) fn into_parts(self) -> (OwnedReadHalf, Decoder, OwnedWriteHalf) {
        (self.reader, self.decoder, self.writer)
    }

    pub(super) async fn flush(&mut self) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = self.out.split().freeze();
        match timeout(self.write_timeout, self.writer.write_all(&out)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("it takes no commands".to_owned()),
        }
    }
}

/// The beginning of a command of so many words.
pub(super) fn put_array(out: &mut BytesMut, words: usize) {
    put_count(out, b'*', words);
}

/// A word.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
    put_end(out);
}

/// A number, which is a word as well.
pub(super) fn put_number(out: &mut BytesMut, number: impl itoa::Integer) {
    put_text(out, itoa::Buffer::new().format(number));
}

/// The beginning of a word of so many bytes, which [`put_end`] ends.
pub(super) fn put_length(out: &mut BytesMut, bytes: usize) {
    put_count(out, b'$', bytes);
}

/// The end of a word.
pub(super) fn put_end(out: &mut BytesMut) {
    out.extend_from_slice(b"\r\n");
}

fn put_count(out: &mut BytesMut, kind: u8, count: usize) {
    out.put_u8(kind);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    put_end(out);
}

/// Whether a server that answers HELLO says that it is a primary: the answer is a map, whose keys and values take
/// turns.
fn is_primary(greeting: &[Reply]) -> bool {
    let role = greeting.chunks_exact(2).find(|pair| pair[0].word() == "role").map(|pair| pair[1].word());
    role.is_none_or(|role| role == "master")
}

/// An error's text, or what it means where that is known.
pub(super) fn words(text: &[u8]) -> String {
    Said::parse(text).words()
}

//! A connection whose bytes we read ourselves: commands out, replies in. Live connections are such, and the one over
//! which long parts of logs are read.

use std::{io, net::SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Duration, timeout},
};

use super::{
    error::{self, Said},
    net::{Reader, Writer},
    resp::{Decoder, Reply},
    role,
    server::{self, Server, Steps},
};

pub(super) struct RespConnection {
    reader: Reader,
    writer: Writer,
    address: SocketAddr,
    decoder: Decoder,
    out: BytesMut,
    read_bytes: usize,
    /// How long a write may take.
    write_timeout: Duration,
}

impl RespConnection {
    /// Connects to a primary and signs in under a name, which `CLIENT LIST` shows; all of that in less time than a call
    /// may take (`timeout`), which is also how long a write may take. Reads take so many bytes at a time.
    pub(super) async fn open(
        server: &Server,
        name: &str,
        read_bytes: usize,
        timeout: Duration,
    ) -> Result<Self, String> {
        let steps = Steps::default();
        let opening = Self::greet(server, &steps, name, read_bytes, timeout);
        steps.within(Server::attempt_limit(timeout), opening).await
    }

    /// The same as a part of an attempt, which has its own limit.
    pub(super) async fn greet(
        server: &Server,
        steps: &Steps,
        name: &str,
        read_bytes: usize,
        write_timeout: Duration,
    ) -> Result<Self, String> {
        steps.begin("reading --redis-password-file".to_owned());
        let credentials = server.credentials().await?;
        let (reader, writer, address) = server.connect(steps).await?;
        let mut connection = Self {
            reader,
            writer,
            address,
            decoder: Decoder::default(),
            out: BytesMut::new(),
            read_bytes,
            write_timeout,
        };
        steps.begin(format!("the answer of {address} to HELLO"));
        match &credentials {
            Some((user, password)) => {
                connection.command(&["HELLO", "3", "AUTH", user, password.reveal(), "SETNAME", name]);
            }
            None => connection.command(&["HELLO", "3", "SETNAME", name]),
        }
        connection.command(&["SELECT", &server.database().to_string()]);
        connection.flush().await?;
        for _ in 0..2 {
            match connection.greeting().await? {
                Reply::Error(text) => return Err(of_greeting(&text)),
                // Known before anything is asked: as long as the name leads to a replica, there is no session.
                Reply::List(greeting) if !is_primary(&greeting) => return Err(words(b"READONLY")),
                _ => {}
            }
        }
        Ok(connection)
    }

    /// The next of the first replies. One that speaks TLS answers a plain HELLO with an alert, or hangs up.
    async fn greeting(&mut self) -> Result<Reply, String> {
        const PERHAPS_TLS: &str = "if it speaks TLS, write rediss:// in --redis-url";
        let address = self.address;
        loop {
            match self.decoder.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(error) => {
                    return Err(format!("{address} does not answer HELLO as Redis does ({error}); {PERHAPS_TLS}"));
                }
            }
            self.decoder.buffer().reserve(self.read_bytes);
            let hangs_up = match self.reader.read_buf(self.decoder.buffer()).await {
                Ok(read) => read == 0,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
                Err(error) => return Err(server::words(&error, address)),
            };
            if hangs_up {
                return Err(format!("{address} closed the connection instead of answering HELLO; {PERHAPS_TLS}"));
            }
        }
    }

    /// Bytes that were read and not decoded.
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

    /// Reads the bytes that are there, or waits for some. False at the end.
    pub(super) async fn read(&mut self) -> Result<bool, String> {
        self.decoder.buffer().reserve(self.read_bytes);
        let read = self.reader.read_buf(self.decoder.buffer()).await;
        read.map(|bytes| bytes > 0).map_err(|error| server::words(&error, self.address))
    }

    /// Appends a command to those that wait for [`flush`](Self::flush).
    pub(super) fn command(&mut self, words: &[&str]) {
        put_array(&mut self.out, words.len());
        for word in words {
            put_text(&mut self.out, word);
        }
    }

    /// For callers that read and write at the same time.
    pub(super) fn into_parts(self) -> (Reader, Decoder, Writer) {
        (self.reader, self.decoder, self.writer)
    }

    pub(super) async fn flush(&mut self) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = self.out.split().freeze();
        let (writer, address) = (&mut self.writer, self.address);
        let written = async {
            writer.write_all(&out).await?;
            // Encrypted bytes may wait for it.
            writer.flush().await
        };
        match timeout(self.write_timeout, written).await {
            Ok(written) => written.map_err(|error: io::Error| server::words(&error, address)),
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
    role.is_none_or(|role| role::is_primary(&role))
}

/// What an error means with which a server answers its greeting.
fn of_greeting(text: &[u8]) -> String {
    let said = Said::parse(text);
    match said.code.as_str() {
        "NOPROTO" => error::NO_RESP3.to_owned(),
        _ if said.unknown_command().is_some_and(|command| command.eq_ignore_ascii_case("HELLO")) => {
            error::NO_RESP3.to_owned()
        }
        _ => said.words(),
    }
}

/// An error's meaning where that is known, or its text.
pub(super) fn words(text: &[u8]) -> String {
    Said::parse(text).words()
}

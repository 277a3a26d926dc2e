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
    server::{self, Dialled, Kind, Server, Steps},
    topology::Primary,
};

pub(super) struct RespConnection {
    reader: Reader,
    writer: Writer,
    address: SocketAddr,
    primary: Primary,
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

    /// The same as a part of an attempt, which has its own limit. Also for sentinels, which are no primaries.
    pub(super) async fn greet(
        server: &Server,
        steps: &Steps,
        name: &str,
        read_bytes: usize,
        write_timeout: Duration,
    ) -> Result<Self, String> {
        steps.begin("reading the file with the password".to_owned());
        let credentials = server.credentials().await?;
        let Dialled { reader, writer, address, primary } = server.connect(steps).await?;
        let mut connection = Self {
            reader,
            writer,
            address,
            primary,
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
        // Sentinels have none.
        let database = (server.kind() == Kind::Redis).then(|| server.database());
        if let Some(database) = database {
            connection.command(&["SELECT", &database.to_string()]);
        }
        connection.flush().await?;
        for _ in 0..1 + usize::from(database.is_some()) {
            match connection.greeting().await? {
                Reply::Error(text) => return Err(of_greeting(&text, server.kind())),
                Reply::List(greeting) => check_greeting(&greeting, server)?,
                _ => {}
            }
        }
        Ok(connection)
    }

    /// The primary that it leads to.
    pub(super) fn primary(&self) -> &Primary {
        &self.primary
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

/// Whether a server is what it is taken for, as its answer to HELLO says: a map, whose keys and values take turns. So
/// that is known before anything is asked: as long as a name leads to a replica, there is no session.
fn check_greeting(greeting: &[Reply], server: &Server) -> Result<(), String> {
    let field = |name| greeting.chunks_exact(2).find(|pair| pair[0].word() == name).map(|pair| pair[1].word());
    let is_sentinel = field("mode").is_some_and(|mode| mode == "sentinel");
    match (server.kind(), is_sentinel) {
        (Kind::Redis, true) => {
            Err("it is a sentinel and no Redis: write redis+sentinel://HOST:PORT/SERVICE in --redis-url".to_owned())
        }
        (Kind::Sentinel, false) => Err(
            "it is a Redis and no sentinel: redis+sentinel:// has the addresses of sentinels, and redis:// of a Redis"
                .to_owned(),
        ),
        (Kind::Redis, false) if field("role").is_some_and(|role| !role::is_primary(&role)) => Err(server.not_primary()),
        _ => Ok(()),
    }
}

/// What an error means with which a server answers its greeting.
fn of_greeting(text: &[u8], kind: Kind) -> String {
    let said = Said::parse(text);
    match (said.code.as_str(), kind) {
        ("NOPROTO", _) => error::NO_RESP3.to_owned(),
        ("WRONGPASS", Kind::Sentinel) => error::SENTINEL_LOGIN.to_owned(),
        ("NOAUTH", Kind::Sentinel) => error::SENTINEL_PASSWORD.to_owned(),
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

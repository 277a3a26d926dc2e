//! The bytes of a live connection: commands out, replies in.

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Duration, timeout},
};

use crate::{
    broker::redis::resp::{Decoder, Reply},
    limits::LIVE_READ_BYTES,
};

pub(super) struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    out: BytesMut,
    /// How long a write may take.
    patience: Duration,
}

impl Wire {
    pub(super) async fn connect(address: (&str, u16), patience: Duration) -> Result<Self, String> {
        let socket = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let (reader, writer) = socket.into_split();
        Ok(Self { reader, writer, decoder: Decoder::default(), out: BytesMut::new(), patience })
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
        self.decoder.buffer().reserve(LIVE_READ_BYTES);
        let read = self.reader.read_buf(self.decoder.buffer()).await;
        read.map(|bytes| bytes > 0).map_err(|error| error.to_string())
    }

    /// Puts a command behind those that wait for [`flush`](Self::flush).
    pub(super) fn command(&mut self, words: &[&str]) {
        self.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.out.extend_from_slice(word.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = self.out.split().freeze();
        match timeout(self.patience, self.writer.write_all(&out)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("it takes no commands".to_owned()),
        }
    }
}

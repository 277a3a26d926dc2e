//! A bare Redis client: pipelined PUBLISH, and subscribers on sockets of their own, read and compared as cheaply as our
//! streams.

use std::{cell::RefCell, io, net::SocketAddr};

use anyhow::ensure;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Feeder, Reader,
    text::{Expected, Pattern},
};

/// Read at a time, into a buffer that all readers share.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Publishes that may be unanswered.
const IN_FLIGHT: u64 = 4_096;

/// A command as Redis reads it.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// Connects to any of the line protocols.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Publishes the same JSON with another counter, pipelined.
pub(crate) struct Publisher {
    socket: TcpStream,
    publish: Pattern,
    buffer: Vec<u8>,
    answers: Expected,
    sent: u64,
}

impl Publisher {
    /// A connection that publishes to a channel with so many subscribers.
    pub(crate) async fn open(address: SocketAddr, channel: &str, json: &str, receivers: usize) -> anyhow::Result<Self> {
        let publish = Pattern::new(command(&["PUBLISH", channel, json]));
        let answers = Expected::new(format!(":{receivers}\r\n"));
        Ok(Self { socket: connect(address).await?, publish, buffer: Vec::new(), answers, sent: 0 })
    }

    async fn answered(&mut self, goal: u64) -> anyhow::Result<()> {
        while self.answers.seen < goal {
            read(&self.socket, |bytes| self.answers.take(bytes)).await?;
        }
        Ok(())
    }
}

impl Feeder for Publisher {
    async fn send(&mut self, count: usize) -> anyhow::Result<()> {
        self.buffer.clear();
        self.publish.write(&mut self.buffer, count);
        self.socket.write_all(&self.buffer).await?;
        self.sent += count as u64;
        self.answered(self.sent.saturating_sub(IN_FLIGHT)).await
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.answered(self.sent).await?;
        Ok(self.sent)
    }
}

/// A subscriber on a socket of its own.
pub(crate) struct Subscriber {
    socket: TcpStream,
    expected: Expected,
}

impl Subscriber {
    /// Subscribes and waits for the confirmation.
    pub(crate) async fn open(address: SocketAddr, channel: &str, json: &str) -> anyhow::Result<Self> {
        let mut socket = connect(address).await?;
        socket.write_all(&command(&["SUBSCRIBE", channel])).await?;
        let mut confirmation = command(&["subscribe", channel]);
        confirmation[1] = b'3';
        confirmation.extend_from_slice(b":1\r\n");
        let mut got = vec![0; confirmation.len()];
        socket.read_exact(&mut got).await?;
        ensure!(got == confirmation, "not subscribed: {:?}", String::from_utf8_lossy(&got));
        Ok(Self { socket, expected: Expected::new(command(&["message", channel, json])) })
    }
}

impl Reader for Subscriber {
    async fn more(&mut self) -> anyhow::Result<u64> {
        read(&self.socket, |bytes| self.expected.take(bytes)).await?;
        Ok(self.expected.seen)
    }
}

/// Waits until a socket has something, and shows it. The buffer is taken for the moment of reading only.
pub(crate) async fn read(socket: &TcpStream, mut see: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    }
    loop {
        socket.readable().await?;
        let read = BUFFER.with_borrow_mut(|buffer| match socket.try_read(buffer) {
            Ok(0) => Some(Err(anyhow::anyhow!("the server closed the connection"))),
            Ok(count) => Some(see(&buffer[..count])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error.into())),
        });
        if let Some(read) = read {
            return read;
        }
    }
}

//! RabbitMQ as cheaply as the others: as much of AMQP 0-9-1 as it takes to publish with confirms.

use std::{collections::VecDeque, net::SocketAddr};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Feeder,
    resp::{connect, read},
    text::Pattern,
};

pub(crate) mod consumer;

/// Messages that may be unconfirmed.
const IN_FLIGHT: u64 = 1_024;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;
/// Type, channel, size; and the end after the payload.
const FRAME_BYTES: usize = 7;
/// What the server may send at a time.
const FRAME_MAX: u32 = 128 << 10;

/// Channels of a connection; 0 would ask for more than the server allows.
const CHANNELS: u16 = 1;

/// A class and a method's number.
type Method = (u16, u16);

/// Publishes persistent messages to a queue, and counts what is confirmed.
pub(crate) struct Publisher {
    socket: TcpStream,
    queue: String,
    publish: Pattern,
    buffer: Vec<u8>,
    sent: u64,
    confirmed: Confirmed,
}

impl Publisher {
    /// On a connection of its own, to a quorum queue, which it makes where there is none yet.
    pub(crate) async fn open(address: SocketAddr, queue: &str, payload: &str) -> anyhow::Result<Self> {
        let mut socket = session(address, queue).await?;
        socket.write_all(&method(1, (85, 10), &[0])).await?;
        expect(&mut socket, (85, 11)).await?;
        let publish = Pattern::new(message(queue, payload));
        let (buffer, confirmed) = (Vec::new(), Confirmed::default());
        Ok(Self { socket, queue: queue.to_owned(), publish, buffer, sent: 0, confirmed })
    }

    /// Removes the queue with all that is in it.
    pub(crate) async fn delete(mut self) -> anyhow::Result<()> {
        let delete = [&[0, 0][..], &short(&self.queue), &[0]].concat();
        self.socket.write_all(&method(1, (50, 40), &delete)).await?;
        expect(&mut self.socket, (50, 41)).await.map(|_| ())
    }

    async fn confirmed(&mut self, goal: u64) -> anyhow::Result<()> {
        while self.confirmed.count < goal {
            read(&self.socket, |bytes| self.confirmed.take(bytes)).await?;
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
        self.confirmed((self.sent + count as u64).saturating_sub(IN_FLIGHT)).await
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.confirmed(self.sent).await?;
        ensure!(self.confirmed.count == self.sent, "{} confirms", self.confirmed.count);
        Ok(self.sent)
    }
}

/// Which delivery tags are confirmed: they may come in any order, and many at once.
#[derive(Default)]
struct Confirmed {
    part: Vec<u8>,
    count: u64,
    /// The tag below the first of the list.
    below: u64,
    tags: VecDeque<bool>,
}

impl Confirmed {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.part.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(payload) = payload(&self.part[from..]) {
            let (head, rest) = payload.split_at_checked(4).context("a short frame")?;
            ensure!(head == [0, 60, 0, 80], "RabbitMQ did not confirm: {head:?}");
            let (tag, multiple) = rest.split_first_chunk::<8>().context("a short confirm")?;
            let (tag, multiple) = (u64::from_be_bytes(*tag), multiple.first() == Some(&1));
            from += payload.len() + FRAME_BYTES + 1;
            self.confirm(tag, multiple)?;
        }
        self.part.drain(..from);
        Ok(())
    }

    fn confirm(&mut self, tag: u64, multiple: bool) -> anyhow::Result<()> {
        let at = usize::try_from(tag.checked_sub(self.below + 1).context("confirmed twice")?)?;
        if self.tags.len() <= at {
            self.tags.resize(at + 1, false);
        }
        for confirmed in self.tags.range_mut(if multiple { 0..=at } else { at..=at }) {
            self.count += u64::from(!std::mem::replace(confirmed, true));
        }
        while self.tags.front() == Some(&true) {
            self.tags.pop_front();
            self.below += 1;
        }
        Ok(())
    }
}

/// The payload of the frame that begins here, if it is whole.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let size = u32::from_be_bytes(*bytes.get(3..)?.first_chunk()?) as usize;
    bytes.get(..FRAME_BYTES + size + 1).map(|frame| &frame[FRAME_BYTES..FRAME_BYTES + size])
}

/// Logs in, and opens a channel to a quorum queue, which it makes where there is none yet.
async fn session(address: SocketAddr, queue: &str) -> anyhow::Result<TcpStream> {
    let mut socket = connect(address).await?;
    socket.write_all(b"AMQP\0\0\x09\x01").await?;
    expect(&mut socket, (10, 10)).await?;
    let mut login = 0u32.to_be_bytes().to_vec();
    login.extend([&short("PLAIN"), &long(b"\0guest\0guest"), &short("en_US")].into_iter().flatten());
    socket.write_all(&method(0, (10, 11), &login)).await?;
    expect(&mut socket, (10, 30)).await?;
    let mut tuned = CHANNELS.to_be_bytes().to_vec();
    tuned.extend(FRAME_MAX.to_be_bytes());
    tuned.extend(0u16.to_be_bytes());
    socket.write_all(&method(0, (10, 31), &tuned)).await?;
    socket.write_all(&method(0, (10, 40), &[&short("/")[..], &[0, 0]].concat())).await?;
    expect(&mut socket, (10, 41)).await?;
    socket.write_all(&method(1, (20, 10), &[0])).await?;
    expect(&mut socket, (20, 11)).await?;
    let kind = [&short("x-queue-type")[..], b"S", &long(b"quorum")].concat();
    const DURABLE: u8 = 2;
    let declare = [&[0, 0][..], &short(queue), &[DURABLE], &long(&kind)].concat();
    socket.write_all(&method(1, (50, 10), &declare)).await?;
    expect(&mut socket, (50, 11)).await?;
    Ok(socket)
}

/// Waits for a method, and passes what it says over.
async fn expect(socket: &mut TcpStream, wanted: Method) -> anyhow::Result<()> {
    let mut head = [0; FRAME_BYTES];
    socket.read_exact(&mut head).await.context("RabbitMQ closed the connection")?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]).min(FRAME_MAX);
    let mut payload = vec![0; size as usize + 1];
    socket.read_exact(&mut payload).await?;
    let wanted = [wanted.0.to_be_bytes(), wanted.1.to_be_bytes()].concat();
    if head[0] != METHOD || !payload.starts_with(&wanted) {
        bail!("RabbitMQ answered {:?}", String::from_utf8_lossy(&payload));
    }
    Ok(())
}

/// The three frames of one publish.
fn message(queue: &str, payload: &str) -> Vec<u8> {
    let publish = [&[0, 0][..], &short(""), &short(queue), &[0]].concat();
    let mut header = [60u16.to_be_bytes(), 0u16.to_be_bytes()].concat();
    header.extend((payload.len() as u64).to_be_bytes());
    const DELIVERY_MODE: u16 = 1 << 12;
    const PERSISTENT: u8 = 2;
    header.extend(DELIVERY_MODE.to_be_bytes());
    header.push(PERSISTENT);
    [method(1, (60, 40), &publish), frame(HEADER, 1, &header), frame(BODY, 1, payload.as_bytes())].concat()
}

fn method(channel: u16, method: Method, arguments: &[u8]) -> Vec<u8> {
    let payload = [&method.0.to_be_bytes()[..], &method.1.to_be_bytes(), arguments].concat();
    frame(METHOD, channel, &payload)
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[END]].concat()
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirms_count_once_in_any_order() {
        let mut confirmed = Confirmed::default();
        for (tag, multiple, count) in [(2, false, 1), (1, false, 2), (5, true, 5), (7, false, 6), (7, true, 7)] {
            let confirm = [&u64::to_be_bytes(tag)[..], &[u8::from(multiple)]].concat();
            let bytes = method(1, (60, 80), &confirm);
            bytes.chunks(5).for_each(|piece| confirmed.take(piece).expect("confirms"));
            assert_eq!(confirmed.count, count, "{tag} {multiple}");
        }
        assert!(confirmed.confirm(3, false).is_err());
        assert!(confirmed.take(&method(1, (60, 120), &[0; 9])).is_err());
    }
}

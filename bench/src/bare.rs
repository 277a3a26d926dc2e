//! The other side: the same done with a bare Redis client. Publishing goes through the `redis` crate; what arrives is read
//! from the socket and counted by its bytes, as cheaply as on our side.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{MESSAGE_BYTES, house::House, pace::Pace, publishing::CALLS};

/// Messages of one pipeline, and pipelines under way at once.
const PIPELINE: usize = 100;
const PIPELINES: usize = 4;

/// The message that is repeated.
pub(crate) fn message() -> String {
    "x".repeat(MESSAGE_BYTES)
}

/// PUBLISH commands a second, as many under way at once as there are unary calls.
pub(crate) async fn publish_one_by_one(house: &House, channel: &str, time: Duration) -> anyhow::Result<f64> {
    repeat(house, CALLS, &pipeline(channel, 1), time).await
}

/// PUBLISH commands a second in pipelines.
pub(crate) async fn publish_pipelined(house: &House, channel: &str, time: Duration) -> anyhow::Result<f64> {
    repeat(house, PIPELINES, &pipeline(channel, PIPELINE), time).await
}

/// Sends a pipeline again and again, several under way at once; answers how many commands a second.
async fn repeat(house: &House, at_once: usize, pipeline: &redis::Pipeline, time: Duration) -> anyhow::Result<f64> {
    let connection = house.redis().await?;
    let mut running = JoinSet::new();
    let began = Instant::now();
    for _ in 0..at_once {
        let (mut connection, pipeline) = (connection.clone(), pipeline.clone());
        running.spawn(async move {
            let mut count = 0;
            while began.elapsed() < time {
                pipeline.exec_async(&mut connection).await?;
                count += pipeline.len();
            }
            Ok::<_, redis::RedisError>(count)
        });
    }
    let mut count = 0;
    while let Some(done) = running.join_next().await {
        count += done??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Publishes this many messages in pipelines, several under way at once.
pub(crate) async fn publish_many(house: &House, channel: &str, count: usize, pace: &Pace) -> anyhow::Result<()> {
    let connection = house.redis().await?;
    let mut running = JoinSet::new();
    for _ in 0..PIPELINES {
        let (mut connection, pipeline, pace) = (connection.clone(), pipeline(channel, PIPELINE), pace.clone());
        running.spawn(async move {
            for n in 0..count / PIPELINES / PIPELINE {
                pace.wait(n * PIPELINES * PIPELINE).await;
                pipeline.exec_async(&mut connection).await?;
            }
            Ok::<_, redis::RedisError>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

fn pipeline(channel: &str, count: usize) -> redis::Pipeline {
    let (mut pipeline, message) = (redis::pipe(), message());
    for _ in 0..count {
        pipeline.publish(channel, &message).ignore();
    }
    pipeline
}

/// A subscriber on a socket of its own.
pub(crate) struct Subscriber {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// What stands before a message's text.
    head: Vec<u8>,
    frame_bytes: usize,
}

impl Subscriber {
    /// Subscribes and waits for the confirmation.
    pub(crate) async fn open(house: &House, channel: &str) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(house.redis_address()).await?;
        socket.set_nodelay(true)?;
        let name = format!("${}\r\n{channel}\r\n", channel.len());
        socket.write_all(format!("*2\r\n$9\r\nSUBSCRIBE\r\n{name}").as_bytes()).await?;
        let mut confirmation = vec![0; format!("*3\r\n$9\r\nsubscribe\r\n{name}:1\r\n").len()];
        socket.read_exact(&mut confirmation).await?;
        let head = format!("*3\r\n$7\r\nmessage\r\n{name}${MESSAGE_BYTES}\r\n").into_bytes();
        let frame_bytes = head.len() + MESSAGE_BYTES + 2;
        Ok(Self { socket, buffer: Vec::with_capacity(256 << 10), head, frame_bytes })
    }

    /// Waits for more, and tells each message's text.
    pub(crate) async fn more(&mut self, mut see: impl FnMut(&[u8])) -> anyhow::Result<()> {
        anyhow::ensure!(self.socket.read_buf(&mut self.buffer).await? > 0, "Redis cut a subscriber off");
        let whole = self.buffer.len() / self.frame_bytes * self.frame_bytes;
        for frame in self.buffer[..whole].chunks_exact(self.frame_bytes) {
            anyhow::ensure!(frame.starts_with(&self.head), "not a message");
            see(&frame[self.head.len()..self.frame_bytes - 2]);
        }
        self.buffer.drain(..whole);
        Ok(())
    }
}

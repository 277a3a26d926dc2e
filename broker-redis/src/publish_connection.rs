//! The connection over which optimistic calls travel: their bytes are written where they leave, and their answers are
//! numbers. Through the shared connection each call would be copied three times, and pass two queues.
//!
//! It belongs to the command connection: both are made together, and when one is lost the other is replaced as well.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf as _, BytesMut};
use redis::{RedisError, RedisResult, Value};
use tidings::limits::PUBLISH_READ_BYTES;
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, oneshot},
};

use super::{
    net::{Reader, Writer},
    resp::{Decoder, Reply},
    resp_connection::RespConnection,
};

/// A command that goes ahead of each call, for the sake of its subscribers. Redis writes to its clients when it has
/// carried out what there was, and to the one first that came to have a reply last (`putClientInPendingWriteQueue`,
/// Redis 7.0 to 8). That would be the publisher, which the kernel often lets run at once and instead of Redis:
/// subscribers received a lone message 80 µs later. With a reply to this the publisher is the first to have one, and
/// the last that is written to. A user that may publish may ask for the time.
const AHEAD: &[u8] = b"*1\r\n$4\r\nTIME\r\n";

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// What callers share.
pub(super) struct PublishConnection {
    calls: Mutex<Calls>,
    /// Written to under the lock only, so that nothing comes out of order.
    writer: Writer,
    /// There is something to write.
    filled: Notify,
    /// An answer did not come in time.
    given_up: Notify,
}

#[derive(Default)]
struct Calls {
    out: BytesMut,
    /// The callers that wait for answers, in the order of the commands; `None` for [`AHEAD`] and [`PING`]. Their number
    /// is bounded by the limit of publishes that wait for Redis.
    waiting: VecDeque<Option<oneshot::Sender<RedisResult<Value>>>>,
    is_closed: bool,
}

/// The connection's other end, for the task that keeps both going.
pub(super) struct Driver {
    connection: Arc<PublishConnection>,
    reader: Reader,
    decoder: Decoder,
}

impl PublishConnection {
    /// Over a connection that has just been opened.
    pub(super) fn over(opened: RespConnection) -> (Arc<Self>, Driver) {
        let (reader, decoder, writer) = opened.into_parts();
        let (calls, filled, given_up) = Default::default();
        let connection = Arc::new(Self { calls, writer, filled, given_up });
        (Arc::clone(&connection), Driver { connection, reader, decoder })
    }

    /// Hands over a call; its answer will come, unless the connection is lost. `None` where it is lost already: then
    /// nothing was handed over.
    pub(super) fn send(&self, write: impl FnOnce(&mut BytesMut)) -> Option<oneshot::Receiver<RedisResult<Value>>> {
        let mut calls = self.calls();
        if calls.is_closed {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let is_alone = calls.waiting.is_empty();
        calls.out.extend_from_slice(AHEAD);
        write(&mut calls.out);
        calls.waiting.extend([None, Some(answer)]);
        // A lone call leaves at once; those of a crowd leave together, when the task comes to them. What goes wrong
        // here is met by the task as well.
        if !is_alone || !self.write(&mut calls).is_ok_and(|has_left| has_left) {
            self.filled.notify_one();
        }
        Some(answered)
    }

    /// Says something where nothing is under way: a connection that is idle for long may be ended.
    pub(super) fn ping(&self) {
        let mut calls = self.calls();
        if calls.is_closed || !calls.waiting.is_empty() {
            return;
        }
        calls.out.extend_from_slice(PING);
        calls.waiting.push_back(None);
        if !self.write(&mut calls).is_ok_and(|has_left| has_left) {
            self.filled.notify_one();
        }
    }

    /// Writes as much as the socket takes now; answers whether that was all.
    fn write(&self, calls: &mut Calls) -> io::Result<bool> {
        while !calls.out.is_empty() {
            match self.writer.try_write(&calls.out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => calls.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // Nothing is kept of a large call.
        calls.out = BytesMut::new();
        self.writer.try_flush()
    }

    /// An answer did not come in time: no more calls, and another connection instead. It may be this connection alone
    /// that hangs.
    pub(super) fn give_up(&self) {
        self.calls().is_closed = true;
        self.given_up.notify_one();
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Nothing that holds the lock leaves it half-written.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// The connection that it drives.
    pub(super) fn connection(&self) -> Arc<PublishConnection> {
        Arc::clone(&self.connection)
    }

    /// Writes calls and reads answers until the connection is lost; answers why.
    pub(super) async fn run(mut self) -> String {
        let Self { connection, reader, decoder } = &mut self;
        let ended = tokio::select! {
            ended = write(connection) => ended,
            ended = read(connection, reader, decoder) => ended,
            () = connection.given_up.notified() => return "it does not answer".to_owned(),
        };
        match ended {
            Ok(()) => "it closed the connection".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Driver {
    /// Callers that wait learn that no answer will come, also where the task is cut off.
    fn drop(&mut self) {
        let mut calls = self.connection.calls();
        calls.is_closed = true;
        calls.out = BytesMut::new();
        calls.waiting.clear();
    }
}

async fn write(connection: &PublishConnection) -> io::Result<()> {
    loop {
        connection.filled.notified().await;
        while !connection.write(&mut connection.calls())? {
            tokio::select! {
                writable = connection.writer.writable() => writable?,
                // Somebody else wrote, who may have been notified of room instead of this task.
                () = connection.filled.notified() => {}
            }
        }
    }
}

async fn read(connection: &PublishConnection, reader: &mut Reader, decoder: &mut Decoder) -> io::Result<()> {
    let malformed_reply = || io::Error::new(io::ErrorKind::InvalidData, "it answered in a way that is not understood");
    loop {
        decoder.buffer().reserve(PUBLISH_READ_BYTES);
        if reader.read_buf(decoder.buffer()).await? == 0 {
            return Ok(());
        }
        while let Some(reply) = decoder.next().map_err(|_| malformed_reply())? {
            // A push has no caller.
            if let Reply::Push(_) = reply {
                continue;
            }
            let waiting = connection.calls().waiting.pop_front().ok_or_else(malformed_reply)?;
            if let Some(waiting) = waiting {
                // The caller may have gone.
                let _ = waiting.send(value(reply));
            }
        }
    }
}

/// The answer as the shared connection would give it, so that errors mean the same.
fn value(reply: Reply) -> RedisResult<Value> {
    match reply {
        Reply::Int(number) => Ok(Value::Int(number)),
        Reply::Error(text) => redis::parse_redis_value(&[b"-", &text[..], b"\r\n"].concat())?.extract_error(),
        _ => Err(RedisError::from((redis::ErrorKind::UnexpectedReturnType, "neither a number nor an error"))),
    }
}

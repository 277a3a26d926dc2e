//! The connection over which large pages are read: its answers are kept as they came, and messages are slices of them.
//! Through the shared connection every string would become a value of its own, which costs more than all else that a
//! message needs.

use std::time::Duration;

use tidings::{broker::Stored, limits::BULK_READ_BYTES};
use tokio::sync::Mutex;

use super::range::Range;
use crate::{
    head,
    idle::Idle,
    resp::Reply,
    resp_connection::{RespConnection, words},
    server::Server,
};

/// What [`RespConnection`] says as well.
pub(super) const CLOSED: &str = "it closed the connection";
const MALFORMED: &str = "it answered in a way that is not understood";

/// One connection, made when it is needed. A call that comes while a page is read waits for its end.
pub(crate) struct Bulk {
    server: Server,
    io_timeout: Duration,
    turn: Mutex<()>,
    idle: Idle<RespConnection>,
}

/// A read of one log.
pub(super) struct Question<'a> {
    pub(super) head: &'a str,
    pub(super) log: &'a str,
    /// Runs from this sequence on.
    pub(super) from: i64,
    /// So many.
    pub(super) runs: usize,
    /// Bytes that these will probably have.
    pub(super) bytes: usize,
}

/// A page, and the head's fields as they were before and after it.
pub(super) struct Answer {
    pub(super) before: Vec<String>,
    pub(super) runs: usize,
    pub(super) messages: Vec<Stored>,
    pub(super) after: Vec<String>,
    /// What the server says of its replication.
    pub(super) replication: String,
}

impl Bulk {
    pub(crate) fn new(server: Server, io_timeout: Duration) -> Self {
        Self { server, io_timeout, turn: Mutex::default(), idle: Idle::new() }
    }

    /// Asks over a connection that is as young as the command connection with this number. The error is a sentence for
    /// people.
    pub(super) async fn ask(&self, session: u64, question: &Question<'_>) -> Result<Answer, String> {
        let _turn = self.turn.lock().await;
        // Taken out, so that one that is left in the middle of an answer is not used again.
        if let Some(mut connection) = self.idle.take(session) {
            // One that was ended while it was idle is made again.
            if let Ok(answer) = ask(&mut connection, question).await {
                self.idle.put(connection, session);
                return Ok(answer);
            }
        }
        let (server, read_bytes) = (&self.server, BULK_READ_BYTES);
        let mut connection = RespConnection::open(server, "tidings-bulk", read_bytes, self.io_timeout).await?;
        let answer = ask(&mut connection, question).await?;
        self.idle.put(connection, session);
        Ok(answer)
    }
}

async fn ask(connection: &mut RespConnection, question: &Question<'_>) -> Result<Answer, String> {
    let (from, runs) = (question.from.to_string(), question.runs.to_string());
    let head: Vec<&str> = ["HMGET", question.head].into_iter().chain(head::FIELDS).collect();
    connection.command(&head);
    connection.command(&["XRANGE", question.log, &from, "+", "COUNT", &runs]);
    connection.command(&head);
    connection.command(&["INFO", "replication"]);
    // At once and before anything comes, so that nothing is moved to make room for the rest. Beside the messages there
    // are their names and sizes.
    connection.buffer().reserve(question.bytes + question.bytes / 8 + BULK_READ_BYTES);
    connection.flush().await?;
    let before = list(connection).await?;
    let mut range = Range::default();
    while !range.read(connection.buffer()).map_err(|error| error.to_string())? {
        if !connection.read().await? {
            return Err(CLOSED.to_owned());
        }
    }
    let (runs, messages) = range.take(connection.buffer());
    let after = list(connection).await?;
    let replication = match connection.reply().await? {
        Reply::Error(text) => return Err(words(&text)),
        reply => reply.word(),
    };
    Ok(Answer { before, runs, messages, after, replication })
}

async fn list(connection: &mut RespConnection) -> Result<Vec<String>, String> {
    match connection.reply().await? {
        Reply::List(fields) => Ok(fields.iter().map(Reply::word).collect()),
        Reply::Error(text) => Err(words(&text)),
        _ => Err(MALFORMED.to_owned()),
    }
}

//! The connection over which large pages are read: its answers are kept as they came, and messages are slices of them. Through
//! the shared connection every string would become a value of its own, which costs more than all else that a message needs.

use std::time::Duration;

use tokio::sync::Mutex;

use super::range::Range;
use crate::{
    broker::{
        Stored,
        redis::{
            ServerUrl,
            resp::Reply,
            script,
            wire::{Wire, words},
        },
    },
    limits::BULK_READ_BYTES,
};

const ODD: &str = "it answered in a way that is not understood";

/// One connection, made when it is needed. Whoever comes while a page is read waits for its end.
pub(in super::super) struct Bulk {
    url: ServerUrl,
    patience: Duration,
    open: Mutex<Option<Open>>,
}

struct Open {
    wire: Wire,
    /// The number of the command connection that was there at that time.
    link: u64,
}

/// What is asked for.
pub(super) struct Question<'a> {
    pub(super) head: &'a str,
    pub(super) log: &'a str,
    /// Runs from this sequence on.
    pub(super) from: i64,
    /// So many.
    pub(super) runs: usize,
}

/// A page, and the head as it was before and behind it.
pub(super) struct Answer {
    /// The list of epochs, and the last sequence.
    pub(super) before: [String; 2],
    pub(super) runs: usize,
    pub(super) messages: Vec<Stored>,
    /// All fields.
    pub(super) behind: Vec<String>,
}

impl Answer {
    /// Whether nothing was written between the head and the page, so that what they say belongs together.
    pub(super) fn is_of_one_moment(&self) -> bool {
        let behind = [4, 2].map(|field: usize| self.behind.get(field).map_or("", String::as_str));
        self.before == behind
    }
}

impl Bulk {
    pub(in super::super) fn new(url: ServerUrl, patience: Duration) -> Self {
        Self { url, patience, open: Mutex::new(None) }
    }

    /// Asks over a connection that is as young as the command connection with this number: what was made before that may lead to
    /// a server that is not the primary any more. Errors say in words what is wrong.
    pub(super) async fn ask(&self, link: u64, question: &Question<'_>) -> Result<Answer, String> {
        let mut place = self.open.lock().await;
        // Taken out, so that one that is left in the middle of an answer is not used again.
        let mut open = match place.take().filter(|open| open.link == link) {
            Some(open) => open,
            None => {
                let wire = Wire::open(&self.url, "tidings-bulk", BULK_READ_BYTES, self.patience).await?;
                Open { wire, link }
            }
        };
        let answer = open.ask(question).await?;
        *place = Some(open);
        Ok(answer)
    }
}

impl Open {
    async fn ask(&mut self, question: &Question<'_>) -> Result<Answer, String> {
        let (from, runs) = (question.from.to_string(), question.runs.to_string());
        self.wire.command(&["HMGET", question.head, "h", "s"]);
        self.wire.command(&["XRANGE", question.log, &from, "+", "COUNT", &runs]);
        self.wire.command(&["EVALSHA", script::HEAD.hash(), "2", question.head, question.log]);
        self.wire.flush().await?;
        let before = self.list().await?.try_into().map_err(|_| ODD)?;
        let mut range = Range::default();
        while !range.read(self.wire.buffer()).map_err(|error| error.to_string())? {
            if !self.wire.read().await? {
                return Err("it closed the connection".to_owned());
            }
        }
        let (runs, messages) = range.take(self.wire.buffer());
        let behind = self.list().await?;
        Ok(Answer { before, runs, messages, behind })
    }

    async fn list(&mut self) -> Result<Vec<String>, String> {
        match self.wire.reply().await? {
            Reply::List(fields) => Ok(fields.iter().map(Reply::word).collect()),
            Reply::Error(text) => Err(words(&text)),
            _ => Err(ODD.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_a_head_between_which_something_was_written_do_not_belong_together() {
        let behind = ["master", "1", "9", "1000", "000000000000000a,1,0", "3", "1", ""].map(str::to_owned).to_vec();
        let belong = |epochs: &str, last: &str| {
            let before = [epochs, last].map(str::to_owned);
            Answer { before, runs: 0, messages: Vec::new(), behind: behind.clone() }.is_of_one_moment()
        };
        assert!(belong("000000000000000a,1,0", "9"));
        assert!(!belong("000000000000000a,1,0", "8"));
        assert!(!belong("", "9"), "another epoch, or no head at all");
    }
}

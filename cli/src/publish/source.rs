//! Where many messages come from: one again and again, or the lines of standard input; and how fast.

use std::{
    io::{self, BufRead, Read as _},
    thread,
};

use tidings::{
    limits::{COMMAND_CATCH_UP, COMMAND_LINES, MESSAGE_BYTES},
    pb::publish_request::Payload,
};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};

use crate::error::Error;

/// Messages to publish, in order.
pub(super) enum Source {
    /// One message, so many times.
    Again(Payload, u64),
    /// A line each.
    Lines(Lines),
}

/// The lines of standard input.
pub(super) struct Lines {
    lines: mpsc::Receiver<io::Result<String>>,
    /// How many have been read.
    number: u64,
    is_json: bool,
}

impl Source {
    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Option<Payload>, Error> {
        match self {
            Self::Again(payload, left) => Ok(left.checked_sub(1).map(|rest| {
                *left = rest;
                payload.clone()
            })),
            Self::Lines(lines) => lines.next().await,
        }
    }
}

impl Lines {
    /// Reads standard input from now on, on a thread of its own: a read of it cannot be given up, so nobody waits for
    /// that thread, and it ends with the process.
    pub(super) fn of_stdin(is_json: bool) -> Self {
        let (sender, lines) = mpsc::channel(COMMAND_LINES);
        thread::spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(line) = read_line(&mut input).transpose() {
                let is_last = line.is_err();
                if sender.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        });
        Self { lines, number: 0, is_json }
    }

    async fn next(&mut self) -> Result<Option<Payload>, Error> {
        loop {
            let Some(line) = self.lines.recv().await else { return Ok(None) };
            self.number += 1;
            let name = || format!("line {} of standard input", self.number);
            match line.map_err(|cause| Error::Input { name: name(), cause })? {
                // No message is empty, so that is none.
                line if line.is_empty() || (self.is_json && line.trim().is_empty()) => {}
                line if self.is_json => return Ok(Some(Payload::Json(line))),
                line => return Ok(Some(Payload::Text(line))),
            }
        }
    }
}

/// Reads one line without its end; `None` after the last. What is surely more than a message may have is an error.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    // Two for the line's end.
    input.take(MESSAGE_BYTES as u64 + 2).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() > MESSAGE_BYTES {
        return Err(super::too_large());
    }
    String::from_utf8(line).map(Some).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Holds messages to a rate.
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    /// So many a second; without a limit where there is none.
    pub(super) fn new(rate: Option<u64>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate as f64));
        Self { interval, next: Instant::now() }
    }

    /// Waits until the next may go.
    pub(super) async fn wait(&mut self) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        self.next = self.next.max(now.checked_sub(COMMAND_CATCH_UP).unwrap_or(now));
        if self.next > now {
            sleep_until(self.next).await;
        }
        self.next += self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_either_way_and_the_last_need_not() {
        let mut input = "a\r\n\nb\u{1f44b}\nlast".as_bytes();
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input).expect("text") {
            lines.push(line);
        }
        assert_eq!(lines, ["a", "", "b\u{1f44b}", "last"]);
        assert!(read_line(&mut &b"\xff\n"[..]).is_err());
    }

    #[test]
    fn a_line_is_at_most_a_message() {
        let longest = [vec![b'x'; MESSAGE_BYTES], b"\r\ny".to_vec()].concat();
        let mut input = &longest[..];
        assert_eq!(read_line(&mut input).expect("it fits").map(|line| line.len()), Some(MESSAGE_BYTES));
        assert_eq!(read_line(&mut input).expect("text").as_deref(), Some("y"));
        assert!(read_line(&mut &vec![b'x'; MESSAGE_BYTES + 1][..]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_and_a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(100));
        for _ in 0..=200 {
            pace.wait().await;
        }
        assert_eq!(start.elapsed().as_secs(), 2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..=110 {
            pace.wait().await;
        }
        let took = start.elapsed();
        assert!((Duration::from_millis(990)..Duration::from_millis(1_010)).contains(&took), "{took:?}");
    }
}

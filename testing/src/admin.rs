//! The admin listener of a service, asked as a scraper asks it: a request a connection, over plain HTTP/1.1.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{Scraped, TEST_TIMEOUT, free_port};

/// Where one listens.
#[derive(Debug, Clone, Copy)]
pub struct Admin(pub SocketAddr);

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// Its headers, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Admin {
    /// On a port that is free now.
    pub fn choose() -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], free_port())))
    }

    /// The flag that makes a service listen there.
    pub fn flag(self) -> String {
        format!("--admin-listen={}", self.0)
    }

    /// Asks for a path.
    pub fn get(self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    /// Connects, and says nothing.
    pub fn connect(self) -> TcpStream {
        TcpStream::connect(self.0).expect("the admin listener accepts")
    }

    /// Asks in any way.
    pub fn ask(self, method: &str, path: &str) -> Answer {
        self.ask_as(method, path, &format!("host: {}\r\n", self.0))
    }

    /// The same with headers of one's own, each with its line's end.
    pub fn ask_as(self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
        write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer that ends");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// All metrics, which must be well-formed.
    pub fn scrape(self) -> Scraped {
        let answer = self.get("/metrics");
        assert_eq!(answer.code, 200, "{answer:?}");
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        Scraped::parse(&answer.body)
    }

    /// Waits until the metrics are as expected.
    pub async fn shows(self, what: &str, expected: impl Fn(&Scraped) -> bool) -> Scraped {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let scraped = self.scrape();
            if expected(&scraped) {
                return scraped;
            }
            assert!(Instant::now() < deadline, "gave up waiting: {what}: {scraped:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it listens.
    pub async fn listens(self) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while TcpStream::connect(self.0).is_err() {
            assert!(Instant::now() < deadline, "the admin listener does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a path is answered with a code; returns what it said then.
    pub async fn becomes(self, path: &str, code: u16) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let answer = self.get(path);
            if answer.code == code {
                return answer.body;
            }
            assert!(Instant::now() < deadline, "{path} should become {code}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

//! A server that says it is Redis 6.2, and answers just enough for that to be read.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const INFO: &str = "# Server\r\nredis_version:6.2.14\r\n# Replication\r\nrole:master\r\n";

/// It ends when this is dropped.
pub(super) struct OldRedis {
    pub(super) url: String,
    task: JoinHandle<()>,
}

impl OldRedis {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("bound"));
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a client");
                clients.spawn(answer(client));
            }
        });
        Self { url, task }
    }
}

impl Drop for OldRedis {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(client: TcpStream) -> Option<()> {
    let mut client = BufReader::new(client);
    loop {
        let words = command(&mut client).await?;
        let reply = match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            "INFO" => format!("${}\r\n{INFO}\r\n", INFO.len()),
            "PING" => "+PONG\r\n".to_owned(),
            name @ ("SUBSCRIBE" | "PSUBSCRIBE") => {
                let (name, topic) = (name.to_ascii_lowercase(), &words[1]);
                format!(">3\r\n${}\r\n{name}\r\n${}\r\n{topic}\r\n:1\r\n", name.len(), topic.len())
            }
            // What 6.2 makes of a script that begins with `#!lua`.
            "EVAL" | "EVALSHA" => {
                "-ERR Error compiling script (new function): unexpected symbol near '#'\r\n".to_owned()
            }
            _ => "+OK\r\n".to_owned(),
        };
        client.get_mut().write_all(reply.as_bytes()).await.ok()?;
    }
}

async fn command(client: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = number(client).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(client).await? + 2];
        client.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Some(words)
}

/// The number in a line such as `*3` or `$5`.
async fn number(client: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    client.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}

//! One sentinel, over a connection that is kept.

use std::fmt;

use tidings::limits::{SENTINEL_INTERVAL, SENTINEL_PAUSE, SENTINEL_READ_BYTES, SENTINEL_TIMEOUT};
use tokio::{sync::mpsc, time::sleep};

use super::{
    answer::{self, Answer},
    pause,
};
use crate::{
    address::Address,
    error::{self, Said},
    resp::Reply,
    resp_connection::RespConnection,
    server::{Server, Steps},
    topology::Topology,
};

/// What sentinels publish when something happens that may change the primary: the one that leads a failover says the
/// first as soon as its replica is a primary, the others say the second when they have heard of it. Hints, no more.
const HINTS: [&str; 2] = ["+promoted-slave", "+switch-master"];
const MALFORMED: &str = "it answers in a way that is not understood";

/// A sentinel that is asked again and again.
pub(super) struct Sentinel {
    address: Address,
    server: Server,
    service: String,
    /// With the sentinel's own id.
    connection: Option<(RespConnection, String)>,
}

/// What became of one question.
pub(super) struct Report {
    pub(super) address: Address,
    pub(super) answer: Result<Answer, Refusal>,
}

/// Why a sentinel did not say where the primary is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It can't be asked, for this reason.
    Silent(String),
    /// It does not know the service, but others.
    Unknown { names: Vec<String> },
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Silent(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(reason) => f.write_str(reason),
            Self::Unknown { names } if names.is_empty() => f.write_str("it does not know the service, nor any other"),
            Self::Unknown { names } => write!(f, "it does not know the service; it knows: {}", names.join(", ")),
        }
    }
}

impl Sentinel {
    /// One of the service of a server.
    pub(super) fn new(server: &Server, address: Address, service: &str) -> Self {
        Self { server: server.sentinel(address.clone()), address, service: service.to_owned(), connection: None }
    }

    /// Asks each second, and at once when the topology is in doubt, as long as somebody takes the reports. A hint is a
    /// doubt: all are asked then.
    pub(super) async fn keep(mut self, topology: Topology, reports: mpsc::Sender<Report>) {
        let mut doubts = topology.doubts();
        loop {
            doubts.mark_unchanged();
            let steps = Steps::default();
            let asked = steps.within(SENTINEL_TIMEOUT, async { Ok(self.ask(&steps).await) }).await;
            let answer = asked.unwrap_or_else(|late| Err(Refusal::Silent(late)));
            if matches!(answer, Err(Refusal::Silent(_))) {
                // It may be in the middle of an answer.
                self.connection = None;
            }
            if reports.send(Report { address: self.address.clone(), answer }).await.is_err() {
                return;
            }
            // However many doubts there are.
            sleep(SENTINEL_PAUSE).await;
            pause(SENTINEL_INTERVAL, async {
                tokio::select! {
                    () = self.hint() => topology.doubt(),
                    _ = doubts.changed() => {}
                }
            })
            .await;
        }
    }

    /// Waits for a hint, or the end of the connection, which is a reason to ask as well.
    async fn hint(&mut self) {
        let Some((connection, _)) = &mut self.connection else { return std::future::pending().await };
        if !matches!(connection.reply().await, Ok(Reply::Push(_))) {
            self.connection = None;
        }
    }

    async fn ask(&mut self, steps: &Steps) -> Result<Answer, Refusal> {
        let (connection, id) = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(&self.server, steps).await?),
        };
        steps.begin(format!("the answer of the sentinel {}", self.address));
        // The epoch first: what changes in between makes it lower than the address's, and a lower one is outvoted. The
        // address is not taken from MASTER, which goes on naming the old primary until the failover is over.
        connection.command(&["SENTINEL", "MASTER", &self.service]);
        connection.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.service]);
        connection.command(&["SENTINEL", "SENTINELS", &self.service]);
        connection.flush().await?;
        let master = reply(connection).await?;
        let (address, others) = (reply(connection).await?, reply(connection).await?);
        match (master, address) {
            // It says so of a service that it does not know.
            (_, Reply::Null) => Err(Refusal::Unknown { names: names(connection).await? }),
            (Reply::Error(text), _) | (_, Reply::Error(text)) => Err(Refusal::Silent(refused(&text))),
            (master, address) => {
                let malformed = || Refusal::Silent(MALFORMED.to_owned());
                Ok(Answer {
                    id: id.clone(),
                    epoch: answer::epoch(&master).ok_or_else(malformed)?,
                    address: answer::address(&address).ok_or_else(malformed)?,
                    others: answer::others(&others),
                })
            }
        }
    }
}

/// Connects and signs in; asks for hints, and for the sentinel's id. A user who may not have those goes without.
async fn open(server: &Server, steps: &Steps) -> Result<(RespConnection, String), String> {
    let mut connection =
        RespConnection::greet(server, steps, "tidings-sentinel", SENTINEL_READ_BYTES, SENTINEL_TIMEOUT).await?;
    steps.begin("what is asked of the sentinel first".to_owned());
    connection.command(&["SUBSCRIBE", HINTS[0], HINTS[1]]);
    connection.command(&["SENTINEL", "MYID"]);
    connection.flush().await?;
    // Confirmations are pushes; a refusal is not.
    let id = match connection.reply().await? {
        Reply::Error(text) => {
            tracing::debug!(reason = refused(&text), "a sentinel gives no hints");
            reply(&mut connection).await?
        }
        Reply::Push(_) => reply(&mut connection).await?,
        _ => return Err(MALFORMED.to_owned()),
    };
    Ok((connection, id.word()))
}

/// What an error means with which a sentinel answers.
fn refused(text: &[u8]) -> String {
    let said = Said::parse(text);
    match said.code.as_str() {
        "NOPERM" => format!("{} ({said})", error::SENTINEL_RIGHT),
        _ => said.words(),
    }
}

/// The services that a sentinel knows, as far as it says.
async fn names(connection: &mut RespConnection) -> Result<Vec<String>, String> {
    connection.command(&["SENTINEL", "MASTERS"]);
    connection.flush().await?;
    match reply(connection).await? {
        Reply::List(services) => Ok(services.iter().filter_map(answer::name).collect()),
        _ => Ok(Vec::new()),
    }
}

/// The next answer. Hints that come meanwhile are nothing new: it is being asked.
async fn reply(connection: &mut RespConnection) -> Result<Reply, String> {
    loop {
        match connection.reply().await? {
            Reply::Push(_) => {}
            reply => return Ok(reply),
        }
    }
}

//! Looks at a Redis for those who think of running Tidings on it: what is as it should be, what is not, and what to do.
//! It only reads.
//!
//! What Redis says is gathered first (`facts`), then judged without it (`memory`, `promises`, `traffic`).

mod facts;
mod memory;
mod promises;
mod traffic;
mod users;

use std::time::Duration;

use redis::AsyncConnectionConfig;
use tidings::{broker::Retention, channel::Names};
use tokio_util::sync::CancellationToken;

pub use self::users::users;

use self::facts::Facts;
use super::{
    Role,
    keys::Keys,
    multiplexed::MultiplexedConnection,
    script,
    sentinels::Sentinels,
    server::{Server, Steps},
};

/// What was found about one matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The matter, in one word.
    pub matter: &'static str,
    /// How good that is.
    pub verdict: Verdict,
    /// What is so.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be, or only said for information.
    Good,
    /// It works, and somebody should know it.
    Warning,
    /// It does not work so, or promises break.
    Bad,
}

impl Finding {
    fn good(matter: &'static str, what: impl Into<String>) -> Self {
        Self { matter, verdict: Verdict::Good, what: what.into(), advice: String::new() }
    }

    fn warning(matter: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { matter, verdict: Verdict::Warning, what: what.into(), advice: advice.into() }
    }

    fn bad(matter: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { matter, verdict: Verdict::Bad, what: what.into(), advice: advice.into() }
    }
}

/// What is asked of a Redis that is looked at.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What all keys are to begin with.
    pub key_prefix: String,
    /// What part of a process its user is for.
    pub role: Role,
    /// What of each channel is to be kept.
    pub retention: Retention,
    /// Within which time two counts are compared, which gives the present rates.
    pub watch: Duration,
}

/// Looks at a server, which has `timeout` for each answer. The error says why it can't be asked at all.
///
/// # Panics
///
/// When the key prefix can't begin a name; the flags check it before.
pub async fn examine(server: &Server, wish: &Wish, timeout: Duration) -> Result<Vec<Finding>, String> {
    let watching = CancellationToken::new();
    let _end = watching.clone().drop_guard();
    if let Some(sentinels) = Sentinels::of(server) {
        tokio::spawn(sentinels.keep(watching));
    }
    let steps = Steps::default();
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(timeout));
    let opening = MultiplexedConnection::open(server, &steps, "tidings-doctor", config, timeout);
    let mut connection = steps.within(Server::attempt_limit(timeout), opening).await?;
    let lacks = script::lacks(&mut connection, wish.role).await.map_err(|error| error.to_string());
    let facts = Facts::gather(&mut connection, &Keys::new(&wish.key_prefix), wish.watch).await?;
    let names = Names::new(&wish.key_prefix, "").expect("an empty default channel is always valid");
    let mut findings = vec![promises::server(&facts), promises::role(&facts)];
    findings.push(promises::rights(&facts, &lacks));
    findings.extend(promises::persistence(&facts));
    findings.extend(promises::failover(&facts));
    findings.extend(memory::findings(&facts, &wish.retention));
    findings.extend(traffic::findings(&facts, &names));
    Ok(findings)
}

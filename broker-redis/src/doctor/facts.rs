//! What a Redis says of itself. What it refuses to say is a fact too.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{Cmd, FromRedisValue};
use tokio::time::{Instant, sleep};

use crate::{keys::Keys, multiplexed::MultiplexedConnection};

/// How often the way there and back is measured: the shortest counts.
const PINGS: usize = 10;
/// All that is asked of INFO.
const SECTIONS: [&str; 7] = ["server", "clients", "memory", "persistence", "stats", "replication", "cluster"];
/// The settings that matter.
const SETTINGS: [&str; 7] = [
    "appendfsync",
    "client-output-buffer-limit",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "save",
];

#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    /// The fields of INFO.
    pub(super) info: HashMap<String, String>,
    /// The settings; `None` where they may not be asked for.
    pub(super) settings: Option<HashMap<String, String>>,
    /// Who is signed in; `None` where that may not be asked for.
    pub(super) user: Option<String>,
    /// The channels that somebody listens to by name, without those of Tidings itself; `None` where they may not be
    /// asked for.
    pub(super) channels: Option<Vec<String>>,
    /// How many patterns are listened to.
    pub(super) patterns: Option<u64>,
    /// Channels on which Tidings has published; `None` where that may not be asked for.
    pub(super) registered: Option<u64>,
    /// PUBLISH a second, and all commands a second, just now.
    pub(super) rates: Option<[f64; 2]>,
    /// The shortest way there and back.
    pub(super) round_trip: Duration,
    /// By how much its clock is ahead of this machine's, in seconds; `None` where it may not be asked for.
    pub(super) ahead: Option<f64>,
}

impl Facts {
    /// Asks for all of it. It compares two counts that are `watch` apart.
    pub(super) async fn gather(
        connection: &mut MultiplexedConnection,
        keys: &Keys,
        watch: Duration,
    ) -> Result<Self, String> {
        let info: String = redis::cmd("INFO")
            .arg(&SECTIONS)
            .query_async(connection)
            .await
            .map_err(|error| format!("it does not answer INFO, without which nothing is known of it: {error}"))?;
        let mut facts = Self { info: fields(&info), ..Self::default() };
        facts.settings = ask(connection, redis::cmd("CONFIG").arg("GET").arg(&SETTINGS)).await;
        facts.user = ask(connection, redis::cmd("ACL").arg("WHOAMI")).await;
        let channels: Option<Vec<String>> = ask(connection, redis::cmd("PUBSUB").arg("CHANNELS")).await;
        let others = |all: Vec<String>| all.into_iter().filter(|name| !keys.is_own(name.as_bytes())).collect();
        facts.channels = channels.map(others);
        facts.patterns = ask(connection, redis::cmd("PUBSUB").arg("NUMPAT")).await;
        facts.registered = ask(connection, redis::cmd("ZCARD").arg(keys.registry())).await;
        facts.round_trip = round_trip(connection).await?;
        facts.ahead = ahead(connection, facts.round_trip).await;
        facts.rates = rates(connection, watch).await;
        Ok(facts)
    }

    /// A field of INFO; '' where there is none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.info.get(field).map_or("", String::as_str)
    }

    /// A number of INFO; 0 where there is none.
    pub(super) fn number(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap_or(0)
    }

    /// A setting; `None` where it is not known.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref()?.get(name).map(String::as_str)
    }
}

/// The answer; `None` where there is none of this kind.
async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, call: &Cmd) -> Option<T> {
    call.query_async(connection).await.ok()
}

/// `name:value` lines.
fn fields(info: &str) -> HashMap<String, String> {
    let pairs = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn round_trip(connection: &mut MultiplexedConnection) -> Result<Duration, String> {
    let mut shortest = Duration::MAX;
    for _ in 0..PINGS {
        let sent = Instant::now();
        let () = redis::cmd("PING").query_async(connection).await.map_err(|error| error.to_string())?;
        shortest = shortest.min(sent.elapsed());
    }
    Ok(shortest)
}

async fn ahead(connection: &mut MultiplexedConnection, round_trip: Duration) -> Option<f64> {
    let (seconds, micros): (u64, u64) = ask(connection, &redis::cmd("TIME")).await?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let there = Duration::from_secs(seconds) + Duration::from_micros(micros);
    Some(there.as_secs_f64() - (here.as_secs_f64() - round_trip.as_secs_f64() / 2.0))
}

async fn rates(connection: &mut MultiplexedConnection, watch: Duration) -> Option<[f64; 2]> {
    let first = counts(connection).await?;
    let begun = Instant::now();
    sleep(watch).await;
    let second = counts(connection).await?;
    let seconds = begun.elapsed().as_secs_f64();
    // The first question is among the commands.
    let rate = |index: usize, own: u64| second[index].saturating_sub(first[index] + own) as f64 / seconds;
    Some([rate(0, 0), rate(1, 1)])
}

/// Calls of PUBLISH, also by scripts, and commands of clients, since it was started.
async fn counts(connection: &mut MultiplexedConnection) -> Option<[u64; 2]> {
    let info: String = ask(connection, redis::cmd("INFO").arg("stats").arg("commandstats")).await?;
    let fields = fields(&info);
    let publishes = fields.get("cmdstat_publish").and_then(|line| line.split(',').next()?.strip_prefix("calls="));
    let commands = fields.get("total_commands_processed")?.parse().ok()?;
    Some([publishes.and_then(|calls| calls.parse().ok()).unwrap_or(0), commands])
}

//! Removing channels from the registry whose head has expired. Publishers do it, as fast as such names can come: a
//! thousand at a time, with pauses, until all were looked at; then not for a while. Several of them do the same work
//! twice, and no harm.

use std::sync::Arc;

use tidings::{
    broker::{Error, Retention},
    channel::Names,
    limits::{HEAD_LINGER, REGISTRY_SWEEP, REGISTRY_SWEEP_PAUSE, REGISTRY_SWEPT},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{malformed_reply, queries::Queries};
use crate::{connection::Connection, keys::Keys, script};

/// What sweeps.
pub(crate) struct Sweep {
    queries: Queries,
    keys: Keys,
    names: Names,
    retention: Retention,
}

impl Sweep {
    pub(crate) fn new(connection: Arc<Connection>, keys: Keys, names: Names, retention: Retention) -> Self {
        Self { queries: Queries::new(connection), keys, names, retention }
    }

    /// Sweeps until the token is cancelled.
    pub(crate) async fn run(self, closing: CancellationToken) {
        let sweeping = async {
            loop {
                // Names that were looked at in this round, and stay: their heads live longer than ours would, or they
                // are none of ours.
                let mut kept = 0;
                loop {
                    match self.sweep_some(&mut kept).await {
                        Ok(true) => sleep(REGISTRY_SWEEP_PAUSE).await,
                        Ok(false) => break,
                        Err(error) => {
                            tracing::debug!(%error, "the registry was not swept");
                            break;
                        }
                    }
                }
                sleep(REGISTRY_SWEEP).await;
            }
        };
        let _: Option<()> = closing.run_until_cancelled(sweeping).await;
    }

    /// Looks at some names that are old, after those that were kept. Answers whether there may be more.
    async fn sweep_some(&self, kept: &mut usize) -> Result<bool, Error> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME");
        let answer = self.queries.all(&pipeline, &[]).await?.into_iter().next().unwrap_or_default();
        let (seconds, _): (i64, i64) = redis::from_redis_value(answer).map_err(|_| malformed_reply())?;
        let lives_ms = self.retention.max_age_ms as i64 + HEAD_LINGER.as_millis() as i64;
        let registry = self.keys.registry();
        let expired = seconds.saturating_mul(1000).saturating_sub(lives_ms);
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGE").arg(&registry).arg("-inf").arg(expired).arg("BYSCORE");
        pipeline.arg("LIMIT").arg(*kept).arg(REGISTRY_SWEPT).arg("WITHSCORES");
        let answer = self.queries.all(&pipeline, &[]).await?.into_iter().next().unwrap_or_default();
        let old: Vec<(Vec<u8>, f64)> = redis::from_redis_value(answer).map_err(|_| malformed_reply())?;
        let names = old.iter().map(|(name, score)| {
            let name = std::str::from_utf8(name).ok().and_then(|name| self.names.parse(name).ok())?;
            Some((name, *score))
        });
        let names: Vec<_> = names.collect();
        *kept += names.iter().filter(|name| name.is_none()).count();
        let names: Vec<_> = names.into_iter().flatten().collect();
        if !names.is_empty() {
            let mut pipeline = redis::pipe();
            for (name, _) in &names {
                pipeline.cmd("EXISTS").arg(self.keys.head(name));
            }
            let there = self.queries.all(&pipeline, &[]).await?;
            let mut pipeline = redis::pipe();
            for ((name, score), there) in names.iter().zip(there) {
                if redis::from_redis_value(there).unwrap_or(true) {
                    *kept += 1;
                    continue;
                }
                let mut call = script::UNREGISTER.call();
                // Whole milliseconds, as Redis writes them again.
                call.arg(1).arg(&registry).arg(name.as_str()).arg(format!("{score:.0}"));
                pipeline.add_command(call);
            }
            if !pipeline.is_empty() {
                self.queries.all(&pipeline, &[&script::UNREGISTER]).await?;
            }
        }
        Ok(old.len() == REGISTRY_SWEPT)
    }
}

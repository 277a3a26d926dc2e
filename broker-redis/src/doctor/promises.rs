//! What the promises rely on: which server it is, its rights, and what it keeps when it falls.

use super::{Facts, Finding};

const OLDEST: u64 = 7;

/// Which server it is.
pub(super) fn server(facts: &Facts) -> Finding {
    const MATTER: &str = "server";
    let valkey = facts.text("valkey_version");
    let (kind, version) = if valkey.is_empty() { ("Redis", facts.text("redis_version")) } else { ("Valkey", valkey) };
    let mode = facts.text("redis_mode");
    let what = format!("{kind} {version}, {}", if mode.is_empty() { "of an unknown mode" } else { mode });
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    match mode {
        _ if version.is_empty() => Finding::bad(
            MATTER,
            "it does not report its version (INFO server)",
            "use a Redis from 7.0 on, or a Valkey: what can't say its version can't be relied on",
        ),
        "cluster" => Finding::bad(
            MATTER,
            what,
            "use a single server, or a primary with replicas: a cluster keeps no two channels at one place",
        ),
        _ if major < OLDEST => Finding::bad(MATTER, what, "upgrade to Redis 7.0 or later, or to Valkey"),
        _ => Finding::good(MATTER, what),
    }
}

/// How many follow it. Replicas themselves are refused when they are connected to.
pub(super) fn role(facts: &Facts) -> Finding {
    let replicas = facts.number("connected_slaves");
    Finding::good("role", format!("primary, with {replicas} replicas connected"))
}

/// What its user may do.
pub(super) fn rights(facts: &Facts, lacks: &Result<String, String>) -> Finding {
    const MATTER: &str = "rights";
    let user = facts.user.as_deref().unwrap_or("the user");
    match lacks {
        Ok(lacks) if lacks.is_empty() => {
            Finding::good(MATTER, format!("{user} may run all that services ask for when they connect"))
        }
        Ok(lacks) => Finding::bad(
            MATTER,
            lacks.clone(),
            "give its user these rights (docs/security.md has the smallest), or use a server that knows the commands",
        ),
        Err(error) => Finding::bad(
            MATTER,
            format!("scripts can't be loaded: {error}"),
            "allow SCRIPT LOAD and EVALSHA: publishing is one script, so that numbers have no holes",
        ),
    }
}

/// What a restart or a crash loses.
pub(super) fn persistence(facts: &Facts) -> Vec<Finding> {
    const MATTER: &str = "persistence";
    let mut findings = Vec::new();
    let saves = facts.setting("save").map(|save| !save.is_empty());
    findings.push(match (facts.text("aof_enabled"), facts.setting("appendfsync"), saves) {
        ("1", Some("always"), _) => {
            Finding::good(MATTER, "append-only file, synced with each write: a crash loses nothing")
        }
        ("1", Some("no"), _) => Finding::warning(
            MATTER,
            "append-only file, synced when the system likes: a crash of the machine loses half a minute",
            "CONFIG SET appendfsync everysec, or always where no message may be lost",
        ),
        ("1", None, _) => Finding::warning(
            MATTER,
            "append-only file; how often it is synced can't be asked (CONFIG GET)",
            "look up appendfsync with whoever runs it: everysec, or always where no message may be lost",
        ),
        ("1", ..) => Finding::good(
            MATTER,
            "append-only file, synced each second: a crash of the machine loses about that, which streams are told",
        ),
        (_, _, Some(false)) => Finding::warning(
            MATTER,
            "nothing is written to disk: a restart loses all messages and subscriptions, which streams are told",
            "CONFIG SET appendonly yes, and in its configuration file, unless that is meant",
        ),
        (_, _, None) => Finding::warning(
            MATTER,
            "no append-only file; whether there are snapshots can't be asked (CONFIG GET)",
            "have whoever runs it turn appendonly on",
        ),
        _ => Finding::warning(
            MATTER,
            "snapshots alone: a crash loses what came after the last one, subscriptions included",
            "CONFIG SET appendonly yes, and in its configuration file",
        ),
    });
    for (field, what) in [("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "last snapshot")] {
        let status = facts.text(field);
        if !status.is_empty() && status != "ok" {
            let what = format!("the {what} could not be written: {status}");
            findings.push(Finding::bad(MATTER, what, "look into Redis's log: its disk is full, or it may not write"));
        }
    }
    findings
}

/// What a failover loses.
pub(super) fn failover(facts: &Facts) -> Option<Finding> {
    const MATTER: &str = "failover";
    let replicas = facts.number("connected_slaves");
    if replicas == 0 {
        return None;
    }
    let is_on = |name: &str| facts.setting(name).map(|value| value != "0");
    // Without a limit of lag it counts for nothing.
    let least = is_on("min-replicas-to-write").zip(is_on("min-replicas-max-lag")).map(|(least, lag)| least && lag);
    Some(match least {
        Some(true) => Finding::good(MATTER, "a primary that is cut off from its replicas takes no writes"),
        Some(false) => Finding::warning(
            MATTER,
            "a primary that is cut off goes on taking writes, which are lost when a replica takes over",
            "CONFIG SET min-replicas-to-write 1 where there are two replicas or more; or publish with min_replicas",
        ),
        None => Finding::warning(
            MATTER,
            "whether a primary that is cut off takes writes can't be asked (CONFIG GET)",
            "look up min-replicas-to-write with whoever runs it",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn said(info: &[(&str, &str)]) -> Facts {
        let info = info.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Facts { info, ..Facts::default() }
    }

    #[test]
    fn old_servers_and_clusters_are_bad_and_the_rest_is_named() {
        for (version, valkey, mode, verdict, what) in [
            ("7.0.15", "", "standalone", Verdict::Good, "Redis 7.0.15, standalone"),
            ("7.2.4", "8.0.1", "standalone", Verdict::Good, "Valkey 8.0.1, standalone"),
            ("10.0.0", "", "standalone", Verdict::Good, "Redis 10.0.0, standalone"),
            ("6.2.14", "", "standalone", Verdict::Bad, "Redis 6.2.14, standalone"),
            ("7.2.0", "", "cluster", Verdict::Bad, "Redis 7.2.0, cluster"),
            ("", "", "", Verdict::Bad, "it does not report its version (INFO server)"),
        ] {
            let facts = said(&[("redis_version", version), ("valkey_version", valkey), ("redis_mode", mode)]);
            let found = server(&facts);
            assert_eq!((found.verdict, found.what.as_str()), (verdict, what));
            assert_eq!(found.advice.is_empty(), verdict == Verdict::Good);
        }
    }

    #[test]
    fn what_could_not_be_written_is_bad() {
        let info = [("aof_enabled", "1"), ("aof_last_write_status", "err"), ("rdb_last_bgsave_status", "ok")];
        let settings = [("appendfsync", "everysec")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let facts = Facts { settings: Some(settings.into()), ..said(&info) };
        let verdicts: Vec<_> = persistence(&facts).iter().map(|found| found.verdict).collect();
        assert_eq!(verdicts, [Verdict::Good, Verdict::Bad]);
    }
}

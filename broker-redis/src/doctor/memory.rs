//! Whether there is room for what is to be kept, and for what waits to be sent.

use tidings::{broker::Retention, limits::OUTPUT_BUFFER_BYTES};

use super::{Facts, Finding};
use crate::output_limit;

const MIB: f64 = (1 << 20) as f64;

pub(super) fn findings(facts: &Facts, retention: &Retention) -> Vec<Finding> {
    let mut findings = vec![eviction(facts), room(facts, retention)];
    findings.extend(buffers(facts));
    findings
}

fn eviction(facts: &Facts) -> Finding {
    const MATTER: &str = "eviction";
    match facts.setting("maxmemory-policy").unwrap_or_else(|| facts.text("maxmemory_policy")) {
        "noeviction" => Finding::good(MATTER, "noeviction: when its memory is full, publishes are refused"),
        "" => Finding::warning(MATTER, "it does not say its policy", "make sure that it is noeviction"),
        policy => Finding::bad(
            MATTER,
            format!("{policy}: when its memory is full, it throws logs away"),
            "CONFIG SET maxmemory-policy noeviction; caches belong on another Redis",
        ),
    }
}

/// Whether the history fits. How much it will take depends on the channels, of which only those of now are known.
fn room(facts: &Facts, retention: &Retention) -> Finding {
    const MATTER: &str = "memory";
    let used = facts.number("used_memory");
    let limit = Some(facts.number("maxmemory")).filter(|limit| *limit > 0);
    let total = limit.unwrap_or_else(|| facts.number("total_system_memory"));
    let listened = facts.channels.as_ref().map_or(0, Vec::len) as u64;
    let channels = facts.registered.unwrap_or(0).max(listened).max(1);
    let most = channels.saturating_mul(retention.max_bytes);
    let of = if limit.is_some() { "maxmemory" } else { "the machine's memory" };
    let what = format!(
        "{} used of {} ({of}); the history of {channels} channels takes {} at most, without what durable subscriptions hold",
        size(used),
        size(total),
        size(most)
    );
    if total == 0 {
        return Finding::warning(MATTER, what, "it does not say how much memory it has: compare it yourself");
    }
    if most.saturating_add(used) > total {
        return Finding::warning(
            MATTER,
            what,
            "give it more, or keep less: --history-max-bytes and --history-max-age of the publishers. Busy channels alone fill theirs",
        );
    }
    if limit.is_none() {
        return Finding::warning(
            MATTER,
            what,
            "set maxmemory below the machine's: without it the system ends a Redis that grows too large",
        );
    }
    Finding::good(MATTER, what)
}

fn buffers(facts: &Facts) -> Vec<Finding> {
    const MATTER: &str = "buffers";
    let mut findings = Vec::new();
    let killed = facts.number("client_output_buffer_limit_disconnections");
    if killed > 0 {
        findings.push(Finding::warning(
            MATTER,
            format!("{killed} connections were ended since its start because more waited for them than they may have"),
            "find out whose (its log has their names), and raise client-output-buffer-limit or have them read faster",
        ));
    }
    let Some(setting) = facts.setting("client-output-buffer-limit") else {
        findings.push(Finding::warning(
            MATTER,
            "client-output-buffer-limit can't be asked for (CONFIG GET)",
            "make sure that normal clients have no limit, or one of 16 MiB at least",
        ));
        return findings;
    };
    let normal = output_limit::read(setting);
    if (1..OUTPUT_BUFFER_BYTES).contains(&normal) {
        findings.push(Finding::warning(
            MATTER,
            format!(
                "normal clients may have {} waiting: replays read small pages, and are slower",
                size(normal as u64)
            ),
            "CONFIG SET client-output-buffer-limit \"normal 0 0 0\", which is the default",
        ));
    } else if killed == 0 {
        findings.push(Finding::good(MATTER, "no connection was ended because of what waited for it"));
    }
    findings
}

fn size(bytes: u64) -> String {
    let mib = bytes as f64 / MIB;
    if mib >= 1_024.0 { format!("{:.1} GiB", mib / 1_024.0) } else { format!("{mib:.1} MiB") }
}

//! What goes over it now, and how far away it is.

use tidings::{
    channel::Names,
    limits::{CLOCKS_APART, FAR_AWAY},
};

use super::{Facts, Finding};

/// How many names are shown.
const SHOWN: usize = 5;

pub(super) fn findings(facts: &Facts, names: &Names) -> Vec<Finding> {
    let mut findings = vec![channels(facts)];
    findings.extend(bad_names(facts, names));
    findings.push(latency(facts));
    findings.extend(clock(facts));
    findings
}

fn channels(facts: &Facts) -> Finding {
    const MATTER: &str = "traffic";
    let Some(channels) = &facts.channels else {
        return Finding::warning(
            MATTER,
            "channels can't be asked for (PUBSUB CHANNELS)",
            "nothing needs it but this: allow it to see them here",
        );
    };
    let patterns = facts.patterns.unwrap_or(0);
    let rates = match facts.rates {
        Some([publishes, commands]) => format!("{publishes:.0} publishes and {commands:.0} commands a second"),
        None => "rates that it does not say".to_owned(),
    };
    let registered = match facts.registered {
        Some(0) | None => String::new(),
        Some(count) => format!("; Tidings has published on {count}"),
    };
    let listened = channels.len();
    Finding::good(MATTER, format!("{listened} channels and {patterns} patterns are listened to; {rates}{registered}"))
}

/// Names that can't be channels here, among those that somebody listens to.
fn bad_names(facts: &Facts, names: &Names) -> Option<Finding> {
    let is_bad = |name: &&String| names.parse(name).is_err();
    let bad: Vec<&String> = facts.channels.iter().flatten().filter(is_bad).collect();
    if bad.is_empty() {
        return None;
    }
    let mut shown: Vec<String> = bad.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    if bad.len() > SHOWN {
        shown.push(format!("{} more", bad.len() - SHOWN));
    }
    Some(Finding::warning(
        "names",
        format!("these are no channels of Tidings: {}", shown.join(", ")),
        "what is published on them goes on as before, and Tidings does not see it; the README says which names it takes",
    ))
}

fn latency(facts: &Facts) -> Finding {
    const MATTER: &str = "latency";
    let what = format!("{:.2} ms there and back", facts.round_trip.as_secs_f64() * 1_000.0);
    if facts.round_trip > FAR_AWAY {
        return Finding::warning(MATTER, what, "run the services nearer to it: each publish takes at least that");
    }
    Finding::good(MATTER, what)
}

fn clock(facts: &Facts) -> Option<Finding> {
    let ahead = facts.ahead.filter(|ahead| ahead.abs() > CLOCKS_APART.as_secs_f64())?;
    let which = if ahead > 0.0 { "ahead of" } else { "behind" };
    Some(Finding::warning(
        "clock",
        format!("its clock is {:.1} s {which} this machine's", ahead.abs()),
        "let both keep time (NTP): messages and leases carry Redis's time, and clients compare it with theirs",
    ))
}

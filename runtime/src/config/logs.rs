//! What a service writes to its logs.

use clap::Args;
use tracing_subscriber::filter::LevelFilter;

use crate::telemetry::Format;

const DEFAULT: &str = "info";
/// How a filter is written.
const FORM: &str =
    "Write a level (off, error, warn, info, debug, trace), or levels by module, such as info,tidings=debug";
/// The crates of a service that log. A name of one alone means all that it logs.
const MODULES: [&str; 13] = [
    "tidings",
    "tidings_publisher",
    "tidings_subscriber",
    "tidings_redis",
    "tidings_transport",
    "tidings_auth",
    "tidings_runtime",
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "tonic",
    "tower",
];

/// What is logged, and how it looks. Logs go to standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub struct Logs {
    /// What is logged: a level of Tidings itself (error, warn, info, debug with a line a message, trace), or levels by
    /// module, such as info,h2=debug; an empty text is the default
    #[arg(long = "log-filter", env = "TIDINGS_LOG", value_name = "FILTER", default_value = DEFAULT,
        value_parser = filter)]
    pub filter: String,
    /// How it looks: lines for people, one JSON object a line, or the former on a terminal and the latter otherwise
    #[arg(long = "log-format", env = "TIDINGS_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub format: Format,
}

/// A filter as the log takes it, without white space; an empty one is the default. A word that is neither a level nor a
/// module is a mistake: the filter library would take it for a module, and silence everything else.
fn filter(text: &str) -> Result<String, String> {
    let directives: Vec<_> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    if let Some(unknown) = directives.iter().find(|directive| !is_known(directive)) {
        return Err(format!("{unknown:?} is neither a level nor a module. {FORM}"));
    }
    let filter = if directives.is_empty() { DEFAULT.to_owned() } else { directives.join(",") };
    match tracing_subscriber::EnvFilter::builder().parse(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(format!("{error}. {FORM}")),
    }
}

/// Whether a directive says its level, is one, or names something that logs.
fn is_known(directive: &str) -> bool {
    let target = directive.split(['=', '[']).next().unwrap_or_default();
    if target.contains(|c: char| c.is_whitespace() || c == ';') {
        return false;
    }
    let module = directive.split("::").next().unwrap_or_default();
    directive.contains(['=', '[']) || directive.parse::<LevelFilter>().is_ok() || MODULES.contains(&module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_would_silence_everything_is_refused() {
        for bad in [
            "warning",
            "verbose",
            "info,warning",
            "tiding",
            "tidings=loud",
            "inf o",
            "info tidings=debug",
            "info;tidings=debug",
        ] {
            let text = filter(bad).expect_err(bad);
            assert!(text.contains("error, warn, info, debug, trace") && text.contains("info,tidings=debug"), "{text}");
        }
    }

    #[test]
    fn levels_and_modules_are_taken_and_an_empty_filter_is_the_default() {
        for good in ["warn", "OFF", "tidings", "tidings_publisher::unary", "info,h2", "debug,other=off", "[span]=trace"]
        {
            assert_eq!(filter(good).expect(good), good);
        }
        assert_eq!(filter(" info , tidings=debug,").expect("valid"), "info,tidings=debug");
        for empty in ["", " ", ","] {
            assert_eq!(filter(empty).expect("valid"), DEFAULT);
        }
    }
}

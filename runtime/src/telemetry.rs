//! Logs: lines for people on a terminal, one JSON object a line otherwise, always on standard error. Called from a
//! `main.rs` only. What the lines hold from outside is made safe for them in [`safe`].

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*};

mod safe;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `human` on a terminal, `json` otherwise.
    Auto,
    /// Lines for people, in colour on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends the program's logs to standard error, as far as the filter allows, and panics too. A filter
/// is a level, which means Tidings itself (libraries log at most `info`), or levels by module such as
/// `info,tidings=debug,h2=debug`.
pub fn init(filter: &str, format: Format) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(ours(filter))?;
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A second call changes nothing: the first setup of the logs stays.
    let _ = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(safe::Json(io::stderr))).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(terminal).fmt_fields(safe::fields()).with_writer(io::stderr)).try_init()
    };
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text");
        tracing::error!(location, "panicked: {text}");
    }));
    Ok(())
}

/// What HTTP/2 logs at `debug` would drown the line of a message.
fn ours(filter: &str) -> String {
    match filter.trim() {
        level @ ("debug" | "trace") => format!("info,tidings={level}"),
        filter => filter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_that_of_tidings() {
        assert_eq!(ours("debug"), "info,tidings=debug");
        assert_eq!(ours(" trace "), "info,tidings=trace");
        for filter in ["info", "warn", "off", "debug,h2=info"] {
            assert_eq!(ours(filter), filter);
        }
    }
}

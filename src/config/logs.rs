//! What a service tells in its logs.

use clap::Args;

use crate::server::telemetry::Format;

/// What is logged, and how it looks. Logs go to standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub struct Logs {
    /// What is logged: a level of Tidings itself (error, warn, info, debug with a line a message, trace), or levels by
    /// module, such as info,h2=debug
    #[arg(long = "log-filter", env = "TIDINGS_LOG", value_name = "FILTER", default_value = "info",
        value_parser = filter)]
    pub filter: String,
    /// How it looks: lines for people, one JSON object a line, or the former on a terminal and the latter otherwise
    #[arg(long = "log-format", env = "TIDINGS_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub format: Format,
}

fn filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write a level, or levels by module, such as info,tidings=debug")),
    }
}

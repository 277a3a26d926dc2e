//! The command line as a whole.

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{channels::Channels, healthcheck::Healthcheck, list::List, publish::Publish, serve::Serve, tail::Tail};

/// Typed publish/subscribe over Redis: both services in one process, and the commands of a client.
///
/// Without a command it serves, on the embedded broker unless --redis-url names a Redis.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to serve, where no command is given.
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run publisher and subscriber in one process (the default)
    Serve(Box<Serve>),
    /// Publish one message and print its receipt
    Publish(Publish),
    /// Follow a channel, or all channels that match a pattern
    Tail(Tail),
    /// List the retained messages of a channel
    List(List),
    /// List the channels
    Channels(Channels),
    /// Ask services whether they serve, and fail when one does not
    Healthcheck(Healthcheck),
    /// Print a completion script for a shell
    Completions(Completions),
}

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// The script.
    pub(crate) fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tidings", &mut script);
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_needs_no_command() {
        let cli = Cli::try_parse_from(["tidings", "--publisher-listen", "127.0.0.1:0"]).expect("valid");
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["tidings", "serve", "--publisher-listen", "127.0.0.1:0"]).expect("valid");
        assert!(matches!(cli.command, Some(Command::Serve(_))));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            &["tidings", "publish", "c"][..],
            &["tidings", "publish", "c", "m", "--data", "f"],
            &["tidings", "publish", "c", "m", "--attribute", "novalue"],
            &["tidings", "tail", "c", "--earliest", "--last", "3"],
            &["tidings", "tail", "c", "--last", "0"],
            &["tidings", "tail", "c", "--since", "yesterday"],
            &["tidings", "list", "c", "--subscriber", "https://localhost:1"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }
}

//! The command line as a whole.

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    access::{Auth, Token},
    bench::Bench,
    channels::Channels,
    consume::Consume,
    doctor::Doctor,
    healthcheck::Healthcheck,
    list::List,
    publish::Publish,
    serve::Serve,
    subscription::Subscription,
    tail::Tail,
    top::Top,
};

/// Typed publish/subscribe over Redis: both services in one process, and the commands of a client
///
/// Without a command it serves, on the embedded broker unless --redis-url names a Redis.
#[derive(Debug, Parser)]
#[command(
    name = "tidings",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
A first round, in two terminals:
  tidings                         serves, without Redis; the rest finds it on this machine
  tidings tail orders             follows a channel
  tidings publish orders hello    publishes on it
`tidings COMMAND --help` says what each command can do. Services elsewhere are named by --publisher and --subscriber, or the
variables TIDINGS_PUBLISHER and TIDINGS_SUBSCRIBER."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to serve, where no command is given.
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What to do. Each is described at its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    Publish(Publish),
    Tail(Tail),
    List(List),
    Channels(Channels),
    Subscription(Subscription),
    Consume(Consume),
    Top(Top),
    Bench(Bench),
    Healthcheck(Healthcheck),
    Doctor(Box<Doctor>),
    Token(Token),
    Auth(Auth),
    Completions(Completions),
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings completions bash > ~/.local/share/bash-completion/completions/tidings
  tidings completions zsh > \"${fpath[1]}/_tidings\"
  tidings completions fish > ~/.config/fish/completions/tidings.fish")]
pub(crate) struct Completions {
    /// The shell
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
            &["tidings", "publish", "c", "--dry-run"],
            &["tidings", "publish", "c", "-x"],
            &["tidings", "publish", "c", "m", "--lines", "--count", "2"],
            &["tidings", "publish", "c", "m", "--rate", "2"],
            &["tidings", "publish", "c", "m", "--count", "2", "--id", "0192f5c0-0000-7000-8000-000000000001"],
            &["tidings", "publish", "c", "m", "--count", "0"],
            &["tidings", "publish", "c", "m", "--output", "xml"],
            &["tidings", "publish", "c", "m", "--timeout", "0s"],
            &["tidings", "tail", "c", "--count", "0"],
            &["tidings", "tail", "c", "--json", "--output", "json"],
            &["tidings", "tail", "c", "--earliest", "--last", "3"],
            &["tidings", "tail", "c", "--last", "0"],
            &["tidings", "tail", "c", "--since", "yesterday"],
            &["tidings", "list", "c", "--subscriber", "ftp://localhost:1"],
            &["tidings", "list", "c", "--cert", "only.pem"],
            &["tidings", "subscription"],
            &["tidings", "subscription", "create"],
            &["tidings", "subscription", "create", "s", "--earliest", "--last", "3"],
            &["tidings", "subscription", "create", "s", "--since", "10m", "--after", "x"],
            &["tidings", "subscription", "create", "s", "--ack-deadline", "30"],
            &["tidings", "subscription", "create", "s", "--max-attempts", "1001"],
            &["tidings", "subscription", "create", "s", "--max-outstanding", "0"],
            &["tidings", "subscription", "create", "s", "--label", "novalue"],
            &["tidings", "subscription", "create", "s", "--resume"],
            &["tidings", "subscription", "update", "s", "--paused", "--resume"],
            &["tidings", "subscription", "update", "s", "--label", "a=b", "--no-labels"],
            &["tidings", "subscription", "update", "s", "--filter", "attributes:a"],
            &["tidings", "subscription", "seek", "s"],
            &["tidings", "subscription", "seek", "s", "--earliest", "--latest"],
            &["tidings", "subscription", "redrive", "s"],
            &["tidings", "subscription", "redrive", "s", "1-2-e", "--all"],
            &["tidings", "subscription", "redrive", "s", "--all", "--rate", "0"],
            &["tidings", "consume"],
            &["tidings", "consume", "s", "--ack", "--exec", "true"],
            &["tidings", "consume", "s", "--exec", "true", "--json"],
            &["tidings", "consume", "s", "--exec", "true", "--output", "text"],
            &["tidings", "consume", "s", "--concurrency", "0"],
            &["tidings", "consume", "s", "--concurrency", "1001"],
            &["tidings", "consume", "s", "--count", "0"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_messages_and_so_is_everything_after_two_dashes() {
        for (args, message) in [
            (&["-5"][..], "-5"),
            (&["-1.5e3"], "-1.5e3"),
            (&["-"], "-"),
            (&["--", "--dry-run"], "--dry-run"),
            (&["--", "-x"], "-x"),
        ] {
            let cli = Cli::try_parse_from([&["tidings", "publish", "c"], args].concat()).expect(message);
            assert!(format!("{cli:?}").contains(&format!("message: Some({message:?})")), "{cli:?}");
        }
    }

    #[test]
    fn every_client_command_has_help_and_a_timeout() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            if ["serve", "help"].contains(&name) {
                continue;
            }
            has_examples(command, name);
            // These ask nobody, or Redis alone, which has a timeout of its own.
            if ["completions", "token", "auth", "doctor"].contains(&name) {
                continue;
            }
            if !command.has_subcommands() {
                is_complete(command, name);
            }
            for sub in command.get_subcommands() {
                let name = format!("{name} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{name}");
                has_examples(sub, &name);
                is_complete(sub, &name);
            }
        }
    }

    fn has_examples(command: &clap::Command, name: &str) {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(examples.contains(&format!("  tidings {name}")), "{name}");
    }

    fn is_complete(command: &clap::Command, name: &str) {
        let flags: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        assert!(flags.contains(&"timeout"), "{name}: {flags:?}");
        if name != "healthcheck" {
            assert!(flags.contains(&"output"), "{name}: {flags:?}");
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {argument}");
        }
    }
}

//! Where the commands print: a buffered standard output that knows whether colours are welcome, and notes beside it on
//! standard error. What this module must not know: what is printed.

use std::{
    fmt, future,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
    os::fd::AsFd as _,
};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use tokio::{io::Interest, net::unix::pipe::Sender};

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Json,
}

/// How a command prints, as a flag.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// How it prints: text for people, or json: one object on each line, with all values unchanged
    #[arg(long, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// The same where `--json` is short for it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputOrJson {
    #[command(flatten)]
    form: Output,
    /// Short for --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Output {
    /// Whether it prints for programs.
    pub(crate) fn is_json(self) -> bool {
        self.output == Form::Json
    }
}

impl OutputOrJson {
    /// Whether it prints for programs.
    pub(crate) fn is_json(self) -> bool {
        self.json || self.form.is_json()
    }
}

/// Standard output. What is written becomes visible with [`Out::flush`].
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    palette: Palette,
    is_terminal: bool,
}

/// The styles of what is printed for people; all of them plain where colours are not welcome.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Palette {
    /// What is rarely read: times and attributes.
    pub(crate) faint: Style,
    /// A channel's name.
    pub(crate) channel: Style,
    /// A sequence.
    pub(crate) sequence: Style,
    /// A loss.
    pub(crate) warning: Style,
    /// A heading.
    pub(crate) heading: Style,
}

impl Out {
    /// Colours are used on a terminal, unless `NO_COLOR` and its relatives say otherwise.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let palette = match AutoStream::choice(&stdout) {
            ColorChoice::Never => Palette::default(),
            _ => Palette::coloured(),
        };
        let is_terminal = stdout.is_terminal();
        Self { writer: BufWriter::new(stdout), palette, is_terminal }
    }

    /// Whether a person looks at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The styles to print with.
    pub(crate) fn palette(&self) -> Palette {
        self.palette
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.writer, "{line}")
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Makes what was written visible.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Palette {
    fn coloured() -> Self {
        Self {
            faint: Style::new().dimmed(),
            channel: AnsiColor::Cyan.on_default(),
            sequence: AnsiColor::Green.on_default(),
            warning: AnsiColor::Yellow.on_default().bold(),
            heading: Style::new().bold(),
        }
    }
}

/// Waits until the reader of our output has gone away, as `head` does, though there is nothing to print. It never ends
/// where the system cannot report it, as of files.
pub(crate) async fn reader_gone() {
    // A copy of the descriptor, which is only watched: nothing about the pipe itself changes.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
    if let Ok(watched) = watched
        && watched.ready(Interest::ERROR).await.is_ok_and(|ready| ready.is_error())
    {
        return;
    }
    future::pending().await
}

/// Writes a line to standard error. A closed one is no reason to fail.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

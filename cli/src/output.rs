//! Where the commands print: a buffered standard output that knows whether colours are welcome, and notes beside it on
//! standard error. What this module must not know: what is printed.

use std::{
    fmt,
    io::{self, BufWriter, Stdout, Write},
};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// Standard output. What is written becomes visible with [`Out::flush`].
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    palette: Palette,
}

/// The styles of what is printed for people; all of them plain where colours are not welcome.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Palette {
    /// What is seldom read: times and attributes.
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
        Self { writer: BufWriter::new(stdout), palette }
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

/// Writes a line to standard error. A closed one is no reason to fail.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

//! The live screen of a terminal: drawn over and over in place, and given back as it was.

use std::io;

use terminal_size::{Height, Width, terminal_size_of};
use unicode_width::UnicodeWidthChar as _;

use crate::output::Out;

/// The other screen of the terminal, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// The rest of a line, and of the screen, is empty.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// What a terminal has that does not say its size.
const SIZE: (usize, usize) = (80, 24);

/// A terminal's screen, until it is dropped.
pub(super) struct Screen<'a> {
    pub(super) out: &'a mut Out,
}

impl<'a> Screen<'a> {
    /// Takes the screen.
    pub(super) fn enter(out: &'a mut Out) -> io::Result<Self> {
        out.raw(ENTER.as_bytes())?;
        Ok(Self { out })
    }

    /// Columns and lines that there are now.
    pub(super) fn size() -> (usize, usize) {
        match terminal_size_of(io::stdout()) {
            Some((Width(columns), Height(lines))) if columns > 0 && lines > 0 => (columns.into(), lines.into()),
            _ => SIZE,
        }
    }

    /// Shows these lines and nothing else, each cut where the screen ends.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (columns, height) = Self::size();
        let mut frame = HOME.to_owned();
        for (number, line) in lines.iter().take(height).enumerate() {
            if number > 0 {
                frame.push_str("\r\n");
            }
            frame.push_str(cut(line, columns));
            frame.push_str(CLEAR_LINE);
        }
        frame.push_str(CLEAR_BELOW);
        self.out.raw(frame.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to give back.
        let _ = self.out.raw(LEAVE.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// As much of a line as so many columns show.
fn cut(line: &str, columns: usize) -> &str {
    let mut width = 0;
    let end = line.char_indices().find(|(_, c)| {
        width += c.width().unwrap_or_default();
        width > columns
    });
    &line[..end.map_or(line.len(), |(end, _)| end)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_by_columns_not_by_bytes() {
        for (line, columns, shown) in
            [("abc", 3, "abc"), ("abcd", 3, "abc"), ("世界", 3, "世"), ("e\u{301}e", 1, "e\u{301}"), ("", 1, "")]
        {
            assert_eq!(cut(line, columns), shown);
        }
    }
}

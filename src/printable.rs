//! Texts from outside, for people's eyes: on a terminal, or in a line of a log. Channel names, payloads, attributes and
//! other servers' error texts may hold characters that move the cursor, colour the screen, or turn the direction of the
//! text beside them; these are shown as `\u{1b}`, never sent. Not for output that programs read: they get texts as they
//! are.

use std::{
    borrow::Cow,
    error::Error,
    fmt::{self, Write as _},
};

/// Whether a character is shown by its number: control characters (C0, DEL, C1), separators of lines and paragraphs,
/// and the invisible ones that turn or join text.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text on one line, with its hidden characters shown as Rust writes them: `\n`, `\u{202e}`. Others stay, backslashes
/// too.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) {
        true => Cow::Owned(Printable(text).to_string()),
        false => Cow::Borrowed(text),
    }
}

/// An error with its causes, none of which is said twice: some errors have their cause in their own words.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    Printable(&text).to_string()
}

/// The same as a value to be formatted.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(
    /// The text as it came.
    pub &'a str,
);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(is_hidden) {
            let hidden = part.chars().next_back().filter(|c| is_hidden(*c));
            f.write_str(&part[..part.len() - hidden.map_or(0, char::len_utf8)])?;
            if let Some(c) = hidden {
                write!(f, "{}", c.escape_default())?;
            }
        }
        Ok(())
    }
}

/// A JSON text that means the same and has no hidden character: in its strings they are written as `\u202e`. Line ends
/// between its values become spaces, so that it is one line.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            // Only white space: within strings JSON does not allow them.
            '\n' | '\r' | '\t' => safe.push(' '),
            c if is_hidden(c) => {
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_or_turns_is_left() {
        let ranges = [0..=0x1f, 0x7f..=0x9f, 0x202a..=0x202e, 0x2066..=0x2069, 0x200b..=0x200f, 0xfeff..=0xfeff];
        for c in ranges.into_iter().flatten().filter_map(char::from_u32) {
            let text = format!("a{c}b\\{c}");
            let shown = printable(&text);
            assert!(!shown.contains(c) && shown.is_ascii(), "{c:?}: {shown:?}");
            let value = format!("{{\"k{c}\":\"a{c}b\"}}");
            let json = printable_json(&value);
            assert!(json.is_ascii() && !json.contains(is_hidden), "{c:?}: {json:?}");
        }
        assert_eq!(printable("red\u{1b}[31m\nnext"), "red\\u{1b}[31m\\nnext");
        assert_eq!(printable("\u{202e}"), "\\u{202e}");
    }

    #[test]
    fn all_other_text_stays_as_it_is() {
        for text in ["", "Grüße, 世界 👋🏽", "a\\nb \"c\"", "C:\\u{1b}"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
            assert!(matches!(printable_json(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn json_means_the_same() {
        let json = "{\"b\": 1.10,\r\n\t\"a\u{7f}\":\"\u{202e}9007199254740993\u{feff}\"}";
        let safe = printable_json(json);
        assert_eq!(safe, "{\"b\": 1.10,   \"a\\u007f\":\"\\u202e9007199254740993\\ufeff\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&safe), value(json));
    }
}

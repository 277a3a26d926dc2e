//! Logs that no text from outside can forge: whatever a line holds, it stays one line, steers no terminal and hides
//! nothing. All lines pass here, so nobody who logs has to think of it.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    io,
};

use tidings::printable::{printable, printable_json};
use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{FormatFields, MakeWriter, format},
};

/// The fields of a line for people: the message first, then `name=value`, each value [as people may see it](printable).
/// The line's own colours are written around them.
pub(super) fn fields() -> impl for<'writer> FormatFields<'writer> {
    format::debug_fn(|writer, field, value| {
        let is_coloured = writer.has_ansi_escapes();
        match field.name() {
            "message" => {}
            name if is_coloured => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
            name => write!(writer, "{name}=")?,
        }
        write!(Fit(writer), "{value:?}")
    })
    .delimited(" ")
}

/// Escapes what is written.
struct Fit<W>(W);

impl<W: Write> Write for Fit<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&printable(text))
    }
}

/// Standard error, or what replaces it in tests, for JSON lines, each of which comes whole: JSON itself escapes
/// quotes and C0 only.
#[derive(Debug, Clone)]
pub(super) struct Json<M>(pub(super) M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Json<M> {
    type Writer = JsonWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonWriter(self.0.make_writer())
    }
}

#[derive(Debug)]
pub(super) struct JsonWriter<W>(W);

impl<W: io::Write> io::Write for JsonWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let object = text.trim_end_matches('\n');
        let safe = match printable_json(object) {
            Cow::Borrowed(_) => text.clone(),
            Cow::Owned(safe) => Cow::Owned(safe + &text[object.len()..]),
        };
        // In one piece: others write there as well.
        self.0.write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::{fmt::layer, prelude::*, registry};

    use super::*;
    use tidings::printable::is_hidden;

    const HOSTILE: &str =
        "a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}z";

    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
        }
    }

    fn log() {
        let error = io::Error::other(HOSTILE);
        tracing::warn!(text = HOSTILE, shown = %HOSTILE, debug = ?Some(HOSTILE), %error, number = 7, "said {HOSTILE}");
    }

    #[test]
    fn a_line_for_people_stays_one_and_keeps_its_own_colours_only() {
        for (colours, escapes) in [(false, 0), (true, 28)] {
            let written = Written::default();
            let to = written.clone();
            let layer = layer().with_ansi(colours).fmt_fields(fields()).with_writer(move || to.clone());
            tracing::subscriber::with_default(registry().with(layer), log);
            let text = written.text();
            let line = text.strip_suffix('\n').expect("a line");
            assert_eq!(line.matches('\u{1b}').count(), escapes, "{line:?}");
            assert!(!line.replace('\u{1b}', "").chars().any(is_hidden), "{line:?}");
            assert!(line.contains(r"said a\n2026") && line.contains(r"\u{1b}[31m\u{7f}\u{9b}2J\u{202e}"), "{line:?}");
            assert_eq!(line.matches("forged").count(), 5);
            assert!(colours || line.contains("number=7"), "{line:?}");
        }
    }

    #[test]
    fn a_json_line_stays_one_and_means_the_same() {
        let written = Written::default();
        let to = written.clone();
        let layer = layer().json().flatten_event(true).with_writer(Json(move || to.clone()));
        tracing::subscriber::with_default(registry().with(layer), log);
        let text = written.text();
        let line = text.strip_suffix('\n').expect("a line");
        assert!(!line.chars().any(is_hidden), "{line:?}");
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(object["text"], HOSTILE);
        assert_eq!(object["message"], format!("said {HOSTILE}"));
    }
}

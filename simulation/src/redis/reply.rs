//! Replies, and commands as they come.

/// What a command answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Status(&'static str),
    Error(String),
    Array(Vec<Reply>),
    Map(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Bulk(text.into().into_bytes())
    }

    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// As RESP 3 has it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let many = |out: &mut Vec<u8>, kind: u8, count: usize, items: &[Self]| {
            out.push(kind);
            out.extend_from_slice(format!("{count}\r\n").as_bytes());
            items.iter().for_each(|item| item.write(out));
        };
        match self {
            Self::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Self::Bulk(bytes) => {
                out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Nil => out.extend_from_slice(b"_\r\n"),
            Self::Status(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Self::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Self::Array(items) => many(out, b'*', items.len(), items),
            Self::Map(items) => many(out, b'%', items.len() / 2, items),
            Self::Push(items) => many(out, b'>', items.len(), items),
        }
    }
}

/// The words of the next command, and how many bytes it has; `None` where it is not there as a whole.
pub(crate) fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |kind: u8, at: &mut usize| -> Option<usize> {
        let rest = bytes.get(*at..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        assert_eq!(rest[0], kind, "a command is an array of words");
        *at += end + 1;
        std::str::from_utf8(&rest[1..end - 1]).ok()?.parse().ok()
    };
    let count = number(b'*', &mut at)?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(b'$', &mut at)?;
        words.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
        if at > bytes.len() {
            return None;
        }
    }
    Some((words, at))
}

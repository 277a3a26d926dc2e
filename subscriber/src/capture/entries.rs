//! Which channels are captured: the flag's names and patterns, as this replica can listen to them.

use std::sync::atomic::{AtomicBool, Ordering};

use tidings::{
    broker::Topic,
    channel::{ChannelName, InvalidName, Names, Pattern},
};

/// Reads what `--capture` names: channels, and patterns where there is a glob character. An empty text names nothing;
/// no text at all is the default channel.
pub fn parse(texts: Option<&[String]>, names: &Names) -> Result<Vec<Topic>, InvalidCapture> {
    let Some(texts) = texts else {
        return Ok(names.default_channel().cloned().map(Topic::Channel).into_iter().collect());
    };
    let mut topics = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let invalid = |error| InvalidCapture::Name(text.clone(), error);
        let topic = match text.contains(['*', '?', '[', '\\']) {
            true if !is_closed(text) => return Err(InvalidCapture::Open(text.clone())),
            true => Topic::Pattern(Pattern::parse(text).map_err(invalid)?),
            false => Topic::Channel(names.parse(text).map_err(invalid)?),
        };
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    Ok(topics)
}

/// Why a text names nothing that can be captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCapture {
    /// It is no channel's name, or no pattern.
    #[error("--capture {0:?} names no channel and no pattern")]
    Name(String, #[source] InvalidName),
    /// What follows the pattern in the name of its notices would be read as a part of it.
    #[error("--capture {0:?}: a [ without its ], or a \\ at the end")]
    Open(String),
}

/// Whether a pattern ends where it ends, also with something after it: as Redis reads it, a `]` may be a range's end.
fn is_closed(pattern: &str) -> bool {
    let mut rest = pattern.bytes().peekable();
    let mut in_class = false;
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' if rest.next().is_none() => return false,
            b'\\' => {}
            b'[' if !in_class => {
                in_class = true;
                rest.next_if_eq(&b'^');
            }
            b']' if in_class => in_class = false,
            _ if in_class && rest.next_if_eq(&b'-').is_some() => {
                rest.next();
            }
            _ => {}
        }
    }
    !in_class
}

/// What is captured, in the flag's order: where several cover a channel, the first of those that are open decides.
#[derive(Debug, Default)]
pub(super) struct Entries(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    topic: Topic,
    /// Its notices come.
    is_open: AtomicBool,
}

impl Entries {
    pub(super) fn new(topics: Vec<Topic>) -> Self {
        Self(topics.into_iter().map(|topic| Entry { topic, is_open: AtomicBool::new(false) }).collect())
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter().map(|entry| &entry.topic)
    }

    /// Says whether a topic's notices come. Answers whether that is news.
    pub(super) fn set_open(&self, topic: &Topic, is_open: bool) -> bool {
        let entry = self.0.iter().find(|entry| entry.topic == *topic);
        entry.is_some_and(|entry| entry.is_open.swap(is_open, Ordering::Relaxed) != is_open)
    }

    /// The topic through which a channel is captured.
    pub(super) fn source(&self, channel: &ChannelName) -> Option<&Topic> {
        let entry =
            self.0.iter().find(|entry| entry.is_open.load(Ordering::Relaxed) && covers(&entry.topic, channel))?;
        Some(&entry.topic)
    }

    /// Those whose notices do not come.
    pub(super) fn closed(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter().filter(|entry| !entry.is_open.load(Ordering::Relaxed)).map(|entry| &entry.topic)
    }
}

fn covers(topic: &Topic, channel: &ChannelName) -> bool {
    match topic {
        Topic::Channel(own) => own == channel,
        Topic::Pattern(pattern) => pattern.matches(channel.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("tidings", "channel1").expect("names")
    }

    fn parsed(texts: &[&str]) -> Result<Vec<Topic>, InvalidCapture> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse(Some(&texts), &names())
    }

    fn channel(name: &str) -> Topic {
        Topic::Channel(names().parse(name).expect("a name"))
    }

    #[test]
    fn names_and_patterns_are_distinguished() {
        let pattern = |text| Topic::Pattern(Pattern::parse(text).expect("a pattern"));
        assert_eq!(parse(None, &names()), Ok(vec![channel("channel1")]));
        assert_eq!(parse(None, &Names::new("tidings", "").expect("names")), Ok(Vec::new()));
        assert_eq!(parsed(&[""]), Ok(Vec::new()));
        let both = parsed(&["orders.eu", "orders.*", "orders.eu", "a[bc]"]);
        assert_eq!(both, Ok(vec![channel("orders.eu"), pattern("orders.*"), pattern("a[bc]")]));
        for open in ["a[b", "a[", "*\\", "[a\\]", "[\\", "[a-]", "[^"] {
            assert_eq!(parsed(&[open]), Err(InvalidCapture::Open(open.to_owned())), "{open}");
        }
        assert!(parsed(&["[]", "a]*", "\\[*", "\\\\*", "[a-]]", "[^-a]", "[a-c]"]).is_ok());
        for bad in ["a b", "tidings:c", "{x}", "a b*"] {
            assert!(matches!(parsed(&[bad]), Err(InvalidCapture::Name(text, _)) if text == bad), "{bad}");
        }
    }

    #[test]
    fn the_first_open_entry_decides() {
        let entries = Entries::new(parsed(&["orders.eu", "orders.*"]).expect("valid"));
        let (eu, us) = (names().parse("orders.eu").expect("a name"), names().parse("orders.us").expect("a name"));
        assert_eq!(entries.source(&eu), None);
        let topics: Vec<Topic> = entries.topics().cloned().collect();
        assert!(entries.set_open(&topics[1], true) && !entries.set_open(&topics[1], true));
        assert_eq!((entries.source(&eu), entries.source(&us)), (Some(&topics[1]), Some(&topics[1])));
        assert!(entries.set_open(&topics[0], true));
        assert_eq!((entries.source(&eu), entries.source(&us)), (Some(&topics[0]), Some(&topics[1])));
        assert!(entries.set_open(&topics[0], false));
        assert_eq!(entries.source(&eu), Some(&topics[1]));
        assert_eq!(entries.closed().collect::<Vec<_>>(), [&topics[0]]);
    }
}

//! What the heads of channels have listed on each server: for the oracle, and for a trace.

use std::collections::BTreeMap;

use crate::{
    redis::keys::{Keys, Value},
    schedule::CHANNELS,
    truth::Truth,
};

/// What was seen last, by server and channel.
#[derive(Default)]
pub(super) struct Heads {
    /// Epochs and losses, as a trace has them.
    noted: BTreeMap<(usize, &'static str), (String, String)>,
    listed: BTreeMap<(usize, &'static str), Vec<u8>>,
}

impl Heads {
    /// Looks at a server on which something was written.
    pub(super) fn look(&mut self, server: usize, keys: &Keys, truth: &mut Truth) {
        for channel in CHANNELS {
            let head = keys.get(format!("tidings:{{{channel}}}:head").as_bytes());
            let Some(Value::Hash(head)) = head else { continue };
            if let Some(history) = head.get(&b"h"[..])
                && self.listed.get(&(server, channel)) != Some(history)
            {
                self.listed.insert((server, channel), history.clone());
                truth.histories.insert((channel, String::from_utf8_lossy(history).into_owned()));
            }
            if truth.is_traced {
                let field = |name: &str| {
                    let value = head.get(name.as_bytes());
                    value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
                };
                let seen = (brief(&field("h")), brief(&field("l")));
                if self.noted.insert((server, channel), seen.clone()).as_ref() != Some(&seen) {
                    let ((epochs, losses), last) = (seen, field("s"));
                    truth.note(|| format!("S{server} has {channel} up to {last}: {epochs}; lost: {losses}"));
                }
            }
        }
    }
}

fn brief(list: &str) -> String {
    let words = list.split([';', ',']).map(|word| if word.len() == 16 { &word[..4] } else { word });
    words.collect::<Vec<_>>().join(" ")
}

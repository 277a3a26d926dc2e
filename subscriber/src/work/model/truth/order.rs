//! The order of messages that have ordering keys, by what the broker carried out.

use std::collections::{BTreeSet, HashMap, HashSet};

use tidings::{
    broker::subscriptions::Change,
    subscription::{Block, Generation},
};

/// Of each key at most one message is under way, and none before all lower ones are done.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The matching messages of each key.
    keys: HashMap<String, BTreeSet<i64>>,
    key_of: HashMap<i64, String>,
    /// The present generation, and the sequence after which it began.
    generation: Option<(Generation, i64)>,
    under_way: HashMap<String, i64>,
    begun: HashSet<i64>,
    done: HashSet<i64>,
}

impl Order {
    pub(super) fn published(&mut self, sequence: i64, key: &str) {
        self.keys.entry(key.to_owned()).or_default().insert(sequence);
        self.key_of.insert(sequence, key.to_owned());
    }

    pub(super) fn sought(&mut self, generation: Generation, after: i64) {
        self.generation = Some((generation, after));
        self.under_way.clear();
        self.begun.clear();
        self.done.clear();
    }

    /// A change was carried out.
    pub(super) fn carried_out(&mut self, generation: Generation, change: &Change) -> Result<(), String> {
        let Some((_, after)) = self.generation.filter(|(present, _)| *present == generation) else { return Ok(()) };
        let all = |blocks: Vec<&Option<Block>>| -> HashSet<i64> {
            blocks.into_iter().flatten().flat_map(|block| block.sequences().collect::<Vec<_>>()).collect()
        };
        let before = all(change.blocks.iter().map(|block| &block.from).collect());
        let after_it = all(change.blocks.iter().map(|block| &block.to).collect());
        let waits: HashSet<i64> = change.wait.iter().map(|waiting| waiting.sequence).collect();
        let left = before.iter().chain(&change.take).filter(|sequence| !after_it.contains(sequence));
        for sequence in left.filter(|sequence| !waits.contains(sequence)) {
            self.done.insert(*sequence);
            if let Some(key) = self.key_of.get(sequence)
                && self.under_way.get(key) == Some(sequence)
            {
                self.under_way.remove(key);
            }
        }
        let mut entered: Vec<i64> = after_it.difference(&before).copied().collect();
        entered.sort_unstable();
        for sequence in entered {
            let Some(key) = self.key_of.get(&sequence) else { continue };
            if let Some(other) = self.under_way.insert(key.clone(), sequence).filter(|other| *other != sequence) {
                return Err(format!("message {sequence} is handed out while {other} of its key is under way"));
            }
            let mut lower = self.keys[key].range(after + 1..sequence);
            let is_first = self.begun.insert(sequence);
            if let Some(lower) = lower.find(|lower| !self.done.contains(lower)).filter(|_| is_first) {
                return Err(format!("message {sequence} is handed out before {lower} of its key"));
            }
        }
        Ok(())
    }
}

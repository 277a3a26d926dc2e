//! Which channels a stream must read from the log before it continues live.

use std::collections::{HashSet, VecDeque};

use tidings::{channel::ChannelName, limits::HEADS_PER_READ};

/// The channels that may have what the stream has not.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Those whose heads were not read yet.
    queue: VecDeque<ChannelName>,
    /// Those of them whose heads were read and are not at the stream's position. They are read first.
    changed: VecDeque<ChannelName>,
    /// Channels whose messages after some point were replaced by others: the log shows from where on.
    rewritten: HashSet<ChannelName>,
    /// The registry may have channels that the stream has not seen.
    unlisted: bool,
}

impl Backlog {
    pub(super) fn of(channels: VecDeque<ChannelName>) -> Self {
        Self { queue: channels, ..Self::default() }
    }

    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        !self.unlisted && self.queue.is_empty() && self.changed.is_empty()
    }

    /// Begins again with these channels; `unlisted` if the registry may have more.
    pub(super) fn restart(&mut self, channels: VecDeque<ChannelName>, unlisted: bool) {
        self.queue = channels;
        self.changed.clear();
        self.unlisted = unlisted;
    }

    /// Only these channels, some of which were rewritten.
    pub(super) fn replace(&mut self, channels: VecDeque<ChannelName>, rewritten: HashSet<ChannelName>) {
        self.queue = channels;
        self.changed.clear();
        self.rewritten = rewritten;
    }

    pub(super) fn add(&mut self, channel: ChannelName) {
        self.queue.push_back(channel);
    }

    /// Whether the registry has to be asked first.
    pub(super) fn is_unlisted(&self) -> bool {
        self.unlisted
    }

    /// The registry has no more channels than the stream has seen.
    pub(super) fn listed(&mut self) {
        self.unlisted = false;
    }

    /// Of many channels those whose heads should be read together now, to find out which have changed.
    pub(super) fn unchecked(&self) -> Option<Vec<ChannelName>> {
        let is_worth_it = self.changed.is_empty() && self.queue.len() > 1;
        is_worth_it.then(|| self.queue.iter().take(HEADS_PER_READ).cloned().collect())
    }

    /// The heads of the first so many channels were read.
    pub(super) fn checked(&mut self, channels: usize) {
        self.queue.drain(..channels);
    }

    /// The head of a channel is not at the stream's position.
    pub(super) fn changed(&mut self, channel: ChannelName) {
        self.changed.push_back(channel);
    }

    /// The channel that is read next.
    pub(super) fn next(&self) -> Option<&ChannelName> {
        self.changed.front().or(self.queue.front())
    }

    /// The stream has all of the channel that was read.
    pub(super) fn done(&mut self, channel: &ChannelName) {
        let queue = if self.changed.is_empty() { &mut self.queue } else { &mut self.changed };
        if queue.front() == Some(channel) {
            queue.pop_front();
        }
    }

    /// Continues without a channel.
    pub(super) fn remove(&mut self, channel: &ChannelName) {
        self.queue.retain(|other| other != channel);
        self.changed.retain(|other| other != channel);
    }

    /// Whether a channel was rewritten, said once.
    pub(super) fn take_rewritten(&mut self, channel: &ChannelName) -> bool {
        self.rewritten.remove(channel)
    }
}

#[cfg(test)]
mod tests {
    use tidings::channel::Names;

    use super::*;

    fn channels(names: &[&str]) -> VecDeque<ChannelName> {
        let parse = Names::new("tidings", "").expect("names");
        names.iter().map(|name| parse.parse(name).expect("a name")).collect()
    }

    #[test]
    fn changed_channels_are_read_before_more_heads_are() {
        let [a, b] = &channels(&["a", "b"]).into_iter().collect::<Vec<_>>()[..] else { panic!("two") };
        let mut backlog = Backlog::of(channels(&["a", "b"]));
        assert_eq!(backlog.unchecked().expect("two are worth it"), [a.clone(), b.clone()]);
        backlog.checked(2);
        assert!(backlog.is_empty());
        backlog.changed(b.clone());
        backlog.add(a.clone());
        assert_eq!((backlog.next(), backlog.unchecked()), (Some(b), None));
        backlog.done(a);
        assert_eq!(backlog.next(), Some(b), "another is done");
        backlog.done(b);
        assert_eq!((backlog.next(), backlog.unchecked()), (Some(a), None), "one head alone is read with its page");
        backlog.remove(a);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_begun_again_knows_nothing_of_before() {
        let mut backlog = Backlog::of(channels(&["a"]));
        backlog.replace(channels(&["b"]), channels(&["b"]).into_iter().collect());
        let b = backlog.next().expect("b").clone();
        assert!(backlog.take_rewritten(&b) && !backlog.take_rewritten(&b));
        backlog.changed(b);
        backlog.restart(VecDeque::new(), true);
        assert!(!backlog.is_empty() && backlog.is_unlisted() && backlog.next().is_none());
        backlog.listed();
        assert!(backlog.is_empty());
    }
}

//! The names of all keys on Redis. `{channel}` is a hash tag, so that a channel's keys share a slot of a cluster.

use tidings::{
    broker::subscriptions::Place,
    channel::{ChannelName, Pattern},
};

/// Hexadecimal digits in the name of a probe's channel.
const PROBE_ID: usize = 16;

/// Makes names with one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// A Stream: the channel's log.
    pub(super) fn log(&self, channel: &ChannelName) -> String {
        format!("{}:{{{channel}}}:log", self.prefix)
    }

    /// A hash: the channel's last sequence, epochs and so on.
    pub(super) fn head(&self, channel: &ChannelName) -> String {
        format!("{}:{{{channel}}}:head", self.prefix)
    }

    /// The beginning of the names of the tables of remembered ids; a generation's number follows.
    pub(super) fn ids(&self, channel: &ChannelName) -> String {
        format!("{}:{{{channel}}}:ids:", self.prefix)
    }

    /// The Redis channel on which one live connection is probed.
    pub(super) fn probe(&self, name: &str) -> String {
        format!("{}:probe:{name}", self.prefix)
    }

    /// Whether a name is one of ours, which no channel of messages can have.
    pub(super) fn is_own(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))
    }

    /// Whether a push there is the probe or the notice of any deployment, whatever its prefix: deployments on the same
    /// Redis receive each other's, since Pub/Sub knows no databases. No channel has braces; a probe is recognised by
    /// its whole form.
    pub(super) fn is_of_a_service(name: &[u8], payload: &[u8]) -> bool {
        if name.ends_with(b"}:adopted") && name.windows(2).any(|two| two == b":{") {
            return true;
        }
        let Some((rest, id)) = name.split_last_chunk::<PROBE_ID>() else { return false };
        let is_probe = rest.ends_with(b":probe:") && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_probe && !payload.is_empty() && payload.len() <= 20 && payload.iter().all(u8::is_ascii_digit)
    }

    /// A hash: which replica adopts what plain programs publish on the channel, and who asks to.
    pub(super) fn lease(&self, channel: &ChannelName) -> String {
        format!("{}:{{{channel}}}:lease", self.prefix)
    }

    /// A Redis channel: notices of adopted messages.
    pub(super) fn adopted(&self, channel: &ChannelName) -> String {
        format!("{}:{{{channel}}}:adopted", self.prefix)
    }

    /// The beginning and the end of such a channel's name.
    pub(super) fn adopted_around(&self) -> (String, &'static str) {
        (format!("{}:{{", self.prefix), "}:adopted")
    }

    /// A glob: the notices of all channels that match one. Braces have no meaning in Redis's globs.
    pub(super) fn adopted_pattern(&self, pattern: &Pattern) -> String {
        format!("{}:{{{pattern}}}:adopted", self.prefix)
    }

    /// A string: the name of the data set, given once.
    pub(super) fn data_set(&self) -> String {
        format!("{}:dataset", self.prefix)
    }

    /// A sorted set: the names of channels by the time of their last publish.
    pub(super) fn registry(&self) -> String {
        format!("{}:channels", self.prefix)
    }

    /// A hash: the names of a channel's subscriptions, each with what it holds of the log.
    pub(super) fn subscriptions(&self, channel: &ChannelName) -> String {
        format!("{}:{{{channel}}}:subs", self.prefix)
    }

    /// A hash: the names of all subscriptions, each with the channel for which it is reserved. It shares a slot with
    /// [`Keys::subscription_names`].
    pub(super) fn subscription_index(&self) -> String {
        format!("{}:{{subscriptions}}:index", self.prefix)
    }

    /// A sorted set: the same names, all with the score 0, which orders them by their bytes.
    pub(super) fn subscription_names(&self) -> String {
        format!("{}:{{subscriptions}}:names", self.prefix)
    }

    /// A hash: the books of a subscription.
    pub(super) fn books(&self, place: &Place) -> String {
        self.of_subscription("sub", place)
    }

    /// A hash: the blocks of what is out.
    pub(super) fn blocks_out(&self, place: &Place) -> String {
        self.of_subscription("sub-out", place)
    }

    /// A sorted set: the sequences that wait for a retry, by when they are due.
    pub(super) fn waiting(&self, place: &Place) -> String {
        self.of_subscription("sub-wait", place)
    }

    /// A sorted set: the same sequences, and those that wait for their ordering keys, in their order.
    pub(super) fn waiting_order(&self, place: &Place) -> String {
        self.of_subscription("sub-order", place)
    }

    /// A hash: of each ordering key that is closed the sequence that has closed it, and of each of these its key.
    pub(super) fn order_keys(&self, place: &Place) -> String {
        self.of_subscription("sub-keys", place)
    }

    /// A sorted set: the sequences that wait for their ordering keys, each behind its key and its turn. All have the
    /// score 0, which orders them by their bytes.
    pub(super) fn parked(&self, place: &Place) -> String {
        self.of_subscription("sub-parked", place)
    }

    /// A hash: the deliveries of sequences that were delivered before.
    pub(super) fn attempts(&self, place: &Place) -> String {
        self.of_subscription("sub-tries", place)
    }

    /// A hash: the JSON of sequences that were put back from the dead letters.
    pub(super) fn kept(&self, place: &Place) -> String {
        self.of_subscription("sub-kept", place)
    }

    /// A sorted set: the names of dead letters, by when they died.
    pub(super) fn dead(&self, place: &Place) -> String {
        self.of_subscription("sub-dead", place)
    }

    /// A hash: the dead letters themselves.
    pub(super) fn letters(&self, place: &Place) -> String {
        self.of_subscription("sub-letters", place)
    }

    /// A sorted set: the names of dead letters that are still to be published, by when they died.
    pub(super) fn outbox(&self, place: &Place) -> String {
        self.of_subscription("sub-outbox", place)
    }

    /// The kind comes before the name, which may have colons.
    fn of_subscription(&self, kind: &str, Place { channel, name }: &Place) -> String {
        format!("{}:{{{channel}}}:{kind}:{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::{channel::Names, subscription::SubscriptionName};

    #[test]
    fn keys_of_a_subscription_differ_whatever_its_name() {
        let names = Names::new("tidings", "").expect("names");
        let place = |name| Place {
            channel: names.parse("orders").expect("a channel"),
            name: SubscriptionName::parse(name, &names).expect("a name"),
        };
        let keys = Keys::new("tidings");
        let of = |place: &Place| {
            [
                keys.books(place),
                keys.blocks_out(place),
                keys.waiting(place),
                keys.waiting_order(place),
                keys.attempts(place),
                keys.kept(place),
                keys.dead(place),
                keys.letters(place),
                keys.outbox(place),
                keys.order_keys(place),
                keys.parked(place),
            ]
        };
        assert_eq!(of(&place("mail"))[0], "tidings:{orders}:sub:mail");
        assert_eq!(of(&place("mail"))[1], "tidings:{orders}:sub-out:mail");
        let mut all = [of(&place("mail")), of(&place("out:mail"))].concat();
        all.push(keys.subscriptions(&place("mail").channel));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 23);
        assert!(all.iter().all(|key| key.starts_with("tidings:{orders}:sub")));
    }

    #[test]
    fn keys_of_a_channel_share_a_slot() {
        let channel = Names::new("tidings", "").expect("names").parse("orders.eu").expect("a name");
        let keys = Keys::new("tidings");
        assert_eq!(keys.log(&channel), "tidings:{orders.eu}:log");
        assert_eq!(keys.head(&channel), "tidings:{orders.eu}:head");
        assert_eq!(keys.ids(&channel), "tidings:{orders.eu}:ids:");
        assert_eq!(keys.lease(&channel), "tidings:{orders.eu}:lease");
        assert_eq!(keys.adopted(&channel), "tidings:{orders.eu}:adopted");
        assert_eq!(keys.registry(), "tidings:channels");
        assert!(keys.is_own(keys.probe("a").as_bytes()));
        assert!(!keys.is_own(b"tidings.orders") && !keys.is_own(b"orders"));
        let other = Keys::new("other");
        let probe = other.probe(&tidings::message::Epoch::random().to_string());
        assert!(Keys::is_of_a_service(probe.as_bytes(), b"17") && !keys.is_own(probe.as_bytes()));
        assert!(Keys::is_of_a_service(other.adopted(&channel).as_bytes(), b"whatever"));
        for (name, payload) in [
            (probe.as_str(), "{}"),
            (probe.as_str(), ""),
            (&probe[..probe.len() - 1], "17"),
            ("orders:probe", "17"),
            ("0123456789abcdef", "17"),
            ("orders:adopted", "17"),
        ] {
            assert!(!Keys::is_of_a_service(name.as_bytes(), payload.as_bytes()), "{name} {payload}");
        }
    }
}

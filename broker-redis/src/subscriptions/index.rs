//! The index of all subscriptions' names, each reserved for a channel. A reservation is no subscription: whether there
//! is one is in its books, in the channel's slot.

use redis::{Cmd, Value};
use tidings::{
    broker::{Error, subscriptions::Place},
    channel::{ChannelName, Names},
    limits::SUBSCRIPTIONS,
    subscription::SubscriptionName,
};

use super::{
    answer::{self, Fields},
    calls::Calls,
};
use crate::script::{self, Script};

pub(super) struct Index {
    calls: Calls,
    names: Names,
}

/// What became of a name that was to be reserved.
pub(super) enum Reserved {
    /// It is, by this entry, since this time (ms).
    Done { entry: String, at_ms: i64 },
    /// It is another channel's, by this entry; whether the time is over in which it may be used without books.
    Other { entry: String, is_over: bool },
    /// There are as many names as there may be.
    Full,
}

impl Index {
    pub(super) fn new(calls: Calls, names: Names) -> Self {
        Self { calls, names }
    }

    fn call(&self, script: &Script) -> Cmd {
        let keys = self.calls.keys();
        let mut call = script.call();
        call.arg(2).arg(keys.subscription_index()).arg(keys.subscription_names());
        call
    }

    /// The entry of a name: the time of its reservation (ms), a comma, and the channel.
    pub(super) async fn entry(&self, name: &SubscriptionName) -> Result<Option<String>, Error> {
        let mut call = redis::cmd("HGET");
        call.arg(self.calls.keys().subscription_index()).arg(name.as_str());
        match self.calls.read(&[], call).await.map_err(of_index)? {
            Value::Nil => Ok(None),
            Value::BulkString(entry) => String::from_utf8(entry).map(Some).map_err(|_| damaged()),
            _ => Err(damaged()),
        }
    }

    /// The channel of an entry.
    pub(super) fn channel(&self, entry: &str) -> Result<ChannelName, Error> {
        let channel = entry.split_once(',').and_then(|(_, channel)| self.names.parse(channel).ok());
        channel.ok_or_else(damaged)
    }

    /// The lowest names above one, with their channels.
    pub(super) async fn names(&self, after: &str, limit: usize) -> Result<Vec<(SubscriptionName, ChannelName)>, Error> {
        let script = &script::SUBSCRIPTION_NAMES;
        let mut call = self.call(script);
        call.arg(after).arg(limit.min(SUBSCRIPTIONS));
        let mut fields = Fields::of(self.calls.read(&[script], call).await.map_err(of_index)?)?;
        let mut names = Vec::with_capacity(fields.len() / 2);
        while fields.len() > 0 {
            let (name, entry) = (fields.text()?, fields.text()?);
            let name = SubscriptionName::parse(&name, &self.names).map_err(|_| damaged())?;
            names.push((name, self.channel(&entry)?));
        }
        Ok(names)
    }

    /// Reserves a name, also where it is another channel's by this entry ('' for none).
    pub(super) async fn reserve(&self, place: &Place, replaced: &str) -> Result<Reserved, Error> {
        let script = &script::SUBSCRIPTION_RESERVE;
        let mut call = self.call(script);
        call.arg(place.name.as_str()).arg(place.channel.as_str()).arg(replaced);
        let mut fields = Fields::of(self.calls.write(script, &call).await.map_err(of_index)?)?;
        match &*fields.text()? {
            "DONE" => {
                let at_ms = fields.parse()?;
                Ok(Reserved::Done { entry: format!("{at_ms},{}", place.channel), at_ms })
            }
            "OTHER" => Ok(Reserved::Other { entry: fields.text()?, is_over: fields.parse::<u8>()? == 1 }),
            "FULL" => Ok(Reserved::Full),
            _ => Err(damaged()),
        }
    }

    /// Gives a name free, where its entry is this one, and, if that is asked for, its time without books is over.
    pub(super) async fn release(&self, name: &SubscriptionName, entry: &str, only_if_over: bool) -> Result<(), Error> {
        let script = &script::SUBSCRIPTION_RELEASE;
        let mut call = self.call(script);
        call.arg(name.as_str()).arg(entry).arg(u8::from(only_if_over));
        let released = self.calls.write(script, &call).await.map_err(of_index)?;
        answer::number(released).map(|_: u8| ())
    }
}

/// Whether an entry is a channel's.
pub(super) fn is_of(entry: &str, channel: &ChannelName) -> bool {
    entry.split_once(',').is_some_and(|(_, of)| of == channel.as_str())
}

/// The index is no channel's.
fn of_index(error: Error) -> Error {
    match error {
        Error::Channel(text) => Error::Internal(format!("the index of subscriptions can't be used: {text}")),
        error => error,
    }
}

fn damaged() -> Error {
    Error::Internal("the index of subscriptions on Redis was not written by Tidings, or is damaged".to_owned())
}

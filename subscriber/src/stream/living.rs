//! Which channels a pattern has.

use std::future::Future;

use tidings::{
    broker::{Error, HeadOf, Shared},
    channel::{ChannelName, Pattern},
    limits::{HEADS_PER_READ, REGISTRY_LOOKS, STREAM_CHANNELS},
};

/// The channels of the registry that match, one more than a pattern may have at most. Where there are so many, only
/// those count that have a head or a log, or can't be read: the registry keeps names for a while whose heads have
/// expired.
pub(super) async fn living(broker: &Shared, pattern: &Pattern) -> Result<Vec<ChannelName>, Error> {
    at_most(&Matching { broker, pattern }, STREAM_CHANNELS + 1).await
}

/// The names of the registry that match, and their heads.
trait Registry {
    fn names(&self, after: &str, limit: usize) -> impl Future<Output = Result<Vec<ChannelName>, Error>> + Send;
    fn heads(&self, names: &[ChannelName]) -> impl Future<Output = Result<Vec<HeadOf>, Error>> + Send;
}

struct Matching<'a> {
    broker: &'a Shared,
    pattern: &'a Pattern,
}

impl Registry for Matching<'_> {
    async fn names(&self, after: &str, limit: usize) -> Result<Vec<ChannelName>, Error> {
        self.broker.channels(Some(self.pattern), after, limit).await
    }

    async fn heads(&self, names: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
        self.broker.heads(names).await
    }
}

async fn at_most(registry: &impl Registry, most: usize) -> Result<Vec<ChannelName>, Error> {
    let mut names = registry.names("", most).await?;
    if names.len() < most {
        return Ok(names);
    }
    let mut living = Vec::new();
    for _ in 0..REGISTRY_LOOKS {
        for some in names.chunks(HEADS_PER_READ) {
            let heads = registry.heads(some).await?;
            let there = some.iter().zip(heads).filter(|(_, head)| !matches!(head, Ok(None)));
            living.extend(there.map(|(name, _)| name.clone()));
        }
        living.truncate(most);
        let last = names.last().filter(|_| names.len() == most && living.len() < most);
        let Some(last) = last else { return Ok(living) };
        names = registry.names(last.as_str(), most).await?;
    }
    let text = "the registry is full of channels that have expired; publishers are about to sweep it";
    Err(Error::Unavailable(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use tidings::{broker::Head, channel::Names, message::Position};

    use super::*;

    /// A registry of names in order, some of which have no head any more, and one whose head can't be read.
    struct Fake(Vec<(String, bool)>);

    const UNREADABLE: &str = "unreadable";

    impl Registry for Fake {
        async fn names(&self, after: &str, limit: usize) -> Result<Vec<ChannelName>, Error> {
            let known = Names::new("tidings", "").expect("a prefix");
            let names = self.0.iter().map(|(name, _)| name.as_str()).filter(|name| *name > after).take(limit);
            Ok(names.map(|name| known.parse(name).expect("a name")).collect())
        }

        async fn heads(&self, names: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
            let head = |name: &ChannelName| match name.as_str() {
                UNREADABLE => Err(Error::Channel("it is no hash".to_owned())),
                name if self.0.iter().any(|(of, lives)| of == name && *lives) => Ok(Some(head())),
                _ => Ok(None),
            };
            Ok(names.iter().map(head).collect())
        }
    }

    fn head() -> Head {
        Head {
            epochs: Vec::new(),
            last: 1,
            first: 1,
            time_ms: 0,
            keeps_history: true,
            losses: Vec::new(),
            data_set: None,
            adopted: Position::START,
        }
    }

    fn numbered(prefix: &str, count: usize, lives: bool) -> Vec<(String, bool)> {
        (0..count).map(|n| (format!("{prefix}.{n:04}"), lives)).collect()
    }

    async fn found(names: Vec<Vec<(String, bool)>>) -> Result<Vec<String>, Error> {
        let mut names = names.concat();
        names.sort();
        let found = at_most(&Fake(names), 11).await?;
        Ok(found.into_iter().map(|name| name.as_str().to_owned()).collect())
    }

    #[tokio::test]
    async fn dead_names_do_not_count() {
        let unreadable = vec![(UNREADABLE.to_owned(), false)];
        // Up to ten are all taken, as the registry has them.
        assert_eq!(found(vec![numbered("dead", 10, false)]).await.expect("ten").len(), 10);
        // More are looked at, on several pages.
        let names =
            found(vec![numbered("a", 1, true), numbered("dead", 25, false), numbered("z", 8, true), unreadable]).await;
        let names = names.expect("ten that live");
        assert_eq!(names.len(), 10, "{names:?}");
        assert!(names.contains(&UNREADABLE.to_owned()) && !names.iter().any(|name| name.starts_with("dead")));
    }

    #[tokio::test]
    async fn one_more_than_the_limit_is_enough_to_see_that_there_are_too_many() {
        let found = found(vec![numbered("a", 10, true), numbered("dead", 12, false), numbered("z", 30, true)]).await;
        assert_eq!(found.expect("too many").len(), 11);
    }

    #[tokio::test]
    async fn a_registry_that_is_mostly_dead_is_left_to_the_sweep() {
        let found = found(vec![numbered("dead", 11 * (REGISTRY_LOOKS + 1), false)]).await;
        assert!(matches!(&found, Err(Error::Unavailable(text)) if text.contains("sweep")), "{found:?}");
    }
}

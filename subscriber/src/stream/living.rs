//! Which channels a pattern has.

use tidings::{
    broker::{Error, Shared},
    channel::{ChannelName, Pattern},
    limits::{HEADS_PER_READ, REGISTRY_LOOKS, STREAM_CHANNELS},
};

/// The channels of the registry that match, one more than a pattern may have at most. Where there are so many, only
/// those count that have a head or a log, or can't be read: the registry keeps names for a while whose heads have
/// expired.
pub(super) async fn living(broker: &Shared, pattern: &Pattern) -> Result<Vec<ChannelName>, Error> {
    const MOST: usize = STREAM_CHANNELS + 1;
    let mut names = broker.channels(Some(pattern), "", MOST).await?;
    if names.len() < MOST {
        return Ok(names);
    }
    let mut living = Vec::new();
    for _ in 0..REGISTRY_LOOKS {
        for some in names.chunks(HEADS_PER_READ) {
            let heads = broker.heads(some).await?;
            let there = some.iter().zip(heads).filter(|(_, head)| !matches!(head, Ok(None)));
            living.extend(there.map(|(name, _)| name.clone()));
        }
        living.truncate(MOST);
        let last = names.last().filter(|_| names.len() == MOST && living.len() < MOST);
        let Some(last) = last else { return Ok(living) };
        names = broker.channels(Some(pattern), last.as_str(), MOST).await?;
    }
    let text = "the registry is full of channels that have expired; publishers are about to sweep it";
    Err(Error::Unavailable(text.to_owned()))
}

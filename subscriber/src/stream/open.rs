//! Opening a stream: it follows the topic first, and finds its start then, so that nothing is missed in between.

use std::collections::{HashMap, HashSet, VecDeque};

use tidings::{
    access::{Rights, Verb},
    broker::{self, DataSetNow, Error, Shared, Topic, history::Reader},
    channel::{ChannelName, Pattern},
    cursor::{InvalidCursor, Owner, StreamCursor, channel_hash, old_hash},
    limits::{HASHES_AT_ONCE, HEADS_PER_READ, STREAM_CHANNELS, TOPICS, WIDE_OPENING_WAIT},
    message::Mark,
    status::{self, Call},
};
use tidings_transport::CallContext;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tonic::Status;

use super::{
    Session,
    catch_up::CatchUp,
    delivery::Delivery,
    living::living,
    positions::{Positions, Track, Unseen, too_wide},
    source::Source,
    start::start,
    unstarted::Unstarted,
};
use crate::request::{Start, StreamOptions};

/// Opens a stream. When this returns, its subscription is confirmed: whatever is published from now on, arrives.
pub(crate) async fn open(source: &Source, options: &StreamOptions, context: &CallContext) -> Result<Session, Status> {
    let Source { broker, hub, .. } = source;
    let follower = hub.follow(options.topic.clone()).await?;
    let mut unstarted = Unstarted::default();
    let positions = match &*options.topic {
        Topic::Channel(channel) => {
            // The head as the live side sees it: all that comes after it is in the feed.
            let head = hub.check(channel).await?;
            // Without a head, a flush before the first message must show.
            let data_set = match &head {
                Some(head) => head.data_set,
                None => broker.data_set().await.map_err(unavailable)?.data_set,
            };
            let track = start(broker, channel, head.as_ref(), data_set, &options.start).await.map_err(unavailable)?;
            Positions::of_channel(channel, track, data_set)
        }
        Topic::Pattern(pattern) => {
            let (positions, unreadable) = everywhere(source, pattern, &options.start, context).await?;
            for (channel, error) in unreadable {
                hub.unreadable(&channel, error).await;
                unstarted.add(channel, &options.start);
            }
            positions
        }
    };
    // Whoever starts now has nothing to catch up with, whatever the log has got since.
    let channels = if options.start == Start::Now { VecDeque::new() } else { positions.channels() };
    let catch_up = CatchUp::new(source.clone(), channels, unstarted);
    Ok(Session::new(follower, Delivery::new(positions, options.fail_on_gap), catch_up))
}

fn unavailable(error: Error) -> Status {
    status::from_broker(error, Call::Read)
}

/// Where a pattern stream starts in all channels that the registry has, and in those that its cursor names; and which
/// of them can't be read.
async fn everywhere(
    source: &Source,
    pattern: &Pattern,
    from: &Start,
    context: &CallContext,
) -> Result<(Positions, Vec<(ChannelName, Error)>), Status> {
    let broker = &source.broker;
    // Before the channels: a flush in between is rather reported twice than never.
    let DataSetNow { data_set, .. } = broker.data_set().await.map_err(unavailable)?;
    let channels = living(broker, pattern).await.map_err(unavailable)?;
    let bounded = |channels: usize| match channels > STREAM_CHANNELS {
        true => Err(too_wide()),
        false => Ok(()),
    };
    bounded(channels.len())?;
    let registered = channels.len();
    let mut held = context.positions(registered)?;
    let is_wide = channels.len() > HEADS_PER_READ
        || matches!(from, Start::AfterStream(whole, newer) if !newer.is_empty() || whole.channels.len() > HEADS_PER_READ);
    let _turn = if is_wide { Some(turn(&source.wide).await?) } else { None };
    let mut tracks = HashMap::with_capacity(channels.len());
    let mut unseen = Unseen::default();
    let mut unreadable = Vec::new();
    if let Start::AfterStream(whole, newer) = from {
        let rights = context.caller().rights();
        (tracks, unseen) = after(source, &rights, pattern, channels, whole, newer).await?;
    } else {
        for some in channels.chunks(HEADS_PER_READ) {
            let heads = broker.heads(some).await.map_err(unavailable)?;
            for (channel, head) in some.iter().zip(heads) {
                let started = match head {
                    Ok(head) => start(broker, channel, head.as_ref(), data_set, from).await,
                    Err(error) => Err(error),
                };
                match started {
                    Ok(track) => drop(tracks.insert(channel.clone(), track)),
                    Err(error @ Error::Channel(_)) => unreadable.push((channel.clone(), error)),
                    Err(error) => return Err(unavailable(error)),
                }
            }
        }
    }
    bounded(tracks.len())?;
    if let Some(held) = &mut held {
        held.grow(tracks.len().saturating_sub(registered))?;
    }
    let not_before_ms = match from {
        Start::Since(time_ms) => Some(*time_ms),
        _ => None,
    };
    Ok((Positions::of_pattern(pattern, (tracks, unseen, held), not_before_ms, data_set), unreadable))
}

/// Waits for one's turn.
async fn turn(wide: &Semaphore) -> Result<SemaphorePermit<'_>, Status> {
    match timeout(WIDE_OPENING_WAIT, wide.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(status::internal()),
        Err(_) => Err(unavailable(broker::busy_listing())),
    }
}

/// Where a pattern stream resumes: newer cursors replace those of the whole stream. Every channel that the cursor names
/// is read, whether the registry has it or not. What is known by a hash alone waits for the channel.
async fn after(
    source: &Source,
    rights: &Rights,
    pattern: &Pattern,
    registered: Vec<ChannelName>,
    whole: &StreamCursor,
    newer: &[(Owner, Mark)],
) -> Result<(HashMap<ChannelName, Track>, Unseen), Status> {
    let mut unseen = Unseen::new(whole.unnamed.iter().chain(newer).copied());
    let mut tracks = HashMap::with_capacity(registered.len());
    let named: HashMap<&ChannelName, Mark> = whole.channels.iter().map(|(channel, mark)| (channel, *mark)).collect();
    let registered: HashSet<ChannelName> = registered.into_iter().collect();
    let unregistered: Vec<_> =
        named.keys().filter(|channel| !registered.contains(**channel)).copied().cloned().collect();
    for channel in registered.iter().chain(&unregistered) {
        let mark = unseen.take(channel).or_else(|| named.get(channel).copied());
        let reader = match mark {
            Some(mark) => Reader::resume(mark),
            // It did not exist then. If it did meanwhile, and was flushed, its head is of another data set.
            None => Reader::default().in_data_set(whole.data_set),
        };
        tracks.insert(channel.clone(), Track::new(channel, reader, None));
    }
    refuse_foreign(&source.broker, rights, pattern, &unseen, newer).await?;
    source.hub.put_back(unregistered);
    Ok((tracks, unseen))
}

/// A cursor of a channel that is known not to match the pattern is refused; one of a channel that nobody has seen waits
/// for it. So does one of a channel that the caller may not read: a refusal would say that the channel is there.
async fn refuse_foreign(
    broker: &Shared,
    rights: &Rights,
    pattern: &Pattern,
    unseen: &Unseen,
    newer: &[(Owner, Mark)],
) -> Result<(), Status> {
    let waiting = newer.iter().zip(1..).filter(|((owner, _), _)| unseen.has(owner));
    let waiting: HashMap<Owner, usize> = waiting.map(|((owner, _), index)| (*owner, index)).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let all = broker.channels(None, "", TOPICS).await.map_err(unavailable)?;
    for some in all.chunks(HASHES_AT_ONCE) {
        for name in some.iter().map(ChannelName::as_str).filter(|name| !pattern.matches(name)) {
            let owners = [Owner::Hash(channel_hash(name)), Owner::Old(old_hash(name))];
            if let Some(index) = owners.iter().find_map(|owner| waiting.get(owner))
                && rights.covers(Verb::Subscribe, name)
            {
                return Err(status::invalid_cursor(format!("after[{index}]"), InvalidCursor::Foreign));
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

//! Opening a stream: follow the topic first, then find the start, so that nothing falls in between.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tidings::{
    broker::{DataSetNow, Error, Shared, Topic, history::Reader},
    channel::{ChannelName, Pattern},
    cursor::{InvalidCursor, Owner, StreamCursor, channel_hash, old_hash},
    limits::{HASHES_AT_ONCE, HEADS_PER_READ, PATTERN_CHANNELS, TOPICS},
    message::Mark,
    metrics::{self, Mode},
    status::{self, Call},
};
use tidings_transport::CallContext;
use tonic::Status;

use super::{
    Need, Session, aside,
    living::living,
    positions::{Places, Positions, Track, Unheard},
    start::start,
};
use crate::{
    hub::Hub,
    pages::{Counted, Pages},
    request::{Plan, Start},
};

/// What streams need besides their plan.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) broker: Shared,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) lifetime_ms: i64,
}

impl Session {
    /// Opens a stream. When this returns, its subscription is confirmed: whatever is published from now on, arrives.
    pub(crate) async fn open(source: &Source, plan: &Plan, context: &CallContext) -> Result<Self, Status> {
        let broker = &source.broker;
        let follower = source.hub.follow(plan.topic.clone()).await?;
        let mut unstarted = HashMap::new();
        let positions = match &*plan.topic {
            Topic::Channel(channel) => {
                // The head as the live side sees it: all that comes after it is in the feed.
                let head = source.hub.check(channel).await?;
                // Where it has none, a flush before its first message must show.
                let data_set = match &head {
                    Some(head) => head.data_set,
                    None => broker.data_set().await.map_err(unavailable)?.data_set,
                };
                let track = start(broker, channel, head.as_ref(), data_set, &plan.start).await.map_err(unavailable)?;
                Positions { places: Places::Channel(channel.clone(), track), data_set }
            }
            Topic::Pattern(pattern) => {
                let (positions, unreadable) = everywhere(source, pattern, &plan.start, context).await?;
                for (channel, error) in unreadable {
                    source.hub.unreadable(&channel, error).await;
                    unstarted.insert(channel, aside::later(&plan.start));
                }
                positions
            }
        };
        // From now on nothing is behind by definition, whatever the log has got since.
        let behind = if plan.start == Start::Now { VecDeque::new() } else { positions.channels() };
        Ok(Self {
            broker: Arc::clone(broker),
            hub: Arc::clone(&source.hub),
            follower,
            positions,
            pages: Arc::clone(&source.pages),
            mode: metrics::Stream::open(if behind.is_empty() { Mode::Live } else { Mode::CatchingUp }),
            counted: Counted::default(),
            ready: None,
            ahead: None,
            behind,
            news: VecDeque::new(),
            rewritten: HashSet::new(),
            unstarted,
            chunk: Need::Nothing,
            unlisted: false,
            fail_on_gap: plan.fail_on_gap,
            refused: Vec::new(),
            lifetime_ms: source.lifetime_ms,
        })
    }
}

fn unavailable(error: Error) -> Status {
    status::from_broker(error, Call::Read)
}

/// Where a pattern stream starts in all channels that the registry has, and in those that its cursor names; and which
/// of them can't be read.
async fn everywhere(
    source: &Source,
    pattern: &Pattern,
    plan: &Start,
    context: &CallContext,
) -> Result<(Positions, Vec<(ChannelName, Error)>), Status> {
    let broker = &source.broker;
    // Before the channels: what is flushed in between is rather told twice than never.
    let DataSetNow { data_set, .. } = broker.data_set().await.map_err(unavailable)?;
    let channels = living(broker, pattern).await.map_err(unavailable)?;
    let bounded = |channels: usize| match channels > PATTERN_CHANNELS {
        true => Err(status::pattern_too_wide("pattern", PATTERN_CHANNELS)),
        false => Ok(()),
    };
    bounded(channels.len())?;
    let registered = channels.len();
    let mut held = context.positions(registered)?;
    let mut tracks = HashMap::with_capacity(channels.len());
    let mut unheard = Unheard::default();
    let mut unreadable = Vec::new();
    if let Start::AfterStream(whole, newer) = plan {
        (tracks, unheard) = after(source, pattern, channels, whole, newer).await?;
    } else {
        for some in channels.chunks(HEADS_PER_READ) {
            let heads = broker.heads(some).await.map_err(unavailable)?;
            for (channel, head) in some.iter().zip(heads) {
                let started = match head {
                    Ok(head) => start(broker, channel, head.as_ref(), data_set, plan).await,
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
    let not_before_ms = match plan {
        Start::Since(time_ms) => Some(*time_ms),
        _ => None,
    };
    let places = Places::Pattern { pattern: pattern.clone(), tracks, unheard, not_before_ms, held };
    Ok((Positions { places, data_set }, unreadable))
}

/// Where a pattern stream resumes: the newer cursors are put over those of the whole stream. Every channel that it
/// names is looked at, whether the registry knows it or not. What is known by a hash alone waits for the channel.
async fn after(
    source: &Source,
    pattern: &Pattern,
    registered: Vec<ChannelName>,
    whole: &StreamCursor,
    newer: &[(Owner, Mark)],
) -> Result<(HashMap<ChannelName, Track>, Unheard), Status> {
    let mut unheard = Unheard::new(whole.unheard.iter().chain(newer).copied());
    let mut tracks = HashMap::with_capacity(registered.len());
    let named: HashMap<&ChannelName, Mark> = whole.channels.iter().map(|(channel, mark)| (channel, *mark)).collect();
    let registered: HashSet<ChannelName> = registered.into_iter().collect();
    let unregistered: Vec<_> =
        named.keys().filter(|channel| !registered.contains(**channel)).copied().cloned().collect();
    for channel in registered.iter().chain(&unregistered) {
        let mark = unheard.take(channel).or_else(|| named.get(channel).copied());
        let reader = match mark {
            Some(mark) => Reader::resume(mark),
            // It was not there then. If it was meanwhile, and was flushed, its head is of another data set.
            None => Reader::default().in_data_set(whole.data_set),
        };
        tracks.insert(channel.clone(), Track::new(channel, reader, None));
    }
    refuse_foreign(&source.broker, pattern, &unheard, newer).await?;
    source.hub.put_back(unregistered);
    Ok((tracks, unheard))
}

/// A cursor of a channel that is known not to match the pattern does not belong; one of a channel that nobody has heard
/// of waits for it.
async fn refuse_foreign(
    broker: &Shared,
    pattern: &Pattern,
    unheard: &Unheard,
    newer: &[(Owner, Mark)],
) -> Result<(), Status> {
    let waiting = newer.iter().zip(1..).filter(|((owner, _), _)| unheard.has(owner));
    let waiting: HashMap<Owner, usize> = waiting.map(|((owner, _), index)| (*owner, index)).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let all = broker.channels(None, "", TOPICS).await.map_err(unavailable)?;
    for some in all.chunks(HASHES_AT_ONCE) {
        for name in some.iter().map(ChannelName::as_str).filter(|name| !pattern.matches(name)) {
            let owners = [Owner::Hash(channel_hash(name)), Owner::Old(old_hash(name))];
            if let Some(index) = owners.iter().find_map(|owner| waiting.get(owner)) {
                return Err(status::invalid_cursor(format!("after[{index}]"), InvalidCursor::Foreign));
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

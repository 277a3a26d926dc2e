//! Opening a stream: follow the topic first, then find the start, so that nothing falls in between.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tidings::{
    broker::{Error, Head, Shared, Topic},
    channel::{ChannelName, Pattern},
    cursor::{InvalidCursor, StreamCursor, channel_hash},
    limits::{HEADS_PER_READ, PATTERN_CHANNELS, TOPICS},
    message::Position,
    metrics::{self, Mode},
    status::{self, Call},
};
use tonic::Status;

use super::{
    Need, Session,
    positions::{Positions, Track},
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
    pub(crate) async fn open(source: &Source, plan: &Plan) -> Result<Self, Status> {
        let broker = &source.broker;
        let follower = source.hub.follow(plan.topic.clone()).await?;
        let positions = match &plan.topic {
            Topic::Channel(channel) => {
                // The head as the live side sees it: all that comes after it is in the feed.
                let head = source.hub.check(channel).await?;
                let track = start(broker, channel, head.as_ref(), &plan.start).await.map_err(unavailable)?;
                Positions::Channel(channel.clone(), track)
            }
            Topic::Pattern(pattern) => everywhere(broker, pattern, &plan.start).await?,
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
            chunk: Need::Nothing,
            unlisted: false,
            fail_on_gap: plan.fail_on_gap,
            lifetime_ms: source.lifetime_ms,
        })
    }
}

fn unavailable(error: Error) -> Status {
    status::from_broker(error, Call::Read)
}

/// Where a stream starts in one channel.
async fn start(broker: &Shared, channel: &ChannelName, head: Option<&Head>, start: &Start) -> Result<Track, Error> {
    let mut not_before_ms = None;
    let position = match (start, head) {
        (Start::After(position), _) => *position,
        (Start::Since(time_ms), head) => {
            let before = broker.sequence_before(channel, *time_ms).await?;
            // Where nothing is as new as that yet, what comes next may still be too old.
            not_before_ms = head.is_none_or(|head| before >= head.last).then_some(*time_ms);
            head.map_or(Position::START, |head| head.position_at(before.max(head.first - 1)))
        }
        (_, None) => Position::START,
        (Start::Earliest, Some(head)) => head.position_at(head.first - 1),
        (Start::Last(count), Some(head)) => head.position_at((head.last - count).max(head.first - 1)),
        (Start::Now | Start::AfterStream(..), Some(head)) => head.end(),
    };
    Ok(Track::new(channel, position, not_before_ms))
}

/// Where a pattern stream starts in all channels that the registry has.
async fn everywhere(broker: &Shared, pattern: &Pattern, plan: &Start) -> Result<Positions, Status> {
    let channels = broker.channels(Some(pattern), "", PATTERN_CHANNELS + 1).await.map_err(unavailable)?;
    if channels.len() > PATTERN_CHANNELS {
        return Err(status::pattern_too_wide("pattern", PATTERN_CHANNELS));
    }
    let mut tracks = HashMap::with_capacity(channels.len());
    let mut unheard = HashMap::new();
    if let Start::AfterStream(whole, newer) = plan {
        unheard = merge(broker, pattern, whole, newer).await?;
        for channel in channels {
            let position = unheard.remove(&channel_hash(channel.as_str())).unwrap_or(Position::START);
            tracks.insert(channel.clone(), Track::new(&channel, position, None));
        }
    } else {
        for some in channels.chunks(HEADS_PER_READ) {
            let heads = broker.heads(some).await.map_err(unavailable)?;
            for (channel, head) in some.iter().zip(heads) {
                let head = head.map_err(unavailable)?;
                let track = start(broker, channel, head.as_ref(), plan).await.map_err(unavailable)?;
                tracks.insert(channel.clone(), track);
            }
        }
    }
    let not_before_ms = match plan {
        Start::Since(time_ms) => Some(*time_ms),
        _ => None,
    };
    Ok(Positions::Pattern { pattern: pattern.clone(), tracks, unheard, not_before_ms })
}

/// Puts the newer cursors over those of the whole stream. A cursor of a channel that is known not to match the pattern does not
/// belong; one of a channel that nobody has heard of waits for it.
async fn merge(
    broker: &Shared,
    pattern: &Pattern,
    whole: &StreamCursor,
    newer: &[(u64, Position)],
) -> Result<HashMap<u64, Position>, Status> {
    let mut positions: HashMap<u64, Position> = whole.positions.iter().copied().collect();
    if newer.iter().any(|(hash, _)| !positions.contains_key(hash)) {
        let all = broker.channels(None, "", TOPICS).await.map_err(unavailable)?;
        let foreign = all.iter().filter(|name| !pattern.matches(name.as_str()));
        let foreign: HashSet<u64> = foreign.map(|name| channel_hash(name.as_str())).collect();
        if let Some(index) = newer.iter().position(|(hash, _)| foreign.contains(hash)) {
            return Err(status::invalid_cursor(format!("after[{}]", index + 1), InvalidCursor::Foreign));
        }
    }
    positions.extend(newer.iter().copied());
    Ok(positions)
}

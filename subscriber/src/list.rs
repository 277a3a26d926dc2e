//! `ListMessages`: the log, page by page.

use prost::Message as _;
use tidings::{
    broker::{Broker, From, Head, PageLimit, Stored},
    channel::ChannelName,
    cursor::{self, channel_hash},
    envelope,
    limits::PAGE_BYTES,
    message::{Lineage, Mark, Position},
    pb,
    status::{self, Call, reason},
};
use tonic::Status;

use crate::{event, stream::holds};

/// What a page is asked for.
pub(crate) struct Query<'a> {
    pub(crate) channel: &'a ChannelName,
    pub(crate) newest_first: bool,
    pub(crate) page_size: usize,
    pub(crate) page_token: &'a str,
}

/// A tag and a length of at most 4 bytes each precede every message of a page.
const MESSAGE_OVERHEAD: usize = 8;

/// Reads one page. It is full at `page_size` messages or before [`PAGE_BYTES`], but has one message at least.
pub(crate) async fn page(broker: &dyn Broker, query: &Query<'_>) -> Result<pb::ListMessagesResponse, Status> {
    let unavailable = |error| status::from_broker(error, Call::Read);
    let mut at = match query.page_token {
        "" => None,
        token => {
            let position = cursor::decode_page(token, query.channel, query.newest_first);
            Some(position.map_err(|error| status::invalid_page_token("page_token", error))?)
        }
    };
    let resumed = at;
    let mut response = pb::ListMessagesResponse::default();
    let mut bytes = 0;
    loop {
        let from = match (query.newest_first, at) {
            (false, at) => From::After(at.map_or(0, |at| at.sequence)),
            (true, at) => From::Before(at.map_or(i64::MAX, |at| at.sequence)),
        };
        let room = query.page_size - response.messages.len();
        let limit = PageLimit { messages: room, bytes: PAGE_BYTES - bytes.min(PAGE_BYTES) };
        let page = broker.read(query.channel, from, limit).await.map_err(unavailable)?;
        if let (Some(token), true) = (resumed, at == resumed) {
            still_there(broker, query.channel, page.head.as_ref(), token).await?;
        }
        let (count, mut taken) = (page.messages.len(), 0);
        for stored in &page.messages {
            let (message, position) = message(query.channel, stored, page.head.as_ref());
            let size = message.encoded_len() + MESSAGE_OVERHEAD;
            let full = response.messages.len() == query.page_size || bytes + size > PAGE_BYTES;
            if full && !response.messages.is_empty() {
                break;
            }
            bytes += size;
            taken += 1;
            at = Some(position);
            response.messages.push(message);
        }
        if page.is_last && taken == count {
            return Ok(response);
        }
        if taken < count || response.messages.len() == query.page_size {
            let next = at.map(|at| cursor::encode_page(query.channel, query.newest_first, at));
            response.next_page_token = next.unwrap_or_default();
            return Ok(response);
        }
    }
}

/// A message of the log, and its position.
pub(crate) fn message(channel: &ChannelName, stored: &Stored, head: Option<&Head>) -> (pb::Message, Position) {
    let envelope = envelope::decode(&stored.json, 0);
    let epoch = envelope.claim.map(|claim| claim.epoch).or_else(|| head?.epoch_at(stored.sequence));
    let position = Position { epoch, sequence: stored.sequence };
    let lineage = head.zip(epoch).map_or(Lineage::Unknown, |(head, epoch)| head.lineage(epoch));
    let message =
        event::message(channel, channel_hash(channel.as_str()), envelope, stored.sequence, Mark { position, lineage });
    (message, position)
}

/// A page token is good as long as the history it was made in is the log's.
async fn still_there(
    broker: &dyn Broker,
    channel: &ChannelName,
    head: Option<&Head>,
    token: Position,
) -> Result<(), Status> {
    let lost = || {
        let text = "the list's history is gone: Redis lost writes or was flushed; list again without a page_token";
        status::out_of_range(reason::EPOCH_CHANGED, text, [("channel", channel.to_string())])
    };
    let Some(head) = head else { return Err(lost()) };
    match head.epochs.iter().position(|start| Some(start.epoch) == token.epoch) {
        Some(index) => {
            let end = head.epochs.get(index + 1).map_or(head.last, |next| next.first - 1);
            if token.sequence > end { Err(lost()) } else { Ok(()) }
        }
        None if head.epochs.is_empty() => Ok(()),
        None => match holds(broker, channel, Mark { position: token, lineage: Lineage::Unknown }).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(lost()),
            Err(error) => Err(status::from_broker(error, Call::Read)),
        },
    }
}

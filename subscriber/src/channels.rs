//! `ListChannels`: the registry's names with what their heads say, page by page.

use tidings::{
    access::{Rights, Verb},
    broker::{self, Broker, Head},
    channel::{ChannelName, Pattern},
    cursor,
    limits::PAGE_MESSAGES,
    pb,
    status::{self, Call},
};
use tonic::Status;

use crate::{hub::Hub, request};

/// Reads one page.
pub(crate) async fn page(
    broker: &dyn Broker,
    hub: &Hub,
    rights: &Rights,
    request: &pb::ListChannelsRequest,
) -> Result<pb::ListChannelsResponse, Status> {
    let pattern = match request.pattern.as_str() {
        "" => None,
        text => Some(Pattern::parse(text).map_err(|error| status::invalid_pattern("pattern", &error))?),
    };
    let page_size = request::page_size(request.page_size)?;
    let after = match request.page_token.as_str() {
        "" => String::new(),
        token => cursor::decode_names_page(token, &request.pattern)
            .map_err(|error| status::invalid_page_token("page_token", error))?,
    };
    let unavailable = |error| status::from_broker(error, Call::Read);
    // One more than asked for shows whether there is a next page.
    let mut names = readable(broker, rights, pattern.as_ref(), after, page_size + 1).await.map_err(unavailable)?;
    let more = names.len() > page_size;
    names.truncate(page_size);
    let next_page_token = match names.last() {
        Some(last) if more => cursor::encode_names_page(&request.pattern, last.as_str()),
        _ => String::new(),
    };
    let heads = broker.heads(&names).await.map_err(unavailable)?;
    // The registry is written before a publish; where that was refused, there is a name and nothing else.
    let counts = hub.subscribers(&names).await;
    let there = names.iter().zip(heads).zip(counts);
    let mut channels = Vec::with_capacity(names.len());
    for ((name, head), count) in there {
        match head {
            Ok(None) => {}
            Ok(Some(head)) => channels.push(describe(name, Some(&head), count)),
            // Of one that can't be read it is known that it is there.
            Err(error) => {
                hub.unreadable(name, error).await;
                channels.push(describe(name, None, count));
            }
        }
    }
    Ok(pb::ListChannelsResponse { channels, next_page_token })
}

/// The next names of channels that may be read. What may not is passed over before pages are cut: a page token holds
/// only a name that its holder may read.
async fn readable(
    broker: &dyn Broker,
    rights: &Rights,
    pattern: Option<&Pattern>,
    mut after: String,
    count: usize,
) -> Result<Vec<ChannelName>, broker::Error> {
    let (mut readable, mut asked) = (Vec::new(), count);
    loop {
        let names = broker.channels(pattern, &after, asked).await?;
        let is_last = names.len() < asked;
        let Some(last) = names.last().map(|name| name.as_str().to_owned()) else { return Ok(readable) };
        let room = count - readable.len();
        readable.extend(names.into_iter().filter(|name| rights.covers(Verb::Subscribe, name.as_str())).take(room));
        if is_last || readable.len() == count {
            return Ok(readable);
        }
        after = last;
        // Some may not be read, perhaps very many: a small page must not take a call for each few of them.
        asked = count.max(PAGE_MESSAGES);
    }
}

fn describe(name: &ChannelName, head: Option<&Head>, streams: usize) -> pb::Channel {
    let named =
        pb::Channel { name: name.as_str().to_owned(), subscriber_count: streams as i64, ..pb::Channel::default() };
    let Some(head) = head else { return named };
    pb::Channel {
        epoch: head.epoch().map(|epoch| epoch.to_string()).unwrap_or_default(),
        first_sequence: if head.first > head.last { 0 } else { head.first },
        last_sequence: head.last,
        last_publish_time: (head.last > 0).then(|| pb::timestamp(head.time_ms)),
        ..named
    }
}

//! `SubscriberService`, as anyone who knows tonic reads it. Most streams take the fast path ([`RawStreams`](crate::raw::RawStreams)), which
//! sends the same.

use std::sync::Arc;

use http::StatusCode;
use tidings::{
    broker::{Head, Shared},
    channel::{ChannelName, Names, Pattern},
    codec::Counting,
    cursor,
    pb::{self, subscriber_service_server::SubscriberService},
    status::{self, Call},
};
use tidings_transport::deadline;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming, codec::Codec as _};

use crate::{hub::Hub, list, request, streams::Streams};

/// Answers lists and opens streams.
pub(crate) struct Subscriber {
    pub(crate) broker: Shared,
    pub(crate) hub: Arc<Hub>,
    pub(crate) names: Arc<Names>,
    pub(crate) streams: Arc<Streams>,
}

#[tonic::async_trait]
impl SubscriberService for Subscriber {
    type StreamMessagesStream = Streaming<pb::StreamMessagesResponse>;

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let request = request.into_inner();
        let channel = request::channel(&request.channel, &self.names)?;
        let query = list::Query {
            channel: &channel,
            newest_first: request::newest_first(request.order)?,
            page_size: request::page_size(request.page_size)?,
            page_token: &request.page_token,
        };
        list::page(&*self.broker, &query).await.map(Response::new)
    }

    async fn stream_messages(
        &self,
        request: Request<pb::StreamMessagesRequest>,
    ) -> Result<Response<Self::StreamMessagesStream>, Status> {
        let drain = self.streams.drain(request.extensions());
        let deadline = deadline::of_call(&request).map(|time| Instant::now() + time);
        let body = self.streams.open(request.get_ref(), deadline, drain).await?;
        // The chunks that all streams share are frames already.
        let decoder = Counting::<pb::StreamMessagesRequest, pb::StreamMessagesResponse>::default().decoder();
        Ok(Response::new(Streaming::new_response(decoder, body, StatusCode::OK, None, None)))
    }

    async fn list_channels(
        &self,
        request: Request<pb::ListChannelsRequest>,
    ) -> Result<Response<pb::ListChannelsResponse>, Status> {
        let request = request.into_inner();
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
        // One more than asked for tells whether there is a next page.
        let mut names = self.broker.channels(pattern.as_ref(), &after, page_size + 1).await.map_err(unavailable)?;
        let more = names.len() > page_size;
        names.truncate(page_size);
        let next_page_token = match names.last() {
            Some(last) if more => cursor::encode_names_page(&request.pattern, last.as_str()),
            _ => String::new(),
        };
        let heads = self.broker.heads(&names).await.map_err(unavailable)?;
        // The registry is told before a publish; where that was refused, there is a name and nothing else.
        let counts = self.hub.subscribers(&names);
        let there = names.iter().zip(heads).zip(counts);
        let mut channels = Vec::with_capacity(names.len());
        for ((name, head), count) in there {
            match head {
                Ok(None) => {}
                Ok(Some(head)) => channels.push(describe(name, Some(&head), count)),
                // Of one that can't be read it is known that it is there.
                Err(error) => {
                    self.hub.unreadable(name, error).await;
                    channels.push(describe(name, None, count));
                }
            }
        }
        Ok(Response::new(pb::ListChannelsResponse { channels, next_page_token }))
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

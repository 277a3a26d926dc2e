//! The operations: a request is checked, and answered with a page, or with a stream of events. They know no protocol.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings::{
    access::{Allowed, Read, Rights},
    broker::{self, Topic},
    channel::Names,
    pb::{
        ListChannelsRequest, ListChannelsResponse, ListMessagesRequest, ListMessagesResponse, StreamMessagesRequest,
        StreamMessagesResponse,
    },
};
use tidings_transport::{
    CallContext, Caller, Rated,
    operation::{ServerStreaming, Unary},
};
use tonic::Status;

use crate::{
    channels,
    hub::Hub,
    list,
    request::{self, Terms},
    stream::{self, Events, Source},
};

/// What all operations share.
pub(crate) struct Subscriber {
    pub(crate) broker: broker::Shared,
    pub(crate) hub: Arc<Hub>,
    pub(crate) names: Arc<Names>,
    pub(crate) source: Source,
}

impl Subscriber {
    /// What is asked of a request of a caller with these rights.
    fn terms<'a>(&'a self, rights: &'a Rights) -> Terms<'a> {
        Terms { names: &self.names, rights }
    }
}

/// Waits until the caller may follow the topic no longer; `None` where its rights can't change.
fn revoked(caller: Caller, topic: Allowed<Read, Topic>) -> Option<BoxFuture<'static, Status>> {
    let mut changes = caller.changes()?;
    let topic = topic.into_inner();
    Some(Box::pin(async move {
        loop {
            // It may have changed since the topic was allowed: first it is looked at.
            changes.mark_unchanged();
            if let Err(topic) = caller.rights().follow(topic.clone()) {
                let field = if matches!(topic, Topic::Pattern(_)) { "pattern" } else { "channel" };
                return request::denied(&topic, field);
            }
            if changes.changed().await.is_err() {
                // The policy is gone with the server.
                std::future::pending::<()>().await;
            }
        }
    }))
}

/// `ListMessages`.
#[derive(Clone)]
pub(crate) struct ListMessages(pub(crate) Arc<Subscriber>);

impl Unary for ListMessages {
    type Request = ListMessagesRequest;
    type Response = ListMessagesResponse;

    fn call(
        &self,
        context: CallContext,
        request: ListMessagesRequest,
    ) -> impl Future<Output = Result<ListMessagesResponse, Status>> + Send + 'static {
        let Self(subscriber) = self.clone();
        async move {
            context.take(Rated::Lists, || 1)?;
            let rights = context.caller().rights();
            let channel = request::channel(&request.channel, subscriber.terms(&rights))?;
            let query = list::Query {
                channel: &channel,
                newest_first: request::newest_first(request.order)?,
                page_size: request::page_size(request.page_size)?,
                page_token: &request.page_token,
            };
            list::page(&*subscriber.broker, &query).await
        }
    }
}

/// `ListChannels`.
#[derive(Clone)]
pub(crate) struct ListChannels(pub(crate) Arc<Subscriber>);

impl Unary for ListChannels {
    type Request = ListChannelsRequest;
    type Response = ListChannelsResponse;

    fn call(
        &self,
        context: CallContext,
        request: ListChannelsRequest,
    ) -> impl Future<Output = Result<ListChannelsResponse, Status>> + Send + 'static {
        let Self(subscriber) = self.clone();
        async move {
            context.take(Rated::Lists, || 1)?;
            let rights = context.caller().rights();
            channels::page(&*subscriber.broker, &subscriber.hub, &rights, &request).await
        }
    }
}

/// `StreamMessages`.
#[derive(Clone)]
pub(crate) struct StreamMessages(pub(crate) Arc<Subscriber>);

impl ServerStreaming for StreamMessages {
    type Request = StreamMessagesRequest;
    type Response = StreamMessagesResponse;
    type Responses = Events;

    fn open(
        &self,
        context: CallContext,
        request: StreamMessagesRequest,
    ) -> impl Future<Output = Result<Events, Status>> + Send + 'static {
        let Self(subscriber) = self.clone();
        async move {
            let drain = context.drain();
            if drain.has_begun() {
                return Err(drain.status(context.call()));
            }
            let options = request::stream_options(&request, subscriber.terms(&context.caller().rights()))?;
            let followed = match &*options.topic {
                Topic::Pattern(pattern) => context.follow(pattern.as_str())?,
                Topic::Channel(_) => None,
            };
            // When it is open, its subscription is confirmed.
            let session = tokio::select! {
                opened = stream::open(&subscriber.source, &options, &context) => opened?,
                () = drain.begun() => return Err(drain.status(context.call())),
            };
            let revoked = revoked(context.caller().clone(), options.topic);
            Ok(Events::new(session, options.heartbeat, drain.clone(), revoked, followed))
        }
    }
}

//! The operations: a request is checked, and answered with a page, or with a stream of events. They know no protocol.

use std::sync::Arc;

use tidings::{
    broker,
    channel::Names,
    pb::{
        ListChannelsRequest, ListChannelsResponse, ListMessagesRequest, ListMessagesResponse, StreamMessagesRequest,
        StreamMessagesResponse,
    },
};
use tidings_transport::{
    CallContext,
    operation::{ServerStreaming, Unary},
};
use tonic::Status;

use crate::{
    channels,
    hub::Hub,
    list, request,
    stream::{Events, Session, Source},
};

/// What all operations share.
pub(crate) struct Subscriber {
    pub(crate) broker: broker::Shared,
    pub(crate) hub: Arc<Hub>,
    pub(crate) names: Arc<Names>,
    pub(crate) source: Source,
}

/// `ListMessages`.
#[derive(Clone)]
pub(crate) struct ListMessages(pub(crate) Arc<Subscriber>);

impl Unary for ListMessages {
    type Request = ListMessagesRequest;
    type Response = ListMessagesResponse;

    fn call(
        &self,
        _: CallContext,
        request: ListMessagesRequest,
    ) -> impl Future<Output = Result<ListMessagesResponse, Status>> + Send + 'static {
        let Self(subscriber) = self.clone();
        async move {
            let channel = request::channel(&request.channel, &subscriber.names)?;
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
        _: CallContext,
        request: ListChannelsRequest,
    ) -> impl Future<Output = Result<ListChannelsResponse, Status>> + Send + 'static {
        let Self(subscriber) = self.clone();
        async move { channels::page(&*subscriber.broker, &subscriber.hub, &request).await }
    }
}

/// `StreamMessages`.
#[derive(Clone)]
pub(crate) struct StreamMessages(pub(crate) Arc<Subscriber>);

impl ServerStreaming for StreamMessages {
    type Request = StreamMessagesRequest;
    type Response = StreamMessagesResponse;
    type Frames = Events;

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
            let plan = request::plan(&request, &subscriber.names)?;
            // When it is open, its subscription is confirmed.
            let session = tokio::select! {
                opened = Session::open(&subscriber.source, &plan) => opened?,
                () = drain.begun() => return Err(drain.status(context.call())),
            };
            Ok(Events::new(session, plan.heartbeat, drain.clone()))
        }
    }
}

//! `SubscriberService`, as anyone who knows tonic reads it: each RPC is an operation. Most streams take a fast path to
//! the same operation, past this file and the generated code: [`Service::methods`] is the table.

use std::sync::Arc;

use tidings::{
    limits::{CHANNELS_PAGE_BYTES, DECODE_BYTES, PAGE_BYTES},
    pb::{
        ListChannelsRequest, ListChannelsResponse, ListMessagesRequest, ListMessagesResponse, StreamMessagesRequest,
        StreamMessagesResponse,
        subscriber_service_server::{SubscriberService, SubscriberServiceServer},
    },
};
use tidings_transport::{
    Method, Permission,
    operation::{self, Decoded},
};
use tonic::{Request, Response, Status};

use crate::operation::{ListChannels, ListMessages, StreamMessages, Subscriber};

/// The service.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) list_messages: ListMessages,
    pub(crate) list_channels: ListChannels,
    pub(crate) stream_messages: StreamMessages,
}

impl Service {
    pub(crate) fn new(subscriber: Arc<Subscriber>) -> Self {
        Self {
            list_messages: ListMessages(Arc::clone(&subscriber)),
            list_channels: ListChannels(Arc::clone(&subscriber)),
            stream_messages: StreamMessages(subscriber),
        }
    }

    /// The table of its methods. Lists take no fast path: what a page costs is reading it.
    pub(crate) fn methods(&self) -> [Method; 3] {
        let read = Permission::Subscribe;
        let Self { list_messages, list_channels, stream_messages } = self.clone();
        [
            Method::server_streaming("/tidings.v1.SubscriberService/StreamMessages", read, stream_messages)
                .with_fast_path(),
            Method::unary("/tidings.v1.SubscriberService/ListMessages", read, list_messages)
                .with_large_answer(PAGE_BYTES),
            Method::unary("/tidings.v1.SubscriberService/ListChannels", read, list_channels)
                .with_large_answer(CHANNELS_PAGE_BYTES),
        ]
    }

    /// What the code generator makes of it.
    pub(crate) fn into_server(self) -> SubscriberServiceServer<Self> {
        SubscriberServiceServer::new(self).max_decoding_message_size(DECODE_BYTES)
    }
}

#[tonic::async_trait]
impl SubscriberService for Service {
    type StreamMessagesStream = Decoded<StreamMessagesResponse>;

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        operation::unary(&self.list_messages, request).await
    }

    async fn stream_messages(
        &self,
        request: Request<StreamMessagesRequest>,
    ) -> Result<Response<Self::StreamMessagesStream>, Status> {
        operation::server_streaming(&self.stream_messages, request).await
    }

    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Result<Response<ListChannelsResponse>, Status> {
        operation::unary(&self.list_channels, request).await
    }
}

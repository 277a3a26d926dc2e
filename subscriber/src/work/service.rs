//! `SubscriptionService`, as anyone who knows tonic reads it: each RPC is an operation. [`Service::methods`] is the
//! table.

use std::sync::Arc;

use tidings::{
    limits::DECODE_BYTES,
    pb::{
        self, ConsumeMessagesRequest, ConsumeMessagesResponse,
        subscription_service_server::{SubscriptionService, SubscriptionServiceServer},
    },
};
use tidings_transport::{
    Method, Permission,
    operation::{self, Decoded},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Desk,
    operation::{
        AcknowledgeMessages, ConsumeMessages, CreateSubscription, DeleteSubscription, ExtendAckDeadlines,
        GetSubscription, LIST_BYTES, ListDeadLetters, ListSubscriptions, PullMessages, RedriveDeadLetters,
        RejectMessages, SeekSubscription, UpdateSubscription,
    },
};

/// The service.
#[derive(Clone)]
pub(crate) struct Service(Arc<Desk>);

macro_rules! path {
    ($method:literal) => {
        concat!("/tidings.v1.SubscriptionService/", $method)
    };
}

impl Service {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self(desk)
    }

    fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.0)
    }

    /// The table of its methods. The stream takes a fast path: it carries all that is busy.
    pub(crate) fn methods(&self) -> [Method; 13] {
        let (consume, manage) = (Permission::Consume, Permission::Manage);
        [
            Method::unary(path!("CreateSubscription"), manage, CreateSubscription(self.desk())),
            Method::unary(path!("GetSubscription"), consume, GetSubscription(self.desk())),
            Method::unary(path!("UpdateSubscription"), manage, UpdateSubscription(self.desk())),
            Method::unary(path!("DeleteSubscription"), manage, DeleteSubscription(self.desk())),
            Method::unary(path!("ListSubscriptions"), consume, ListSubscriptions(self.desk()))
                .with_large_answer(LIST_BYTES),
            Method::bidirectional(path!("ConsumeMessages"), consume, ConsumeMessages(self.desk())).with_fast_path(),
            Method::unary(path!("PullMessages"), consume, PullMessages(self.desk())).with_large_answer(LIST_BYTES),
            Method::unary(path!("AcknowledgeMessages"), consume, AcknowledgeMessages(self.desk())),
            Method::unary(path!("RejectMessages"), consume, RejectMessages(self.desk())),
            Method::unary(path!("ExtendAckDeadlines"), consume, ExtendAckDeadlines(self.desk())),
            Method::unary(path!("SeekSubscription"), manage, SeekSubscription(self.desk())),
            Method::unary(path!("ListDeadLetters"), manage, ListDeadLetters(self.desk())).with_large_answer(LIST_BYTES),
            Method::unary(path!("RedriveDeadLetters"), manage, RedriveDeadLetters(self.desk())),
        ]
    }

    /// What the code generator makes of it.
    pub(crate) fn into_server(self) -> SubscriptionServiceServer<Self> {
        SubscriptionServiceServer::new(self).max_decoding_message_size(DECODE_BYTES)
    }
}

/// Methods with one message each way.
macro_rules! unary {
    ($($method:ident: $operation:ident, $request:ident => $response:ident;)+) => {
        #[tonic::async_trait]
        impl SubscriptionService for Service {
            type ConsumeMessagesStream = Decoded<ConsumeMessagesResponse>;

            async fn consume_messages(
                &self,
                request: Request<Streaming<ConsumeMessagesRequest>>,
            ) -> Result<Response<Self::ConsumeMessagesStream>, Status> {
                operation::bidirectional(&ConsumeMessages(self.desk()), request)
            }

            $(async fn $method(&self, request: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                operation::unary(&$operation(self.desk()), request).await
            })+
        }
    };
}

unary! {
    create_subscription: CreateSubscription, CreateSubscriptionRequest => CreateSubscriptionResponse;
    get_subscription: GetSubscription, GetSubscriptionRequest => GetSubscriptionResponse;
    update_subscription: UpdateSubscription, UpdateSubscriptionRequest => UpdateSubscriptionResponse;
    delete_subscription: DeleteSubscription, DeleteSubscriptionRequest => DeleteSubscriptionResponse;
    list_subscriptions: ListSubscriptions, ListSubscriptionsRequest => ListSubscriptionsResponse;
    pull_messages: PullMessages, PullMessagesRequest => PullMessagesResponse;
    acknowledge_messages: AcknowledgeMessages, AcknowledgeMessagesRequest => AcknowledgeMessagesResponse;
    reject_messages: RejectMessages, RejectMessagesRequest => RejectMessagesResponse;
    extend_ack_deadlines: ExtendAckDeadlines, ExtendAckDeadlinesRequest => ExtendAckDeadlinesResponse;
    seek_subscription: SeekSubscription, SeekSubscriptionRequest => SeekSubscriptionResponse;
    list_dead_letters: ListDeadLetters, ListDeadLettersRequest => ListDeadLettersResponse;
    redrive_dead_letters: RedriveDeadLetters, RedriveDeadLettersRequest => RedriveDeadLettersResponse;
}

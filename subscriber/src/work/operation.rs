//! The operations of `SubscriptionService`. They know no protocol.

use std::sync::Arc;

use tidings::{
    limits::PAGE_BYTES,
    pb::{self, ConsumeMessagesRequest, ConsumeMessagesResponse},
    status::{self, Call},
};
use tidings_transport::{
    CallContext, Rated,
    operation::{Bidirectional, Requests, Unary},
};
use tonic::Status;

use super::{
    Desk, Query, Settle, Which,
    consume::Responses,
    manage::{list_token, read_list_token},
    request::{consuming, subscription as about},
};
use crate::request::{self, Terms};

/// Defines an operation with one message each way.
macro_rules! unary {
    ($(#[$doc:meta])* $name:ident: $request:ident => $response:ident, |$desk:ident, $context:ident, $given:ident| $answer:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $name(pub(crate) Arc<Desk>);

        impl Unary for $name {
            type Request = pb::$request;
            type Response = pb::$response;

            fn call(
                &self,
                $context: CallContext,
                $given: pb::$request,
            ) -> impl Future<Output = Result<pb::$response, Status>> + Send + 'static {
                let $desk = Arc::clone(&self.0);
                async move { $answer }
            }
        }
    };
}

unary! {
    /// `CreateSubscription`.
    CreateSubscription: CreateSubscriptionRequest => CreateSubscriptionResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let subscription = about::subscription(given.subscription)?;
        let name = about::manage(&subscription.name, "subscription.name", &desk, &context)?;
        let rights = context.caller().rights();
        let channel = request::channel(&subscription.channel, Terms { names: desk.names(), rights: &rights })?;
        let dead_letters = about::dead_letters(&subscription, &name, &channel, &desk, &context)?;
        let position = about::Given {
            earliest: given.earliest,
            since: given.since.as_ref(),
            last: given.last,
            after: &given.after,
            ..about::Given::default()
        };
        let start = about::start(&position, &channel)?.unwrap_or(super::StartAt::Latest);
        let request_id = about::request_id(&given.request_id)?;
        let created = desk.create(name, channel, &dead_letters, subscription, &start, request_id).await?;
        Ok(pb::CreateSubscriptionResponse { subscription: Some(created) })
    }
}

unary! {
    /// `GetSubscription`.
    GetSubscription: GetSubscriptionRequest => GetSubscriptionResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let name = about::see(&given.name, &desk, &context)?;
        Ok(pb::GetSubscriptionResponse { subscription: Some(desk.get(&name).await?) })
    }
}

unary! {
    /// `UpdateSubscription`.
    UpdateSubscription: UpdateSubscriptionRequest => UpdateSubscriptionResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let subscription = about::subscription(given.subscription)?;
        let name = about::manage(&subscription.name, "subscription.name", &desk, &context)?;
        let mask = given.update_mask.map(|mask| mask.paths).filter(|paths| !paths.is_empty());
        let updated = desk.update(name, &subscription, mask).await?;
        Ok(pb::UpdateSubscriptionResponse { subscription: Some(updated) })
    }
}

unary! {
    /// `DeleteSubscription`.
    DeleteSubscription: DeleteSubscriptionRequest => DeleteSubscriptionResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let name = about::manage(&given.name, "name", &desk, &context)?;
        desk.delete(name, &given.etag, given.allow_missing).await?;
        Ok(pb::DeleteSubscriptionResponse {})
    }
}

unary! {
    /// `ListSubscriptions`.
    ListSubscriptions: ListSubscriptionsRequest => ListSubscriptionsResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let page_size = request::page_size(given.page_size)?;
        let after = read_list_token(&given.page_token, &given.channel)?;
        let rights = context.caller().rights();
        let visible = |name: &_, channel: &tidings::channel::ChannelName| {
            rights.may_see(name) && (given.channel.is_empty() || given.channel == channel.as_str())
        };
        let (subscriptions, next) = desk.list(visible, &after, page_size).await?;
        let next_page_token = next.map(|last| list_token(&given.channel, &last)).unwrap_or_default();
        Ok(pb::ListSubscriptionsResponse { subscriptions, next_page_token })
    }
}

unary! {
    /// `SeekSubscription`.
    SeekSubscription: SeekSubscriptionRequest => SeekSubscriptionResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let name = about::manage(&given.name, "name", &desk, &context)?;
        let position = about::Given {
            earliest: given.earliest,
            latest: given.latest,
            since: given.since.as_ref(),
            after: &given.after,
            ..about::Given::default()
        };
        let channel = desk.channel_of(&name).await?;
        let Some(to) = about::start(&position, &channel)? else {
            return Err(status::invalid("earliest", "set one of earliest, latest, since and after"));
        };
        Ok(pb::SeekSubscriptionResponse { subscription: Some(desk.seek(name, &to).await?) })
    }
}

unary! {
    /// `ListDeadLetters`.
    ListDeadLetters: ListDeadLettersRequest => ListDeadLettersResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let name = about::manage(&given.name, "name", &desk, &context)?;
        let page_size = request::page_size(given.page_size)?;
        desk.dead_letters(name, &Query { page_size, page_token: &given.page_token }).await
    }
}

unary! {
    /// `RedriveDeadLetters`.
    RedriveDeadLetters: RedriveDeadLettersRequest => RedriveDeadLettersResponse, |desk, context, given| {
        context.take(Rated::Lists, || 1)?;
        let name = about::manage(&given.name, "name", &desk, &context)?;
        let Ok(per_second) = u32::try_from(given.max_per_second) else {
            return Err(status::invalid("max_per_second", "it must not be negative"));
        };
        let which = match (given.all, given.dead_letter_ids.len()) {
            (true, 0) => Which::All,
            (true, _) => return Err(status::invalid("all", "give ids or all, not both")),
            (false, 0) => return Err(status::invalid("dead_letter_ids", "give ids, or set all")),
            (false, 1..=tidings::limits::SETTLED) => Which::These(given.dead_letter_ids),
            (false, _) => return Err(status::too_many_ids()),
        };
        Ok(pb::RedriveDeadLettersResponse { redriven_count: desk.redrive(name, which, per_second).await? })
    }
}

unary! {
    /// `PullMessages`.
    PullMessages: PullMessagesRequest => PullMessagesResponse, |desk, context, given| {
        let name = consuming::consume(&given.name, "name", &desk, &context)?;
        let pull = consuming::pull(&given)?;
        let drain = context.drain();
        let pulled = tokio::select! {
            pulled = desk.pull(&name, pull) => pulled?,
            () = drain.begun() => return Err(drain.status(Call::Consume)),
        };
        Ok(pulled.into_response())
    }
}

unary! {
    /// `AcknowledgeMessages`.
    AcknowledgeMessages: AcknowledgeMessagesRequest => AcknowledgeMessagesResponse, |desk, context, given| {
        let name = consuming::consume(&given.name, "name", &desk, &context)?;
        let settles = consuming::bounded(consuming::acknowledged(given.ack_ids).collect())?;
        Ok(pb::AcknowledgeMessagesResponse { settled: Some(settle(&desk, &name, &settles).await?) })
    }
}

unary! {
    /// `RejectMessages`.
    RejectMessages: RejectMessagesRequest => RejectMessagesResponse, |desk, context, given| {
        let name = consuming::consume(&given.name, "name", &desk, &context)?;
        let mut settles = Vec::new();
        consuming::rejected(given.rejections, "rejections", &mut settles)?;
        let settles = consuming::bounded(settles)?;
        Ok(pb::RejectMessagesResponse { settled: Some(settle(&desk, &name, &settles).await?) })
    }
}

unary! {
    /// `ExtendAckDeadlines`.
    ExtendAckDeadlines: ExtendAckDeadlinesRequest => ExtendAckDeadlinesResponse, |desk, context, given| {
        let name = consuming::consume(&given.name, "name", &desk, &context)?;
        let mut settles = Vec::new();
        consuming::extended(given.extensions, "extensions", &mut settles)?;
        let settles = consuming::bounded(settles)?;
        Ok(pb::ExtendAckDeadlinesResponse { settled: Some(settle(&desk, &name, &settles).await?) })
    }
}

/// Settles by a call. Where nothing can be said of any delivery, the call fails.
async fn settle(
    desk: &Desk,
    name: &tidings::subscription::SubscriptionName,
    settles: &[Settle],
) -> Result<pb::Settled, Status> {
    let settled = desk.settle(name, settles).await?;
    match settled.error_of_all() {
        Some(error) => Err(status::from_broker(error, Call::Consume)),
        None => Ok(settled.into_message()),
    }
}

/// `ConsumeMessages`.
#[derive(Clone)]
pub(crate) struct ConsumeMessages(pub(crate) Arc<Desk>);

impl Bidirectional for ConsumeMessages {
    type Request = ConsumeMessagesRequest;
    type Response = ConsumeMessagesResponse;
    type Responses = Responses;

    fn open(&self, context: CallContext, requests: Requests<ConsumeMessagesRequest>) -> Responses {
        Responses::new(Arc::clone(&self.0), context, requests)
    }
}

/// How long the answers are that list something.
pub(super) const LIST_BYTES: usize = PAGE_BYTES;

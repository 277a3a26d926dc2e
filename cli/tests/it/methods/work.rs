//! Samples of the methods about durable subscriptions: all of one that is there.

use prost::Message;
use tidings::pb::{self, consume_messages_request::Request, consume_messages_response::Response};
use tonic::{Code, transport::Channel};

use super::{Sample, normal};

const NAME: &str = "walked";

fn subscription() -> Option<pb::Subscription> {
    Some(pb::Subscription { name: NAME.to_owned(), channel: "quiet".to_owned(), ..pb::Subscription::default() })
}

fn to_create() -> pb::CreateSubscriptionRequest {
    pb::CreateSubscriptionRequest { subscription: subscription(), ..pb::CreateSubscriptionRequest::default() }
}

/// Creates the subscription.
pub(super) async fn create(channel: Channel) {
    let mut client = pb::subscription_service_client::SubscriptionServiceClient::new(channel);
    client.create_subscription(to_create()).await.expect("created");
}

/// Without what another call changes.
fn settled(subscription: Option<pb::Subscription>) -> Option<pb::Subscription> {
    Some(pb::Subscription { etag: String::new(), create_time: None, ..subscription? })
}

macro_rules! of_one {
    ($response:ident) => {
        |frame: &[u8]| {
            let response = pb::$response::decode(frame).expect("a response");
            format!("{:?}", settled(response.subscription))
        }
    };
}

fn listed(frame: &[u8]) -> String {
    let list = pb::ListSubscriptionsResponse::decode(frame).expect("a response");
    let subscriptions: Vec<_> = list.subscriptions.into_iter().map(|one| settled(Some(one))).collect();
    format!("{subscriptions:?} {}", list.next_page_token)
}

fn consumed(frame: &[u8]) -> String {
    match pb::ConsumeMessagesResponse::decode(frame).expect("a response").response {
        Some(Response::Started(started)) => format!("{:?}", settled(started.subscription)),
        other => format!("{other:?}"),
    }
}

/// One for each method.
pub(super) fn samples() -> Vec<(&'static str, Sample)> {
    let (name, ack_ids) = (|| NAME.to_owned(), || vec!["nonsense".to_owned()]);
    let start = pb::StartConsuming { name: name(), ..pb::StartConsuming::default() };
    let requests = [Request::Start(start), Request::Ping(pb::Ping {})];
    let requests = requests.map(|request| pb::ConsumeMessagesRequest { request: Some(request) });
    let rejections = vec![pb::Rejection { ack_ids: ack_ids(), ..pb::Rejection::default() }];
    let extensions = vec![pb::Extension { ack_ids: ack_ids(), ..pb::Extension::default() }];
    let missing = "nobody".to_owned();
    vec![
        (
            "/tidings.v1.SubscriptionService/CreateSubscription",
            Sample { code: Code::AlreadyExists, ..Sample::of(&[to_create()], of_one!(CreateSubscriptionResponse)) },
        ),
        (
            "/tidings.v1.SubscriptionService/GetSubscription",
            Sample::of(&[pb::GetSubscriptionRequest { name: name() }], of_one!(GetSubscriptionResponse)),
        ),
        (
            "/tidings.v1.SubscriptionService/UpdateSubscription",
            Sample::of(
                &[pb::UpdateSubscriptionRequest { subscription: subscription(), update_mask: None }],
                of_one!(UpdateSubscriptionResponse),
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/DeleteSubscription",
            Sample::of(
                &[pb::DeleteSubscriptionRequest { name: missing, allow_missing: true, etag: String::new() }],
                normal::<pb::DeleteSubscriptionResponse>,
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/ListSubscriptions",
            Sample::of(&[pb::ListSubscriptionsRequest::default()], listed),
        ),
        ("/tidings.v1.SubscriptionService/ConsumeMessages", Sample::of(&requests, consumed)),
        (
            "/tidings.v1.SubscriptionService/PullMessages",
            Sample::of(
                &[pb::PullMessagesRequest { name: name(), ..Default::default() }],
                normal::<pb::PullMessagesResponse>,
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/AcknowledgeMessages",
            Sample::of(
                &[pb::AcknowledgeMessagesRequest { name: name(), ack_ids: ack_ids() }],
                normal::<pb::AcknowledgeMessagesResponse>,
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/RejectMessages",
            Sample::of(&[pb::RejectMessagesRequest { name: name(), rejections }], normal::<pb::RejectMessagesResponse>),
        ),
        (
            "/tidings.v1.SubscriptionService/ExtendAckDeadlines",
            Sample::of(
                &[pb::ExtendAckDeadlinesRequest { name: name(), extensions }],
                normal::<pb::ExtendAckDeadlinesResponse>,
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/SeekSubscription",
            Sample::of(
                &[pb::SeekSubscriptionRequest { name: name(), latest: true, ..Default::default() }],
                of_one!(SeekSubscriptionResponse),
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/ListDeadLetters",
            Sample::of(
                &[pb::ListDeadLettersRequest { name: name(), ..Default::default() }],
                normal::<pb::ListDeadLettersResponse>,
            ),
        ),
        (
            "/tidings.v1.SubscriptionService/RedriveDeadLetters",
            Sample::of(
                &[pb::RedriveDeadLettersRequest { name: name(), all: true, ..Default::default() }],
                normal::<pb::RedriveDeadLettersResponse>,
            ),
        ),
    ]
}

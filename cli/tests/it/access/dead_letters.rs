//! Who creates a subscription has its dead letters published, where it must be allowed to publish itself.

use tidings::pb::{CreateSubscriptionRequest, Subscription, subscription_service_client::SubscriptionServiceClient};
use tidings_testing::RedisServer;

use super::{denied, keys::Keys, refs, signed};
use crate::harness::Subscriber;

#[tokio::test(flavor = "multi_thread")]
async fn to_create_a_subscription_takes_the_right_to_publish_its_dead_letters() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let subscriber = Subscriber::start(&redis.url(), &refs(&keys.args(&[]))).await;
    let mut client = SubscriptionServiceClient::new(subscriber.channel());
    let mut create = async |token: &str, name: &str, to: &str| {
        let subscription = Subscription {
            name: name.to_owned(),
            channel: "orders".to_owned(),
            dead_letter_channel: to.to_owned(),
            ..Subscription::default()
        };
        let request = CreateSubscriptionRequest { subscription: Some(subscription), ..Default::default() };
        client.create_subscription(signed(token, request)).await
    };
    let names = &["orders", "mail", "bills"];
    let token = keys.token("alice", &["dead-letter.mail", "graveyard"], names);
    for (name, to) in [("bills", ""), ("mail", "dead-letter.bills"), ("mail", "nowhere")] {
        let refused = create(&token, name, to).await;
        let field = "subscription.dead_letter_channel";
        assert!(refused.as_ref().is_err_and(|status| status.message().starts_with(field)), "{refused:?}");
        denied(refused, field);
    }
    for (name, to) in [("mail", ""), ("bills", "graveyard")] {
        create(&token, name, to).await.expect("allowed");
    }
    subscriber.stop();
}

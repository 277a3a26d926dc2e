//! What every server has: health, reflection, the answer to strangers, and its end.

use std::time::Duration;

use tidings::{
    broker::State,
    limits::{CALLS_PER_CONNECTION, HEADER_LIST_BYTES},
    pb::{
        ListMessagesRequest, publisher_service_client::PublisherServiceClient,
        subscriber_service_client::SubscriberServiceClient,
    },
};
use tidings_runtime::healthcheck;
use tidings_transport::Options;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    fake::{self, options},
    publish::{reason, text},
};

const SERVICE: &str = "tidings.v1.PublisherService";

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn health_follows_the_broker() {
    let server = fake::start().await;
    let mut client = HealthClient::new(server.channel().await);
    let mut watched = client.watch(ask(SERVICE)).await.expect("a stream").into_inner();
    let mut next = async || watched.message().await.expect("no error").expect("an item").status();
    assert_eq!(next().await, ServingStatus::Serving);
    server.broker.state.send_replace(State::Down("away".into()));
    assert_eq!(next().await, ServingStatus::NotServing);
    for service in ["", SERVICE] {
        assert_eq!(client.check(ask(service)).await.expect("known").into_inner().status(), ServingStatus::NotServing);
    }
    let asked = healthcheck::check(server.address, Duration::from_secs(3)).await;
    assert!(matches!(asked, Err(healthcheck::Error::NotServing(_))), "{asked:?}");
    server.broker.state.send_replace(State::Up);
    assert_eq!(next().await, ServingStatus::Serving);
    for service in ["", SERVICE] {
        assert_eq!(client.check(ask(service)).await.expect("known").into_inner().status(), ServingStatus::Serving);
    }
    let unknown = client.check(ask("tidings.v1.SubscriberService")).await.expect_err("not here");
    assert_eq!(unknown.code(), Code::NotFound);
    healthcheck::check(server.address, Duration::from_secs(3)).await.expect("healthy");
}

#[tokio::test]
async fn the_health_check_says_when_nobody_listens() {
    let server = fake::start().await;
    let address = server.address;
    server.shutdown.cancel();
    server.ends_within(Duration::from_secs(5)).await;
    let asked = healthcheck::check(address, Duration::from_secs(3)).await;
    assert!(matches!(asked, Err(healthcheck::Error::Unreachable(..))), "{asked:?}");
}

macro_rules! reflect {
    ($version:ident, $channel:expr, $request:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask: fn(&str) -> MessageRequest = $request;
        let mut client = ServerReflectionClient::new($channel);
        let requests = ["", "tidings.v1.PublishRequest", "google.rpc.ErrorInfo", "grpc.health.v1.Health"]
            .map(|symbol| match symbol {
                "" => MessageRequest::ListServices(String::new()),
                symbol => ask(symbol),
            })
            .map(|request| ServerReflectionRequest { host: String::new(), message_request: Some(request) });
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await;
        let mut answers = answers.expect("a stream").into_inner();
        let mut services = Vec::new();
        let mut files = 0;
        while let Some(answer) = answers.message().await.expect("no error") {
            match answer.message_response.expect("an answer") {
                MessageResponse::ListServicesResponse(list) => {
                    services = list.service.into_iter().map(|service| service.name).collect();
                }
                MessageResponse::FileDescriptorResponse(_) => files += 1,
                other => panic!("{other:?}"),
            }
        }
        services.sort();
        (services, files)
    }};
}

#[tokio::test]
async fn reflection_shows_what_is_served_and_the_types_of_error_details() {
    let server = fake::start().await;
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ];
    let v1 = reflect!(v1, server.channel().await, |symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()));
    assert_eq!((v1.0, v1.1), (expected.map(str::to_owned).to_vec(), 3));
    let old =
        reflect!(v1alpha, server.channel().await, |symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()));
    assert_eq!((old.0, old.1), (expected.map(str::to_owned).to_vec(), 3));
}

#[tokio::test]
async fn a_call_for_the_other_service_learns_where_it_is() {
    let server = fake::start().await;
    let ask = async |channel: Channel| {
        let mut client = SubscriberServiceClient::new(channel);
        client.list_messages(ListMessagesRequest::default()).await.expect_err("not here")
    };
    let status = ask(server.channel().await).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "OTHER_SERVICE"));
    assert!(status.message().contains("tidings-subscriber (port 3001 by default)"), "{status:?}");

    let elsewhere = "127.0.0.1:4001".parse().ok();
    let server = fake::start_with(Options { elsewhere, ..options() }).await;
    let status = ask(server.channel().await).await;
    assert!(status.message().contains("127.0.0.1:4001"), "{status:?}");
}

#[tokio::test]
async fn a_drain_finishes_open_calls_and_takes_no_new_ones() {
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let mut client = server.client().await;
    let mut late = client.clone();
    let open = tokio::spawn(async move { client.publish(text("hello")).await });
    server.broker.until_seen(1).await;
    let mut watched = HealthClient::new(server.channel().await).watch(ask("")).await.expect("a stream").into_inner();
    assert_eq!(watched.message().await.expect("no error").expect("an item").status(), ServingStatus::Serving);
    server.shutdown.cancel();
    assert_eq!(watched.message().await.expect("no error").expect("an item").status(), ServingStatus::NotServing);
    assert!(watched.message().await.expect("an orderly end").is_none());

    late.publish(text("late")).await.expect_err("the connection takes no new calls");
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing new is accepted");
    server.broker.answering.send_replace(true);
    open.await.expect("no panic").expect("the open call is answered");
    assert_eq!(server.broker.seen(), 1);
    server.ends_within(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn calls_that_do_not_end_are_cut() {
    let server = fake::start_with(Options { shutdown_timeout: Duration::from_millis(200), ..options() }).await;
    server.broker.answering.send_replace(false);
    let mut client = server.client().await;
    let open = tokio::spawn(async move { client.publish(text("hello")).await });
    server.broker.until_seen(1).await;
    let silent = TcpStream::connect(server.address).await.expect("it listens");
    server.shutdown.cancel();
    server.ends_within(Duration::from_secs(1)).await;
    open.await.expect("no panic").expect_err("cut");
    drop(silent);
}

#[tokio::test]
async fn a_connection_that_says_nothing_useful_is_closed_by_the_drain() {
    let server = fake::start().await;
    let mut silent = TcpStream::connect(server.address).await.expect("it listens");
    server.shutdown.cancel();
    let read = timeout(Duration::from_secs(5), silent.read(&mut [0; 8])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    server.ends_within(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn calls_beyond_what_a_connection_may_have_wait_their_turn() {
    const MORE: usize = 50;
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let client = server.client().await;
    let allowed = CALLS_PER_CONNECTION as usize;
    let call = |mut client: PublisherServiceClient<Channel>| async move { client.publish(text("x")).await };
    let calls: Vec<_> = (0..allowed + MORE).map(|_| tokio::spawn(call(client.clone()))).collect();
    server.broker.until_seen(allowed).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.broker.seen(), allowed);
    // Another connection has a limit of its own.
    let other = tokio::spawn(call(server.client().await));
    server.broker.until_seen(allowed + 1).await;
    server.broker.answering.send_replace(true);
    for call in calls.into_iter().chain([other]) {
        timeout(Duration::from_secs(10), call).await.expect("in time").expect("no panic").expect("published");
    }
    assert_eq!(server.broker.seen(), allowed + MORE + 1);
}

#[tokio::test]
async fn headers_are_bounded_and_the_connection_continues() {
    let server = fake::start().await;
    let mut client = server.client().await;
    let with_header = |bytes: usize| {
        let mut request = Request::new(text("x"));
        request.metadata_mut().insert("x-large", "x".repeat(bytes).parse().expect("ASCII"));
        request
    };
    let limit = HEADER_LIST_BYTES as usize;
    client.publish(with_header(limit - 1_000)).await.expect("these are allowed");
    client.publish(with_header(limit)).await.expect_err("these are too large");
    assert_eq!(server.broker.seen(), 1);
    client.publish(text("x")).await.expect("the next call is served");
}

//! With a good token: everything that it does not allow.

use tidings::{
    channel::Names,
    cursor,
    message::{Epoch, Position},
    pb::{
        ListChannelsRequest, ListChannelsResponse, ListMessagesRequest, PublishBatchRequest, PublishRequest,
        PublishStreamRequest, PublishStreamResponse, StreamMessagesRequest, publish_stream_response::Result as Outcome,
    },
};
use tidings_testing::RedisServer;
use tonic::Code;

use super::{Tried, denied, keys::Keys, reason, refs, signed};
use crate::harness::{Publisher, Stream, Subscriber, text};

const MESSAGE_ID: &str = "0192f0c1-2a3b-7c4d-8e5f-0123456789ab";

pub(super) const WAYS: &[&str] = &[
    "publish on the name before the dot of a grant",
    "publish where one may read",
    "publish on another channel",
    "publish on a channel that there is not",
    "publish on a name in other capitals",
    "publish on a name that begins alike",
    "publish on the default channel by an empty name",
    "publish a batch on another channel",
    "a message for another channel in a stream of allowed ones",
    "read the name before the dot of a grant",
    "read another channel",
    "read a channel that there is not",
    "read the default channel by an empty name",
    "the pattern of all",
    "a pattern wider than its grant",
    "a pattern that begins with a class",
    "a pattern that begins with any character",
    "a granted name as a pattern",
    "a pattern that begins like a granted name",
    "the beginning of a granted beginning as a pattern",
    "a page token of another channel",
    "a cursor of another channel",
    "a cursor of another channel, to see whether it is there",
    "the names of channels that one may not read",
    "another's page token of the list of channels",
    "another's use of a message_id",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_grants_and_nothing_else() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let (mut names, mut tried) = (Vec::new(), Tried::of(WAYS));
    for more in [&[][..], &["--no-fast-path"]] {
        let args = keys.args(more);
        let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
        let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
        let (mut publishing, mut subscribing) = (publisher.client(), subscriber.client());
        let token = keys.token("alice", &["orders.*"], &["orders.*", "news"]);
        let all = keys.token("root", &["*"], &["*"]);
        for channel in ["orders.eu", "orders.eu.secret", "news", "orders", "other"] {
            publishing.publish(signed(&all, text(channel, "x"))).await.expect("allowed");
        }

        publishing.publish(signed(&token, text("orders.eu", "x"))).await.expect("allowed");
        // Another's use of a message_id is another message.
        let with_id = || PublishRequest { message_id: MESSAGE_ID.to_owned(), ..text("orders.id", "x") };
        let mut repeats = Vec::new();
        for by in [&all, &token, &token, &all] {
            repeats.push(publishing.publish(signed(by, with_id())).await.expect("allowed").into_inner().duplicate);
        }
        let is_second_round = !more.is_empty();
        assert_eq!(repeats, [is_second_round, is_second_round, true, true]);
        // Of channels that there are and that there are not the same is said; the empty one is the default channel.
        let mut texts = Vec::new();
        for (way, channel) in [
            ("publish on the name before the dot of a grant", "orders"),
            ("publish where one may read", "news"),
            ("publish on another channel", "other"),
            ("publish on a channel that there is not", "nowhere"),
            ("publish on a name in other capitals", "Orders.eu"),
            ("publish on a name that begins alike", "orders-eu"),
            ("publish on the default channel by an empty name", ""),
        ] {
            tried.closed(way);
            let status = publishing.publish(signed(&token, text(channel, "x"))).await;
            texts.push(status.as_ref().expect_err("denied").message().replace(&format!("{channel:?}"), ""));
            denied(status, channel);
            let requests = vec![text("", "x")];
            let batch = PublishBatchRequest { channel: channel.to_owned(), requests };
            denied(publishing.publish_batch(signed(&token, batch)).await, channel);
            tried.closed("publish a batch on another channel");
        }
        texts.retain(|text| !text.contains("channel1"));
        texts.dedup();
        assert_eq!(texts.len(), 1, "{texts:?}");
        let requests = ["orders.eu", "other", "orders.eu"]
            .map(|channel| PublishStreamRequest { request: Some(text(channel, "x")) });
        let answers = publishing.publish_stream(signed(&token, tokio_stream::iter(requests))).await.expect("signed in");
        let mut answers = answers.into_inner();
        let mut codes = Vec::new();
        while let Some(PublishStreamResponse { result }) = answers.message().await.expect("no error") {
            codes.push(match result {
                Some(Outcome::Error(error)) => error.code,
                _ => 0,
            });
        }
        assert_eq!(codes, [0, Code::PermissionDenied as i32, 0]);
        tried.closed("a message for another channel in a stream of allowed ones");

        for (way, channel) in [
            ("read the name before the dot of a grant", "orders"),
            ("read another channel", "other"),
            ("read a channel that there is not", "nowhere"),
            ("read the default channel by an empty name", ""),
        ] {
            tried.closed(way);
            let list = ListMessagesRequest { channel: channel.to_owned(), ..ListMessagesRequest::default() };
            denied(subscribing.list_messages(signed(&token, list)).await, channel);
            let follow = StreamMessagesRequest { channel: channel.to_owned(), ..StreamMessagesRequest::default() };
            denied(subscribing.stream_messages(signed(&token, follow)).await, channel);
        }
        for (way, pattern) in [
            ("the pattern of all", "*"),
            ("a pattern wider than its grant", "orders*"),
            ("a pattern that begins with a class", "[o]rders.*"),
            ("a pattern that begins with any character", "?rders.*"),
            ("a granted name as a pattern", "news"),
            ("a pattern that begins like a granted name", "new*"),
            ("the beginning of a granted beginning as a pattern", "o*"),
        ] {
            tried.closed(way);
            let follow = StreamMessagesRequest { pattern: pattern.to_owned(), ..StreamMessagesRequest::default() };
            denied(subscribing.stream_messages(signed(&token, follow)).await, pattern);
        }
        for (channel, pattern) in [("orders.eu", ""), ("news", ""), ("", "orders.*"), ("", "orders.e?")] {
            let (channel, pattern) = (channel.to_owned(), pattern.to_owned());
            let follow = StreamMessagesRequest { channel, pattern, earliest: true, ..StreamMessagesRequest::default() };
            let stream = subscribing.stream_messages(signed(&token, follow)).await.expect("allowed");
            let mut stream = Stream::new(stream.into_inner());
            stream.started().await;
            stream.message().await;
        }
        // Cursors and page tokens of another channel open nothing.
        let first = ListMessagesRequest { channel: "other".to_owned(), page_size: 1, ..ListMessagesRequest::default() };
        publishing.publish(signed(&all, text("other", "y"))).await.expect("allowed");
        let page = subscribing.list_messages(signed(&all, first)).await.expect("allowed").into_inner();
        let forged = ListMessagesRequest {
            channel: "orders.eu".to_owned(),
            page_token: page.next_page_token.clone(),
            ..ListMessagesRequest::default()
        };
        let refused = subscribing.list_messages(signed(&token, forged)).await.expect_err("of another channel");
        assert_eq!(reason(&refused), "INVALID_PAGE_TOKEN");
        tried.closed("a page token of another channel");
        let resume = StreamMessagesRequest {
            channel: "orders.eu".to_owned(),
            after: vec![page.messages[0].cursor.clone()],
            ..StreamMessagesRequest::default()
        };
        let refused = subscribing.stream_messages(signed(&token, resume)).await.expect_err("of another channel");
        assert_eq!(reason(&refused), "INVALID_CURSOR");
        tried.closed("a cursor of another channel");

        // A cursor beside that of a whole stream is compared with what its holder may read, and with nothing else.
        let follow = StreamMessagesRequest { pattern: "orders.*".to_owned(), ..StreamMessagesRequest::default() };
        let stream = subscribing.stream_messages(signed(&token, follow)).await.expect("allowed");
        let whole = Stream::new(stream.into_inner()).started().await;
        let cursor_of = |channel: &str| {
            let names = Names::new("tidings", "").expect("valid");
            cursor::encode(&names.parse(channel).expect("a name"), Position::new(Epoch::random(), 1))
        };
        let mut resumed = Vec::new();
        for (by, channel) in
            [(&token, "other"), (&token, "nowhere"), (&token, "news"), (&all, "other"), (&all, "nowhere")]
        {
            let after = vec![whole.clone(), cursor_of(channel)];
            let resume = StreamMessagesRequest { pattern: "orders.*".to_owned(), after, ..Default::default() };
            let opened = subscribing.stream_messages(signed(by, resume)).await;
            resumed.push((channel, opened.err().map(|status| reason(&status))));
        }
        let foreign = Some("INVALID_CURSOR".to_owned());
        let expected =
            [("other", None), ("nowhere", None), ("news", foreign.clone()), ("other", foreign), ("nowhere", None)];
        assert_eq!(resumed, expected);
        tried.closed("a cursor of another channel, to see whether it is there");

        // What may not be read is not listed, page by page.
        names.clear();
        let mut page_token = String::new();
        loop {
            let list = ListChannelsRequest { page_size: 1, page_token, ..ListChannelsRequest::default() };
            let page: ListChannelsResponse =
                subscribing.list_channels(signed(&token, list)).await.expect("allowed").into_inner();
            names.extend(page.channels.into_iter().map(|channel| channel.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["news", "orders.eu", "orders.eu.secret", "orders.id"]);
        tried.closed("the names of channels that one may not read");
        let nothing = keys.token("bob", &[], &[]);
        let list = ListChannelsRequest::default();
        let page = subscribing.list_channels(signed(&nothing, list)).await.expect("signed in").into_inner();
        assert_eq!(page, ListChannelsResponse::default());
        // A page token holds the last name of its page: another's is one of names that one may not read.
        let first = ListChannelsRequest { page_size: 3, ..ListChannelsRequest::default() };
        let token_of_all = subscribing.list_channels(signed(&all, first)).await.expect("allowed").into_inner();
        let rest = ListChannelsRequest { page_token: token_of_all.next_page_token, ..ListChannelsRequest::default() };
        let page = subscribing.list_channels(signed(&nothing, rest)).await.expect("signed in").into_inner();
        assert_eq!(page, ListChannelsResponse::default());
        tried.closed("another's page token of the list of channels");
        publisher.stop();
        subscriber.stop();
    }
    tried.closed("another's use of a message_id");
    tried.all();
}

//! A cursor names what it covers: a stream that resumes learns of what is gone, even if Redis has forgotten it
//! meanwhile.

use std::time::Duration;

use tidings::{
    channel::Names,
    cursor::{self, Cursor},
    message::Lineage,
    pb::{
        GapReason, ListChannelsRequest, OnGap, PublishRequest, StreamMessagesRequest, stream_messages_response::Event,
    },
};
use tidings_testing::RedisServer;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Publisher, Stream, Subscriber, TEST_TIMEOUT, channel, pattern, reason, text, text_of};

async fn publish(publisher: &Publisher, channel: &str, texts: &[&str]) -> String {
    let mut cursor = String::new();
    for one in texts {
        cursor = publisher.client().publish(text(channel, *one)).await.expect("published").into_inner().cursor;
    }
    cursor
}

/// The position of a stream of a pattern after all that was published.
async fn caught_up(subscriber: &Subscriber, glob: &str) -> String {
    let request = StreamMessagesRequest { earliest: true, ..pattern(glob) };
    let mut stream = subscriber.stream(request).await;
    loop {
        if let Event::CaughtUp(caught_up) = stream.next_event().await {
            return caught_up.cursor;
        }
    }
}

/// The events of a stream that opens, up to `caught_up`: gaps as (channel, first, last), messages as (channel, text).
async fn story(stream: &mut Stream) -> Vec<(String, String)> {
    stream.started().await;
    let mut story = Vec::new();
    loop {
        match stream.next_event().await {
            Event::CaughtUp(_) => return story,
            event => story.push(described(event)),
        }
    }
}

fn described(event: Event) -> (String, String) {
    match event {
        Event::Gap(gap) => {
            assert_eq!(gap.reason(), GapReason::EpochChanged, "{gap:?}");
            (gap.channel, format!("lost {} to {}", gap.first_missing, gap.last_missing))
        }
        Event::Message(message) => (message.channel.clone(), text_of(&message).to_owned()),
        other => panic!("{other:?}"),
    }
}

/// The next gap or message.
async fn next(stream: &mut Stream) -> (String, String) {
    loop {
        match stream.next_event().await {
            Event::CaughtUp(_) => {}
            event => return described(event),
        }
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(channel, said)| ((*channel).to_owned(), (*said).to_owned())).collect()
}

/// A stream that fails at gaps ends at one. Returns its words, and the cursor that resumes after it.
async fn fails(subscriber: &Subscriber, request: StreamMessagesRequest) -> (String, String) {
    let request = StreamMessagesRequest { on_gap: OnGap::Fail.into(), ..request };
    let refused = match subscriber.client().stream_messages(request).await {
        Ok(stream) => Stream::new(stream.into_inner()).end().await,
        Err(refused) => refused,
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "EPOCH_CHANGED"), "{refused:?}");
    let info = refused.get_details_error_info().expect("info");
    (refused.message().to_owned(), info.metadata["cursor"].clone())
}

/// The names that are listed, once they are these.
async fn lists(subscriber: &Subscriber, expected: &[&str]) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let listed = subscriber.client().list_channels(ListChannelsRequest::default()).await.expect("listed");
        let names: Vec<_> = listed.into_inner().channels.into_iter().map(|channel| channel.name).collect();
        if names == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_pattern_reports_a_flush_that_nobody_saw() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    publish(&publisher, "f.one", &["1", "2"]).await;
    publish(&publisher, "f.two", &["1"]).await;
    let whole = caught_up(&subscriber, "f.*").await;
    publisher.stop();
    subscriber.stop();
    redis.command(&["FLUSHALL"]);
    // Nobody publishes any more.
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let request = StreamMessagesRequest { after: vec![whole], ..pattern("f.*") };
    let mut stream = subscriber.stream(request.clone()).await;
    assert_eq!(story(&mut stream).await, pairs(&[("f.one", "lost 3 to 0"), ("f.two", "lost 2 to 0")]));
    fails(&subscriber, request).await;
    subscriber.stop();
}

/// Where several losses are at one position, a stream that fails at gaps ends once, names all, and the next
/// gets past them.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_end_at_several_losses_get_past_all_of_them() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let before = subscriber.stream(channel("two")).await.started().await;
    let sent = publisher.client().publish(text("two", "1")).await.expect("published").into_inner();
    let lost = |began: &str| format!("{began},00000000000000aa,1,2;{began},00000000000000bb,1,3");
    // At a channel's beginning, and where a later epoch begins.
    redis.command(&["HSET", "tidings:{two}:head", "l", &lost(&sent.epoch)]);
    let later = "00000000000000cc";
    let epochs = format!("{},1,0;{later},2,1", sent.epoch);
    for after in [before, sent.cursor] {
        let request = |after| StreamMessagesRequest { after: vec![after], ..channel("two") };
        let (said, after) = fails(&subscriber, request(after)).await;
        assert!(said.contains("1 to 2 and 1 to 3"), "{said}");
        let failing = StreamMessagesRequest { on_gap: OnGap::Fail.into(), ..request(after) };
        let events = story(&mut subscriber.stream(failing).await).await;
        assert!(events.iter().all(|(_, events)| events == "1"), "{events:?}");
        redis.command(&["HSET", "tidings:{two}:head", "e", later, "h", &epochs, "l", &lost(later)]);
    }
    subscriber.stop();
    publisher.stop();
}

/// A stream that has read nothing resumes after so many failovers that the head does not list its epoch any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_read_nothing_lost_nothing_where_its_epoch_is_not_listed_any_more() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let texts: Vec<String> = (1..=18).map(|number| number.to_string()).collect();
    publish(&publisher, "old", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let earliest = StreamMessagesRequest { earliest: true, ..channel("old") };
    let before = subscriber.stream(earliest).await.started().await;
    subscriber.stop();
    let epochs: Vec<String> =
        (3..=18).map(|first| format!("00000000000000{first:02x},{first},{}", first - 1)).collect();
    redis.command(&["HSET", "tidings:{old}:head", "e", "0000000000000012", "h", &epochs.join(";")]);
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let request = StreamMessagesRequest { after: vec![before], ..channel("old") };
    let events = story(&mut subscriber.stream(request).await).await;
    assert_eq!(events.iter().map(|(_, events)| events).collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
    subscriber.stop();
    publisher.stop();
}

/// The same where it was before the first epoch that the head listed then.
#[tokio::test(flavor = "multi_thread")]
async fn nor_where_the_epoch_that_was_the_oldest_listed_is_gone_from_the_list() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let failover = async |number: usize| {
        // An id has each call compare the server with the head.
        let request =
            PublishRequest { message_id: uuid::Uuid::new_v4().to_string(), ..text("old", number.to_string()) };
        publisher.client().publish(request).await.expect("published");
        redis.command(&["HSET", "tidings:{old}:head", "r", "another"]);
    };
    for number in 1..=18 {
        failover(number).await;
    }
    let earliest = StreamMessagesRequest { earliest: true, ..channel("old") };
    let before = subscriber.stream(earliest).await.started().await;
    for number in 19..=22 {
        failover(number).await;
    }
    let request = StreamMessagesRequest { after: vec![before], ..channel("old") };
    let events = story(&mut subscriber.stream(request).await).await;
    let texts: Vec<String> = (1..=22).map(|number| number.to_string()).collect();
    assert_eq!(events.iter().map(|(_, events)| events).collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
    subscriber.stop();
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_registry_hides_nothing_and_is_mended() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    publish(&publisher, "r.one", &["1"]).await;
    publish(&publisher, "r.two", &["1"]).await;
    let whole = caught_up(&subscriber, "r.*").await;
    publish(&publisher, "r.one", &["2"]).await;
    publisher.stop();
    subscriber.stop();
    redis.command(&["DEL", "tidings:channels"]);
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let request = StreamMessagesRequest { after: vec![whole], ..pattern("r.*") };
    let mut stream = subscriber.stream(request.clone()).await;
    assert_eq!(story(&mut stream).await, pairs(&[("r.one", "2")]));
    lists(&subscriber, &["r.one", "r.two"]).await;
    // And where the channels are gone as well.
    redis.command(&["DEL", "tidings:channels", "tidings:{r.one}:head", "tidings:{r.one}:log"]);
    fails(&subscriber, request).await;
    lists(&subscriber, &["r.two"]).await;
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_lost_under_open_streams_is_mended() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    publish(&publisher, "o.one", &["1"]).await;
    publish(&publisher, "o.two", &["1"]).await;
    let mut stream = subscriber.stream(pattern("o.*")).await;
    stream.started().await;
    // The subscriber has seen how many channels there are.
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !redis.command(&["INFO", "commandstats"]).contains("cmdstat_zcard") {
        assert!(Instant::now() < deadline, "nobody counted the channels");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    redis.command(&["DEL", "tidings:channels"]);
    lists(&subscriber, &["o.one", "o.two"]).await;
    publish(&publisher, "o.one", &["2"]).await;
    assert_eq!(next(&mut stream).await, ("o.one".to_owned(), "2".to_owned()));
    publisher.stop();
    subscriber.stop();
}

/// Two messages, a flush, and a third. A stream that was open before the first learns that something was lost: exactly
/// what, where the publisher still knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_before_the_first_message_knows_of_a_flush() {
    for (remembers, name) in [(true, "b.known"), (false, "b.forgotten")] {
        let redis = RedisServer::start();
        let mut publisher = Publisher::start(&redis.url(), &[]).await;
        let subscriber = Subscriber::start(&redis.url(), &[]).await;
        let of_channel = subscriber.stream(channel(name)).await.started().await;
        let of_pattern = subscriber.stream(pattern("b.*")).await.started().await;
        publish(&publisher, name, &["1", "2"]).await;
        redis.command(&["FLUSHALL"]);
        if !remembers {
            publisher.stop();
            publisher = Publisher::start(&redis.url(), &[]).await;
        }
        let resume = |after: &String, request| StreamMessagesRequest { after: vec![after.clone()], ..request };
        let lost = if remembers { "lost 1 to 2" } else { "lost 1 to 0" };
        // Resumed before the third: only a channel's own stream can know that it was there before, unless the publisher
        // does.
        let mut open = vec![subscriber.stream(resume(&of_channel, channel(name))).await];
        if remembers {
            open.push(subscriber.stream(resume(&of_pattern, pattern("b.*"))).await);
        }
        for stream in &mut open {
            assert_eq!(story(stream).await, []);
        }
        publish(&publisher, name, &["3"]).await;
        for stream in &mut open {
            assert_eq!([next(stream).await, next(stream).await][..], pairs(&[(name, lost), (name, "3")]));
        }
        for (cursor, request) in [(&of_channel, channel(name)), (&of_pattern, pattern("b.*"))] {
            let mut stream = subscriber.stream(resume(cursor, request.clone())).await;
            assert_eq!(story(&mut stream).await, pairs(&[(name, lost), (name, "3")]));
            fails(&subscriber, resume(cursor, request)).await;
        }
        // A stream that opens now has lost nothing, and what comes later is no news of the flush.
        let mut new = subscriber.stream(pattern("b.*")).await;
        assert_eq!(story(&mut new).await, []);
        publish(&publisher, "b.later", &["1"]).await;
        assert_eq!(next(&mut new).await, ("b.later".to_owned(), "1".to_owned()));
        publisher.stop();
        subscriber.stop();
    }
}

/// Every cursor that a stream gives out says where its position lies.
#[tokio::test(flavor = "multi_thread")]
async fn cursors_know_where_they_lie() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let names = Names::new("tidings", "").expect("names");
    let lineage = |text: &str| match cursor::decode(text, &names).expect("a cursor") {
        Cursor::Channel(_, mark) => mark.lineage,
        Cursor::Stream(_, stream) => {
            assert!(stream.data_set.is_some() && stream.unnamed.is_empty());
            stream.channels.first().map_or(Lineage::Unknown, |(_, mark)| mark.lineage)
        }
    };
    let first = Lineage::Epoch { first: 1, previous: None };
    let mut live = subscriber.stream(channel("l.one")).await;
    assert!(matches!(lineage(&live.started().await), Lineage::DataSet(_)));
    live.caught_up().await;
    publish(&publisher, "l.one", &["1", "2"]).await;
    for _ in 1..=2 {
        assert_eq!(lineage(&live.message().await.cursor), first, "of what was pushed");
    }
    let mut replayed = subscriber.stream(StreamMessagesRequest { earliest: true, ..channel("l.one") }).await;
    assert_eq!(lineage(&replayed.started().await), first);
    assert_eq!(lineage(&replayed.message().await.cursor), first, "of what was read");
    assert_eq!(lineage(&subscriber.list("l.one").await[0].cursor), first);
    let heartbeat_interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let mut whole = subscriber.stream(StreamMessagesRequest { heartbeat_interval, ..pattern("l.*") }).await;
    assert_eq!(lineage(&whole.started().await), first);
    loop {
        if let Event::Heartbeat(heartbeat) = whole.next().await {
            assert_eq!(lineage(&heartbeat.cursor), first);
            break;
        }
    }
    publisher.stop();
    subscriber.stop();
}

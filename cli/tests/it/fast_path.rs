//! The fast paths and the generated services say the same: the same messages, statuses and details, also through
//! gRPC-Web.

use std::collections::HashMap;

use prost::Message;
use prost_types::Any;
use tidings::pb::{
    OnGap, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse, StreamMessagesRequest, StreamMessagesResponse, publish_request::Payload,
    publish_stream_response::Result as Outcome, stream_messages_response::Event,
};
use tidings_testing::RedisServer;
use tonic::{Code, Status};
use tonic_types::pb::ErrorInfo;
use uuid::Uuid;

use crate::harness::{
    Publisher, Subscriber, channel, pattern, text,
    wire::{GRPC, WEB, Wire, framed},
};
use crate::paths::{BATCH, FOLLOW, PUBLISH, PUBLISH_STREAM};

/// How long a stream is read: it ends by itself where its client waits no longer.
const WHILE: (&str, &str) = ("grpc-timeout", "700m");

fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    framed(0, message.len(), &message).to_vec()
}

/// All that a status says. What its reason names is there in any order.
fn said(status: &Status) -> (Code, String, Vec<Result<ErrorInfo, Any>>) {
    let details = tonic_types::pb::Status::decode(status.details()).expect("details").details.into_iter();
    let details = details.map(|any| match any.type_url.ends_with("ErrorInfo") {
        true => Ok(ErrorInfo::decode(&any.value[..]).expect("a reason")),
        false => Err(any),
    });
    (status.code(), status.message().to_owned(), details.collect())
}

fn decoded<M: Message + Default>(frames: &[Vec<u8>]) -> Vec<M> {
    frames.iter().map(|frame| M::decode(&frame[..]).expect("a message")).collect()
}

/// Without what is another's at each publish.
fn alike(response: PublishResponse, has_id: bool) -> PublishResponse {
    let message_id = if has_id { response.message_id } else { String::new() };
    PublishResponse { message_id, publish_time: None, sequence: 0, cursor: String::new(), ..response }
}

fn requests() -> Vec<PublishRequest> {
    let good = || text("c", "x");
    let payload = |payload| PublishRequest { payload: Some(payload), ..good() };
    vec![
        good(),
        text("", "on the default channel"),
        payload(Payload::Json(r#" {"b": 1.10, "a": "\u00e4"} "#.to_owned())),
        payload(Payload::Data(vec![0, 255, 10].into())),
        PublishRequest { attributes: HashMap::from([("k".into(), "v".into())]), ordering_key: "o".into(), ..good() },
        PublishRequest { message_id: Uuid::from_u128(7).to_string(), ..good() },
        // Published once more.
        PublishRequest { message_id: Uuid::from_u128(7).to_string(), ..text("c", "y") },
        text("a b", "x"),
        payload(Payload::Json("{".to_owned())),
        PublishRequest { payload: None, ..good() },
        PublishRequest { message_id: "no".to_owned(), ..good() },
        PublishRequest { attributes: HashMap::from([("tidings-x".into(), "v".into())]), ..good() },
        PublishRequest { min_replicas: 1, ..good() },
        text("c", "x".repeat(1 << 20)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_are_answered_alike_without_the_fast_paths() {
    let redis = RedisServer::start();
    let fast = Publisher::start(&redis.url(), &[]).await;
    let plain = Publisher::start(&redis.url(), &["--no-fast-path"]).await;
    let wires = [Wire::open(fast.address).await, Wire::open(plain.address).await];
    // The epoch begins with the first publish.
    wires[0].call(PUBLISH, GRPC, &[], frame(&text("c", "first"))).await;
    wires[0].call(PUBLISH, GRPC, &[], frame(&text("", "first"))).await;
    for kind in [GRPC, WEB] {
        for request in requests() {
            let has_id = !request.message_id.is_empty();
            let mut all = Vec::new();
            for wire in &wires {
                let (frames, status) = wire.call(PUBLISH, kind, &[], frame(&request)).await;
                let responses = decoded::<PublishResponse>(&frames).into_iter();
                all.push((responses.map(|response| alike(response, has_id)).collect::<Vec<_>>(), said(&status)));
            }
            // What was published by the one is a repeat for the other.
            if has_id && let [(one, _), (other, _)] = &mut all[..] {
                one.iter_mut().chain(other).for_each(|response| response.duplicate = true);
            }
            assert_eq!(all[0], all[1], "{kind}: {request:?}");
        }
        let good: Vec<PublishRequest> = (0..3).map(|n| text("", n.to_string())).collect();
        for batch in [good.clone(), Vec::new(), vec![text("d", "x")], vec![text("", "x"), text("", "")]] {
            let batch = PublishBatchRequest { channel: "c".to_owned(), requests: batch };
            let mut all = Vec::new();
            for wire in &wires {
                let (frames, status) = wire.call(BATCH, kind, &[], frame(&batch)).await;
                let responses = decoded::<PublishBatchResponse>(&frames).into_iter().flat_map(|batch| batch.responses);
                all.push((responses.map(|response| alike(response, false)).collect::<Vec<_>>(), said(&status)));
            }
            assert_eq!(all[0], all[1], "{kind}: {batch:?}");
        }
        let mut body = Vec::new();
        for request in requests() {
            body.extend(frame(&PublishStreamRequest { request: Some(request) }));
        }
        body.extend(frame(&PublishStreamRequest { request: None }));
        // A body that ends too early, and one that is none.
        for (body, answers) in
            [(body.clone(), requests().len() + 1), ([&body[..], &[0, 0]].concat(), 15), (vec![0; 3], 0)]
        {
            let mut all = Vec::new();
            for wire in &wires {
                let (frames, status) = wire.call(PUBLISH_STREAM, kind, &[], body.clone()).await;
                let answers = decoded::<PublishStreamResponse>(&frames).into_iter().map(|answer| match answer.result {
                    Some(Outcome::Error(error)) => Err((error.code, error.message)),
                    Some(Outcome::Response(response)) => {
                        Ok(PublishResponse { duplicate: false, ..alike(response, false) })
                    }
                    None => Err((0, String::new())),
                });
                all.push((answers.collect::<Vec<_>>(), said(&status)));
            }
            assert_eq!(all[0], all[1], "{kind}");
            assert_eq!(all[0].0.len(), answers, "{kind}: {:?}", all[0].1);
        }
    }
    fast.stop();
    plain.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_bring_the_same_without_the_fast_path() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &["--history-max-messages=600"]).await;
    let mut client = publisher.client();
    let mut cursors = Vec::new();
    for name in ["a.1", "a.2"] {
        let numbered =
            |n: usize| PublishRequest { attributes: HashMap::from([("n".into(), n.to_string())]), ..text(name, "m") };
        for hundred in 0..9 {
            let requests = (0..100).map(|n| numbered(100 * hundred + n)).collect();
            let batch = PublishBatchRequest { channel: name.to_owned(), requests };
            let receipts = client.publish_batch(batch).await.expect("published").into_inner().responses;
            cursors.extend(receipts.into_iter().map(|receipt| receipt.cursor));
        }
        for request in requests().into_iter().filter(|request| request.channel == "c" && request.min_replicas == 0) {
            let _ = client.publish(PublishRequest { channel: name.to_owned(), ..request }).await;
        }
    }
    let fast = Subscriber::start(&redis.url(), &["--history-max-messages=600"]).await;
    let plain = Subscriber::start(&redis.url(), &["--history-max-messages=600", "--no-fast-path"]).await;
    let wires = [Wire::open(fast.address).await, Wire::open(plain.address).await];
    let after = |cursor: &str, on_gap: OnGap| StreamMessagesRequest {
        after: vec![cursor.to_owned()],
        on_gap: on_gap.into(),
        ..channel("a.1")
    };
    for (what, request, least) in [
        ("all of a channel", StreamMessagesRequest { earliest: true, ..channel("a.1") }, 500),
        ("all of a pattern", StreamMessagesRequest { earliest: true, ..pattern("a.*") }, 1_000),
        ("the last", StreamMessagesRequest { last: 5, ..pattern("a.*") }, 12),
        ("what is new", channel("a.2"), 2),
        ("a gap", after(&cursors[0], OnGap::Report), 500),
        ("a gap that ends it", after(&cursors[0], OnGap::Fail), 1),
        ("after a cursor", after(&cursors[880], OnGap::Fail), 20),
        ("another channel's cursor", after(&cursors[1_000], OnGap::Report), 0),
        ("two starts", StreamMessagesRequest { earliest: true, last: 1, ..channel("a.1") }, 0),
        ("no channel's name", channel("a b"), 0),
    ] {
        for kind in [GRPC, WEB] {
            let mut all = Vec::new();
            for wire in &wires {
                let (frames, status) = wire.call(FOLLOW, kind, &[WHILE], frame(&request)).await;
                all.push((decoded::<StreamMessagesResponse>(&frames), said(&status)));
            }
            assert_eq!(all[0].1, all[1].1, "{what}, {kind}");
            assert_eq!(all[0].0, all[1].0, "{what}, {kind}");
            assert!(all[0].0.len() >= least, "{what}, {kind}: {} events, {:?}", all[0].0.len(), all[0].1);
            assert_eq!(all[0].0.is_empty(), least == 0, "{what}, {kind}");
            if let Some(first) = all[0].0.first() {
                assert!(matches!(first.event, Some(Event::Started(_))), "{what}, {kind}");
            }
        }
    }
    publisher.stop();
    fast.stop();
    plain.stop();
}

use tidings::{
    broker::Receipt,
    channel::{ChannelName, Names},
    cursor,
    message::{Epoch, Position},
    pb::{PublishBatchResponse, PublishStreamResponse, publish_stream_response::Result as Outcome},
    status,
};
use tonic::{Code, Status};
use uuid::Uuid;

use tidings_transport::encoding::{Encoded, Encoder};

use super::{ReceiptOfOne, Receipts, Respond, Responder};

fn channel(name: &str) -> ChannelName {
    Names::new("tidings", "").and_then(|names| names.parse(name)).expect("valid")
}

fn receipt(epoch: u64, sequence: i64) -> Receipt {
    let epoch = Epoch::from_u64(epoch).expect("not 0");
    Receipt { id: Uuid::now_v7(), epoch, sequence, time_ms: 0, duplicate: false, replicas: 0 }
}

fn one(channel: &ChannelName, receipts: &[Receipt]) -> Result<ReceiptOfOne, Status> {
    ReceiptOfOne::new(Responder::new(channel.clone()), receipts.to_vec())
}

/// Receipts whose numbers take from one byte to as many as there can be.
fn receipts() -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for (i, sequence) in [0, 1, 127, 128, 1 << 14, 1 << 53, i64::MAX, -1].into_iter().enumerate() {
        for time_ms in [0, 1, 999, 1_000, 1_700_000_000_123, -1, i64::MIN, i64::MAX] {
            for replicas in [0, 1, 200, u32::MAX] {
                let epoch = Epoch::from_u64(if i % 3 == 0 { u64::MAX } else { 7 }).expect("not 0");
                let id = Uuid::now_v7();
                receipts.push(Receipt { id, epoch, sequence, time_ms, duplicate: replicas == 1, replicas });
            }
        }
    }
    receipts
}

fn encoded(encode: impl FnOnce(&mut Encoder)) -> Encoded {
    let mut encoder = Encoder::default();
    encode(&mut encoder);
    encoder.take()
}

fn by_prost(message: &impl prost::Message) -> Encoded {
    encoded(|encoder| encoder.message(message))
}

#[test]
fn an_answer_has_the_epoch_and_the_cursor_of_its_own_receipt() {
    let channel = channel("orders");
    let mut responder = Responder::new(channel.clone());
    // A repeat gets the receipt that it had in an earlier epoch.
    for (epoch, sequence) in [(1, 7), (1, 8), (2, 9), (1, 3)] {
        let receipt = receipt(epoch, sequence);
        let answer = responder.respond(&receipt);
        assert_eq!((answer.message_id, answer.sequence), (receipt.id.to_string(), sequence));
        assert_eq!(answer.epoch, format!("{epoch:016x}"));
        assert_eq!(answer.cursor, cursor::encode(&channel, Position::new(receipt.epoch, sequence)));
    }
}

#[test]
fn what_is_encoded_is_what_prost_would_write() {
    for name in ["c", "orders.eu", &"n".repeat(127), &"n".repeat(128), &"n".repeat(255)] {
        let channel = channel(name);
        let mut responses = Vec::new();
        for receipt in receipts() {
            let response = Responder::new(channel.clone()).respond(&receipt);
            let answer = one(&channel, &[receipt]).expect("a receipt");
            assert_eq!(encoded(|encoder| answer.encode(encoder)), by_prost(&response), "{response:?}");
            let mut streamed = Encoder::default();
            assert_eq!(Responder::new(channel.clone()).encode_next(&mut streamed, Some(receipt)), Code::Ok);
            let result = Some(Outcome::Response(response.clone()));
            assert_eq!(streamed.take(), by_prost(&PublishStreamResponse { result }));
            responses.push(response);
        }
        let answer = Receipts::new(Responder::new(channel.clone()), receipts_of(&responses));
        assert_eq!(encoded(|encoder| answer.encode(encoder)), by_prost(&PublishBatchResponse { responses }));
    }
}

/// The receipts that these responses were made of.
fn receipts_of(responses: &[tidings::pb::PublishResponse]) -> Vec<Receipt> {
    let ids = responses.iter().map(|response| response.message_id.parse().expect("an id"));
    receipts().into_iter().zip(ids).map(|(receipt, id)| Receipt { id, ..receipt }).collect()
}

#[test]
fn a_broker_without_a_receipt_is_a_bug() {
    let answer = one(&channel("c"), &[]).map(Respond::into_message);
    assert_eq!(answer.expect_err("no receipt").code(), Code::Internal);
    let mut streamed = Encoder::default();
    assert_eq!(Responder::new(channel("c")).encode_next(&mut streamed, None), Code::Internal);
    let error = Outcome::Error(status::to_publish_error(&status::internal()));
    assert_eq!(streamed.take(), by_prost(&PublishStreamResponse { result: Some(error) }));
}

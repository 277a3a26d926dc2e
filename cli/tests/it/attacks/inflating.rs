//! Requests that would become many times as large as they are: of a million small parts, or compressed.

use prost::{Message as _, bytes::BufMut as _};
use tonic::Code;

use super::{Memory, Target};
use crate::harness::{
    channel, text,
    wire::{Wire, framed},
};
use crate::paths::{BATCH, CHANNELS, FOLLOW, LIST, PUBLISH, PUBLISH_STREAM};

/// A field of protobuf that has a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.put_slice(bytes);
    field
}

/// A message that is good but for so many attributes, each of another name: 600,000 are 6 MB, which decoded took some
/// hundred.
fn attributes(count: usize) -> Vec<u8> {
    let attributes = (0..count).flat_map(|n| field(5, &field(1, format!("{n:06}").as_bytes())));
    text("", "x").encode_to_vec().into_iter().chain(attributes).collect()
}

/// Sends requests in which something is repeated too often to each method that takes such.
async fn repeat(target: &Target, attributes: &[u8], cursors: usize) {
    let (publisher, subscriber) = (target.publisher.address, target.subscriber.address);
    for (address, path, message, reason) in [
        (publisher, PUBLISH, attributes.to_vec(), "TOO_MANY_ATTRIBUTES"),
        (publisher, BATCH, field(2, attributes), "TOO_MANY_ATTRIBUTES"),
        (publisher, PUBLISH_STREAM, field(1, attributes), "TOO_MANY_ATTRIBUTES"),
        (
            subscriber,
            FOLLOW,
            [channel("c").encode_to_vec(), field(6, b"").repeat(cursors)].concat(),
            "TOO_MANY_CURSORS",
        ),
    ] {
        let body = framed(0, message.len(), &message);
        let answers = Wire::open(address).await.on_all_paths(path, &[], &body).await;
        for (way, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, (Code::ResourceExhausted, reason.to_owned()), "{path}, way {way}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_repeats_is_refused_on_every_way_before_it_is_decoded() {
    let target = Target::alone(&[]).await;
    let memories = [&target.publisher.process, &target.subscriber.process].map(Memory::watch);
    repeat(&target, &attributes(600_000), 1_000_000).await;
    for memory in memories {
        memory.is_bounded("what repeats");
    }
    // Fewer at a time: programs that are not optimised count the others for a tenth of a second.
    let some = attributes(100_000);
    target.withstands(async || repeat(&target, &some, 100_000).await).await;
    target.stop();
}

/// A gigabyte of zeros by gzip (RFC 1951, 1952), but for its checksum: a zero, and then 258 bytes again and again, for
/// which 13 bits are enough.
fn bomb() -> Vec<u8> {
    const COPIES: usize = (1 << 30) / 258;
    let mut bits = Vec::new();
    // The last block, of fixed codes, and the zero. Eight copies are thirteen bytes, wherever they begin.
    for code in ["1", "10", "00110000"].into_iter().chain(["11000101", "00000"].into_iter().cycle().take(4 * 8)) {
        bits.extend(code.bytes().map(|bit| bit - b'0'));
    }
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect();
    let (begin, copies) = bytes[..15].split_at(2);
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff][..], begin, &copies.repeat(COPIES / 8)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_is_refused_on_every_way_and_not_expanded() {
    let target = Target::start(&[]).await;
    let bomb = bomb();
    assert!(bomb.len() < 7 << 20, "{}", bomb.len());
    let body = framed(1, bomb.len(), &bomb);
    for (service, process, paths) in [
        (target.publisher.address, &target.publisher.process, [PUBLISH, BATCH, PUBLISH_STREAM]),
        (target.subscriber.address, &target.subscriber.process, [LIST, CHANNELS, FOLLOW]),
    ] {
        let memory = Memory::watch(process);
        for path in paths {
            for headers in [&[("grpc-encoding", "gzip")][..], &[("grpc-encoding", "identity")], &[]] {
                let wire = Wire::open(service).await;
                for (way, answer) in wire.on_all_paths(path, headers, &body).await.into_iter().enumerate() {
                    let refused = (Code::Unimplemented, "COMPRESSED".to_owned());
                    assert_eq!(answer, refused, "{path} {headers:?}, way {way}");
                }
            }
        }
        memory.is_bounded("what is compressed");
    }
    target.stop();
}

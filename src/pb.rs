//! The contract, generated from `proto/tidings/v1` by the root `build.rs`, and its descriptors for reflection.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

tonic::include_proto!("tidings.v1");

/// Descriptors of the contract and of all it imports, as a `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidings.bin"));

/// Milliseconds since 1970 as a protobuf timestamp.
pub fn timestamp(time_ms: i64) -> prost_types::Timestamp {
    let nanos = (time_ms.rem_euclid(1000) * 1_000_000) as i32;
    prost_types::Timestamp { seconds: time_ms.div_euclid(1000), nanos }
}

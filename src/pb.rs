//! The contract, generated from `proto/tidings/v1` by the root `build.rs`, and its descriptors for reflection.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

tonic::include_proto!("tidings.v1");

/// Descriptors of the contract and of all it imports, as a `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidings.bin"));

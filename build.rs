//! Compiles the contract in `proto/` once, for the whole workspace, without `protoc`: `protox` reads the files and
//! `tonic-prost-build` writes the Rust code. The descriptor set goes beside it, for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        [
            "tidings/v1/publisher_service.proto",
            "tidings/v1/subscriber_service.proto",
            "tidings/v1/subscription_service.proto",
        ],
        ["proto"],
    )?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("tidings.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // It counts what repeats before prost makes messages of it.
        .codec_path("crate::codec::Counting")
        // In the order of their keys, so that equal settings are equal bytes.
        .btree_map(".tidings.v1.Subscription.labels")
        .bytes(".tidings.v1.Message.data")
        .bytes(".tidings.v1.PublishRequest.data")
        .compile_fds(descriptors)?;
    Ok(())
}

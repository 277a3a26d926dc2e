//! gRPC calls whose bytes the caller reads and writes itself, on tonic's connections.

use anyhow::{Context as _, bail};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use tonic::{body::Body, transport::Channel};
use tower::ServiceExt as _;

use crate::frames::{Frames, Seen};

/// A message as it stands in a gRPC body.
pub(crate) fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a message under 4 GiB"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// Calls a method with one message; answers the response's body, once its headers are there.
pub(crate) async fn call(channel: &Channel, path: &str, message: Bytes) -> anyhow::Result<Body> {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(message)))?;
    let response = channel.clone().oneshot(request).await?;
    match response.headers().get("grpc-status") {
        None => Ok(response.into_body()),
        Some(status) => bail!("{path}: status {status:?}, {:?}", response.headers().get("grpc-message")),
    }
}

/// Calls a method with one message and waits for its answer, which is not looked at.
pub(crate) async fn unary(channel: &Channel, path: &str, message: Bytes) -> anyhow::Result<()> {
    let collected = call(channel, path, message).await?.collect().await?;
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).context("no status")?.clone();
    anyhow::ensure!(status == "0", "{path}: status {status:?}");
    Ok(())
}

/// A stream of messages that is being read.
pub(crate) struct Stream {
    body: Body,
    frames: Frames,
}

impl Stream {
    /// Opens one; when it is there, everything published from now on will arrive.
    pub(crate) async fn open(channel: &Channel, request: Bytes) -> anyhow::Result<Self> {
        let body = call(channel, "/tidings.v1.SubscriberService/StreamMessages", request).await?;
        Ok(Self { body, frames: Frames::default() })
    }

    /// Waits for more, and tells each message in it.
    pub(crate) async fn more(&mut self, see: impl FnMut(Seen<'_>)) -> anyhow::Result<()> {
        let frame = self.body.frame().await.context("the stream ended")??;
        match frame.into_data() {
            Ok(data) => self.frames.take(&data, see),
            Err(trailers) => bail!("the stream ended: {:?}", trailers.into_trailers()),
        }
        Ok(())
    }
}

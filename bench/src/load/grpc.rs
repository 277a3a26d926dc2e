//! gRPC calls whose bytes the caller reads and writes itself, on HTTP/2 connections of its own.

use anyhow::{Context as _, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use prost::Message;
use tidings::pb::StreamMessagesRequest;
use tokio::task::JoinHandle;

use super::{
    Reader,
    frames::{Frames, Order},
    target::Target,
};

/// What a client lets the server send ahead: tonic's defaults.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 5 << 20;

pub(crate) const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
pub(crate) const PUBLISH_BATCH: &str = "/tidings.v1.PublisherService/PublishBatch";
pub(crate) const PUBLISH_STREAM: &str = "/tidings.v1.PublisherService/PublishStream";
pub(super) const STREAM_MESSAGES: &str = "/tidings.v1.SubscriberService/StreamMessages";
pub(crate) const CREATE_SUBSCRIPTION: &str = "/tidings.v1.SubscriptionService/CreateSubscription";
pub(super) const CONSUME_MESSAGES: &str = "/tidings.v1.SubscriptionService/ConsumeMessages";

/// A message as it is in a gRPC body.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a message under 4 GiB"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// One connection. Dropping it closes it.
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    target: Target,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: impl Into<Target>) -> anyhow::Result<Self> {
        let target = target.into();
        let socket = target.connect().await?;
        let (send, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(socket)
            .await?;
        let driver = tokio::task::spawn_local(async move {
            // What went wrong is reported to every call on it.
            let _ = connection.await;
        });
        Ok(Self { send, driver, target })
    }

    /// Where a method is called.
    pub(crate) fn method(&self, path: &'static str) -> anyhow::Result<Uri> {
        let (scheme, authority) = (self.target.scheme(), self.target.address.to_string());
        Ok(Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?)
    }

    /// Begins a call, with the target's token if it has one.
    pub(crate) async fn begin(&self, method: &Uri) -> anyhow::Result<(ResponseFuture, SendStream<Bytes>)> {
        self.begin_as(method, self.target.token.as_ref()).await
    }

    async fn begin_as(
        &self,
        method: &Uri,
        token: Option<&HeaderValue>,
    ) -> anyhow::Result<(ResponseFuture, SendStream<Bytes>)> {
        let mut request = Request::post(method.clone()).body(())?;
        request.headers_mut().reserve(3);
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        Ok(self.send.clone().ready().await?.send_request(request, false)?)
    }

    /// Calls with one message, and answers the framed response.
    pub(crate) async fn unary(&self, method: &Uri, message: Bytes) -> anyhow::Result<Bytes> {
        self.unary_as(method, message, self.target.token.as_ref()).await
    }

    /// The same with any token.
    pub(crate) async fn unary_as(
        &self,
        method: &Uri,
        message: Bytes,
        token: Option<&HeaderValue>,
    ) -> anyhow::Result<Bytes> {
        let (response, mut send) = self.begin_as(method, token).await?;
        send.send_data(message, true)?;
        let mut body = accepted(response).await?;
        let first = body.data().await.context("no answer")??;
        body.flow_control().release_capacity(first.len())?;
        ensure!(body.data().await.is_none(), "more than one answer");
        let trailers = body.trailers().await?.context("no trailers")?;
        status(&trailers)?;
        Ok(first)
    }

    /// Opens a stream on a channel. When it is there, everything published from now on will arrive.
    pub(crate) async fn follow(&self, request: &StreamMessagesRequest, order: Order) -> anyhow::Result<Stream> {
        let (response, mut send) = self.begin(&self.method(STREAM_MESSAGES)?).await?;
        send.send_data(framed(request), true)?;
        Ok(Stream { body: accepted(response).await?, frames: Frames::new(order) })
    }
}

/// Waits for the headers of a response.
pub(crate) async fn accepted(response: ResponseFuture) -> anyhow::Result<RecvStream> {
    let response = response.await?;
    ensure!(response.status() == 200, "HTTP {}", response.status());
    if response.headers().contains_key("grpc-status") {
        status(response.headers())?;
    }
    Ok(response.into_body())
}

fn status(headers: &HeaderMap) -> anyhow::Result<()> {
    match headers.get("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        status => bail!("status {status:?}: {:?}", headers.get("grpc-message")),
    }
}

/// A stream of messages that is being read.
pub(crate) struct Stream {
    body: RecvStream,
    frames: Frames,
}

impl Reader for Stream {
    async fn more(&mut self) -> anyhow::Result<u64> {
        let data = self.body.data().await.context("the stream ended")??;
        self.body.flow_control().release_capacity(data.len())?;
        self.frames.take(&data)?;
        Ok(self.frames.seen)
    }

    fn shuffled(&mut self) -> Option<Vec<u64>> {
        (self.frames.order() == Order::Shuffled).then(|| std::mem::take(&mut self.frames.counters))
    }
}

impl Stream {
    /// How many messages have come in all.
    pub(crate) fn seen(&self) -> u64 {
        self.frames.seen
    }

    /// Waits until the stream is at the live end.
    pub(crate) async fn catch_up(&mut self) -> anyhow::Result<u64> {
        while !self.frames.caught_up {
            self.more().await?;
        }
        Ok(self.frames.seen)
    }
}

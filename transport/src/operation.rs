//! What a service is made of: operations, one for each RPC. An operation takes a [`CallContext`] and a request message
//! and answers with a result, a stream of events, or an error. It knows no header, no trailer and no HTTP; the
//! transport makes gRPC of what it answers.
//!
//! ```text
//! grpc, grpc-web → front → dispatch → methods (the table) → operation
//!                                   ↘ generated service   ↗
//! ```
//!
//! The functions here are how a generated service calls its operations: [`unary`], [`server_streaming`],
//! [`bidirectional`].

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use prost::Message;
use tidings::codec::Counted;
use tonic::{Request, Response, Status, Streaming};

use super::{
    CallContext,
    deadline::Deadline,
    encoding::{Encoded, Encoder},
    grpc,
};

pub(crate) mod any;

/// An RPC with one message each way.
pub trait Unary: Clone + Send + Sync + 'static {
    /// What a client sends.
    type Request: Message + Default + Counted + 'static;
    /// What it gets.
    type Response: Respond;

    /// Begins the call. What has an order, such as the messages of a channel, takes its position before this returns.
    fn call(
        &self,
        context: CallContext,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, Status>> + Send + 'static;
}

/// The result of an operation: a protobuf message, or what can be encoded faster than by way of one.
pub trait Respond: Send + 'static {
    /// Its type in the contract.
    type Message: Message + 'static;

    /// The message.
    fn into_message(self) -> Self::Message;

    /// Encodes the same message.
    fn encode(self, encoder: &mut Encoder)
    where
        Self: Sized,
    {
        encoder.message(&self.into_message());
    }
}

impl<M: Message + 'static> Respond for M {
    type Message = M;

    fn into_message(self) -> M {
        self
    }
}

/// An RPC that answers one message with a stream of events.
pub trait ServerStreaming: Clone + Send + Sync + 'static {
    /// What a client sends.
    type Request: Message + Default + Counted + 'static;
    /// What it gets, again and again.
    type Response: Message + Default + Send + 'static;
    /// Responses, encoded, several at a time: streams share the bytes. It ends by itself when its connection drains;
    /// the transport ends it at its deadline.
    type Responses: Stream<Item = Result<Encoded, Status>> + Send + Unpin + 'static;

    /// Begins the stream. When this returns, everything from here on is in it.
    fn open(
        &self,
        context: CallContext,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Responses, Status>> + Send + 'static;
}

/// An RPC in which both sides send as many messages as they like.
pub trait Bidirectional: Clone + Send + Sync + 'static {
    /// What a client sends.
    type Request: Message + Default + Counted + Send + 'static;
    /// What it gets.
    type Response: Message + Default + Send + 'static;
    /// As with [`ServerStreaming`].
    type Responses: Stream<Item = Result<Encoded, Status>> + Send + Unpin + 'static;

    /// Begins to answer.
    fn open(&self, context: CallContext, requests: Requests<Self::Request>) -> Self::Responses;
}

/// The requests of a call, in their order.
pub type Requests<M> = BoxStream<'static, Result<Received<M>, Status>>;

/// One of several requests.
#[derive(Debug)]
pub struct Received<M> {
    /// The request.
    pub message: M,
    /// How many bytes it took on the wire.
    pub bytes: usize,
}

/// Answers a generated service's call.
///
/// # Errors
///
/// Those of the operation.
pub async fn unary<O: Unary>(
    operation: &O,
    request: Request<O::Request>,
) -> Result<Response<<O::Response as Respond>::Message>, Status> {
    let context = CallContext::of(request.extensions())?;
    let response = operation.call(context, request.into_inner()).await?;
    Ok(Response::new(response.into_message()))
}

/// Answers a generated service's call.
///
/// # Errors
///
/// Those of the operation.
pub async fn server_streaming<O: ServerStreaming>(
    operation: &O,
    request: Request<O::Request>,
) -> Result<Response<Decoded<O::Response>>, Status> {
    let context = CallContext::of(request.extensions())?;
    let responses = operation.open(context.clone(), request.into_inner()).await?;
    Ok(Response::new(Decoded::new(&context, responses)))
}

/// Answers a generated service's call.
///
/// # Errors
///
/// INTERNAL where the request came past the transport.
pub fn bidirectional<O: Bidirectional>(
    operation: &O,
    request: Request<Streaming<O::Request>>,
) -> Result<Response<Decoded<O::Response>>, Status> {
    let context = CallContext::of(request.extensions())?;
    let requests = request.into_inner().map(|request| {
        let message = request.map_err(grpc::refine)?;
        Ok(Received { bytes: message.encoded_len(), message })
    });
    let responses = operation.open(context.clone(), requests.boxed());
    Ok(Response::new(Decoded::new(&context, responses)))
}

/// A generated service's stream: each message is decoded when its turn comes, from the bytes that all streams share.
pub struct Decoded<M> {
    /// None once it is over.
    responses: Option<BoxStream<'static, Result<Encoded, Status>>>,
    rest: Encoded,
    lifetime: Deadline,
    messages: PhantomData<fn() -> M>,
}

impl<M> Decoded<M> {
    fn new(context: &CallContext, responses: impl Stream<Item = Result<Encoded, Status>> + Send + 'static) -> Self {
        let (rest, lifetime) = (Encoded::default(), context.lifetime());
        Self { responses: Some(responses.boxed()), rest, lifetime, messages: PhantomData }
    }
}

impl<M: Message + Default> Stream for Decoded<M> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<M, Status>>> {
        let this = self.get_mut();
        let Some(responses) = &mut this.responses else { return Poll::Ready(None) };
        let end = loop {
            if let Poll::Ready(status) = this.lifetime.poll_passed(context) {
                break Some(Err(status));
            }
            if let Some(message) = this.rest.take_first() {
                return Poll::Ready(Some(Ok(message)));
            }
            match ready!(responses.poll_next_unpin(context)) {
                Some(Ok(encoded)) => this.rest = encoded,
                Some(Err(status)) => break Some(Err(status)),
                None => break None,
            }
        };
        (this.responses, this.rest) = (None, Encoded::default());
        Poll::Ready(end)
    }
}

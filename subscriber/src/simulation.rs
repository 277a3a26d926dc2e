//! The service without a server, for `simulation/` and nobody else: it is built with `--cfg simulation`.

use futures_util::Stream;
use tidings::{
    broker::Shared,
    pb::{ListMessagesRequest, ListMessagesResponse, StreamMessagesRequest},
    status::Call,
};
use tidings_transport::{
    CallContext,
    encoding::Encoded,
    operation::{ServerStreaming as _, Unary as _},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{Assembled, Settings};

/// A subscriber that takes its calls in memory.
pub struct Subscriber {
    assembled: Assembled,
    server: CancellationToken,
}

impl Subscriber {
    /// Starts it. It ends with the runtime.
    pub fn start(broker: Shared, settings: Settings) -> Self {
        Self { assembled: Assembled::new(broker, settings), server: CancellationToken::new() }
    }

    fn context(&self) -> CallContext {
        CallContext::detached(Call::Read, &self.server)
    }

    /// Answers a list.
    pub async fn list(&self, request: ListMessagesRequest) -> Result<ListMessagesResponse, Status> {
        self.assembled.service.list_messages.call(self.context(), request).await
    }

    /// Opens a stream.
    pub async fn stream(
        &self,
        request: StreamMessagesRequest,
    ) -> Result<impl Stream<Item = Result<Encoded, Status>> + Unpin + use<>, Status> {
        self.assembled.service.stream_messages.open(self.context(), request).await
    }

    /// Ends its tasks.
    pub async fn close(self) {
        let Assembled { hub, adopting, .. } = self.assembled;
        if let Some(adopting) = adopting {
            adopting.finish(tidings::limits::CLOSE_TIMEOUT).await;
        }
        hub.close().await;
    }
}

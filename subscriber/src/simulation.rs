//! The service without a server, for `simulation/` and nobody else: it is built with `--cfg simulation`.

use std::convert::Infallible;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tidings::broker::Shared;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower_service::Service as _;

use crate::{Assembled, Settings};

/// A subscriber that takes its calls in memory.
pub struct Subscriber(Assembled);

impl Subscriber {
    /// Starts it. It ends with the runtime.
    pub fn start(broker: Shared, settings: Settings) -> Self {
        Self(Assembled::new(broker, settings, CancellationToken::new()))
    }

    /// Makes a call as HTTP/2 would bring it.
    pub fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        self.0.service.clone().call(request)
    }

    /// Ends its tasks.
    pub async fn close(self) {
        let Assembled { hub, adopting, .. } = self.0;
        if let Some(adopting) = adopting {
            adopting.finish(tidings::limits::CLOSE_TIMEOUT).await;
        }
        hub.close().await;
    }
}

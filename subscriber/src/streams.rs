//! Opening streams, whichever way their request came.

use std::sync::Arc;

use http::Extensions;
use tidings::{channel::Names, pb::StreamMessagesRequest, status::Call};
use tidings_transport::DrainSignal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    request,
    stream::{Session, Source, StreamBody},
};

/// What opening a stream needs.
pub(crate) struct Streams {
    pub(crate) source: Source,
    pub(crate) names: Arc<Names>,
    pub(crate) stop: CancellationToken,
}

impl Streams {
    /// When the streams of a call's connection must end.
    pub(crate) fn drain(&self, call: &Extensions) -> DrainSignal {
        DrainSignal::of(call, &self.stop)
    }

    /// Opens a stream, which ends by the deadline and when its connection drains. When this returns, its subscription is confirmed.
    pub(crate) async fn open(
        &self,
        request: &StreamMessagesRequest,
        deadline: Option<Instant>,
        drain: DrainSignal,
    ) -> Result<StreamBody, Status> {
        if drain.has_begun() {
            return Err(drain.status(Call::Read));
        }
        let plan = request::plan(request, &self.names)?;
        let session = tokio::select! {
            opened = Session::open(&self.source, &plan) => opened?,
            () = drain.begun() => return Err(drain.status(Call::Read)),
        };
        Ok(StreamBody::new(session, plan.heartbeat, deadline, drain))
    }
}

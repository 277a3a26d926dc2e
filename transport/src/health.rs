//! `grpc.health.v1`, answered from the broker's state and the shutdown token at the moment of asking: there is no
//! second truth to keep up to date. Watchers are notified of the end and released, so that they hold up no drain.

use std::{future::poll_fn, pin::Pin};

use futures_util::{Stream, stream};
use tidings::status::Call;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

use super::{CallContext, Readiness};

/// The health of these services, and of the server as a whole.
pub(super) fn service(
    names: &[&'static str],
    readiness: Readiness,
    shutdown: CancellationToken,
) -> HealthServer<impl Health> {
    HealthServer::new(Reporter { names: names.to_vec(), readiness, shutdown })
}

struct Reporter {
    names: Vec<&'static str>,
    readiness: Readiness,
    shutdown: CancellationToken,
}

impl Reporter {
    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.names.contains(&service)
    }
}

fn serving(readiness: &Readiness, shutdown: &CancellationToken) -> ServingStatus {
    match readiness.now() {
        Ok(()) if !shutdown.is_cancelled() => ServingStatus::Serving,
        _ => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Reporter {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if self.knows(&request.get_ref().service) {
            Ok(Response::new(answer(serving(&self.readiness, &self.shutdown))))
        } else {
            // As the protocol of health checks wants it, in its own words.
            Err(Status::not_found("unknown service"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.knows(&request.get_ref().service);
        let context = CallContext::of(request.extensions())?;
        let (readiness, shutdown) = (self.readiness.clone(), self.shutdown.clone());
        let watcher = Watcher { known, sent: None, readiness, shutdown, context, over: false };
        Ok(Response::new(Box::pin(stream::unfold(watcher, Watcher::next))))
    }
}

struct Watcher {
    known: bool,
    sent: Option<ServingStatus>,
    readiness: Readiness,
    shutdown: CancellationToken,
    context: CallContext,
    over: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        if self.over {
            return None;
        }
        loop {
            let drain = self.context.drain().has_begun();
            self.readiness.seen();
            let now = match self.known {
                true => serving(&self.readiness, &self.shutdown),
                false => ServingStatus::ServiceUnknown,
            };
            if self.sent != Some(now) {
                self.sent = Some(now);
                return Some((Ok(answer(now)), self));
            }
            if drain {
                self.over = true;
                // A watcher that got the last status needs no other; a connection that ends by its age is
                // another's.
                let aged = !self.shutdown.is_cancelled();
                return aged.then(|| (Err(self.context.drain().status(Call::Read)), self));
            }
            let mut timer = self.context.lifetime();
            tokio::select! {
                () = self.context.drain().begun() => {}
                status = poll_fn(|context| timer.poll_passed(context)) => {
                    self.over = true;
                    return Some((Err(status), self));
                }
                () = self.readiness.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tidings::broker::State;
    use tokio::sync::watch;

    use super::*;
    use tidings_auth::Caller;

    use crate::{DrainSignal, backlog::Backlog, context::Connection};

    fn request(service: &str, context: CallContext) -> Request<HealthCheckRequest> {
        let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
        request.extensions_mut().insert(context);
        request
    }

    #[tokio::test]
    async fn watchers_see_every_change_and_the_end() {
        let (broker, state) = watch::channel(State::Up);
        let shutdown = CancellationToken::new();
        let reporter =
            Reporter { names: vec!["a.B"], readiness: Readiness::new(state, None), shutdown: shutdown.clone() };
        let request = |service: &str| request(service, CallContext::detached(Call::Read, &shutdown));

        let mut watched = reporter.watch(request("a.B")).await.expect("a stream").into_inner();
        let mut next = async || watched.next().await.map(|item| item.expect("no error").status());
        assert_eq!(next().await, Some(ServingStatus::Serving));
        broker.send_replace(State::Down("away".into()));
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        broker.send_replace(State::Up);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        shutdown.cancel();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn watchers_on_a_connection_that_is_too_old_are_asked_to_reconnect() {
        let (_broker, state) = watch::channel(State::Up);
        let reporter =
            Reporter { names: vec!["a.B"], readiness: Readiness::new(state, None), shutdown: CancellationToken::new() };
        let drain = DrainSignal::new(&reporter.shutdown);
        let context = CallContext::new(
            Connection::new(drain.clone(), None, None, None, Backlog::of(None)),
            Caller::nobody(),
            Call::Read,
            None,
        );
        let mut watched = reporter.watch(request("a.B", context)).await.expect("a stream").into_inner();
        assert_eq!(watched.next().await.map(|item| item.expect("no error").status()), Some(ServingStatus::Serving));
        drain.begin();
        let end = watched.next().await.expect("an item").expect_err("the end");
        assert_eq!(end.code(), tonic::Code::Unavailable, "{end:?}");
        assert!(watched.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_wait_no_longer_than_they_said() {
        let (_broker, state) = watch::channel(State::Up);
        let reporter =
            Reporter { names: vec!["a.B"], readiness: Readiness::new(state, None), shutdown: CancellationToken::new() };
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
        let connection = Connection::new(DrainSignal::new(&reporter.shutdown), None, None, None, Backlog::of(None));
        let context = CallContext::new(connection, Caller::nobody(), Call::Read, Some(until));
        let watched = reporter.watch(request("a.B", context)).await.expect("a stream").into_inner();
        let all: Vec<_> = watched.collect().await;
        let codes: Vec<_> = all.into_iter().map(|item| item.map_err(|status| status.code())).collect();
        assert!(matches!(&codes[..], [Ok(_), Err(tonic::Code::DeadlineExceeded)]), "{codes:?}");
    }

    #[tokio::test]
    async fn unknown_services_are_reported_as_such() {
        let (_broker, state) = watch::channel(State::Up);
        let reporter =
            Reporter { names: vec!["a.B"], readiness: Readiness::new(state, None), shutdown: CancellationToken::new() };
        let request = || request("c.D", CallContext::detached(Call::Read, &reporter.shutdown));
        assert_eq!(reporter.check(request()).await.expect_err("unknown").code(), tonic::Code::NotFound);
        let mut watched = reporter.watch(request()).await.expect("a stream").into_inner();
        let first = watched.next().await.expect("an item").expect("no error");
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    }
}

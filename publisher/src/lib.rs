//! The publisher: takes messages over gRPC and hands them to a broker, which numbers, keeps and pushes them.
//!
//! A call goes through two steps: [`request`] checks what a client sent and makes drafts of it, and [`operation`] publishes these.
//! [`answer`] says what a receipt says. [`service`] is the tonic service over them; [`fast_path`] and [`stream`] do the same for most calls,
//! past the generated code. What a message means and how a broker keeps it is the root crate's business; nothing here knows Redis.

use tidings::{broker, channel::Names, limits::DECODE_BYTES, pb::publisher_service_server::PublisherServiceServer};
use tidings_transport::{Options, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod answer;
pub mod config;
mod fast_path;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod operation;
mod request;
mod service;
mod stream;

use fast_path::{Single, Together};
use operation::Publisher;
use service::Service;
use stream::RawStreams;

/// What a publisher needs to know beside its broker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which channels there may be.
    pub names: Names,
    /// How to serve.
    pub server: Options,
}

/// Serves on the listener until the token is cancelled and the calls that were open are over. The broker stays open.
pub async fn serve(
    listener: TcpListener,
    broker: broker::Shared,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), tidings_transport::Error> {
    let state = broker.state();
    let publisher = Publisher::new(broker, settings.names, shutdown.clone());
    let generated = PublisherServiceServer::new(Service(publisher.clone())).max_decoding_message_size(DECODE_BYTES);
    let services = Services::new(state)
        .with_fast_path(Single::PATH, Single::new(publisher.clone()))
        .with_fast_path(Together::PATH, Together::new(publisher.clone()));
    let services = match settings.server.fast_path {
        true => services.with(RawStreams::new(generated, publisher)),
        false => services.with(generated),
    };
    tidings_transport::serve(listener, services, settings.server, shutdown).await
}

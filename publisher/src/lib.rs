//! The publisher: takes messages over gRPC and hands them to a broker, which numbers, keeps and pushes them.
//!
//! An [`operation`] goes through two steps: [`request`] checks what a client sent and makes drafts of it, and the
//! [`publisher`] hands these to the broker. [`answer`] says what a receipt says. [`service`] is the tonic service over
//! them, and the table of its methods. What a message means and how a broker keeps it is the root crate's business;
//! nothing here knows Redis or HTTP.

use tidings::{broker, channel::Names};
use tidings_transport::{Options, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod answer;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod new_channels;
mod operation;
mod publisher;
mod request;
mod service;
mod stream;

use publisher::Publisher;
use service::Service;

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
    let service = Service::new(Publisher::new(broker, settings.names, shutdown.clone()));
    let services = Services::new(state).with_methods(service.methods()).with(service.into_server());
    tidings_transport::serve(listener, services, settings.server, shutdown).await
}

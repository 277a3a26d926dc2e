//! The subscriber: listens to channels and serves `ListMessages`, `StreamMessages` and `ListChannels`.
//!
//! A stream's way: [`raw`] reads the request, [`request`] checks it, [`stream`] opens a session on a [`feed`] of the
//! [`hub`], catches up from the broker's log (through [`pages`], which all share) and follows. What the hub hears, and what one
//! stream has read of the log, is framed once, by [`frames`], for all. What plain programs publish on captured channels is
//! taken into the log by [`capture`].

mod capture;
mod feed;
mod frames;
mod hub;
mod list;
mod pages;
mod raw;
mod request;
mod service;
mod stream;
mod streams;

pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "measured")]
pub mod measured;
#[cfg(simulation)]
pub mod simulation;

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::{Shared, Topic},
    channel::Names,
    limits,
    pb::subscriber_service_server::SubscriberServiceServer,
};
use tidings_transport::{Options, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use capture::{Adopting, Capture};
pub use capture::{InvalidCapture, parse as parse_capture};

/// What the service needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which channel names are accepted.
    pub names: Names,
    /// How long an answer of the broker is waited for.
    pub broker_timeout: Duration,
    /// How long the broker keeps messages.
    pub max_age: Duration,
    /// The channels and patterns on which what plain programs publish is taken into the log.
    pub capture: Vec<Topic>,
    /// How to serve.
    pub server: Options,
}

/// Serves until the token is cancelled and all calls are over. The broker is left open: it is the caller's.
pub async fn serve(
    listener: TcpListener,
    broker: Shared,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), tidings_transport::Error> {
    let (state, options) = (broker.live_state(), settings.server.clone());
    let Assembled { service, hub, adopting } = Assembled::new(broker, settings, shutdown.clone());
    let services = match options.fast_path {
        true => Services::new(state).with(service),
        false => Services::new(state).with(service.into_generated()),
    };
    let finish_timeout = limits::CAPTURE_FINISH_TIMEOUT.min(options.shutdown_timeout);
    // Another replica takes over at once, not only when the last call here has ended.
    let handing_over = async {
        shutdown.cancelled().await;
        if let Some(adopting) = adopting {
            adopting.finish(finish_timeout).await;
        }
    };
    let serving = tidings_transport::serve(listener, services, options, shutdown.clone());
    let (served, ()) = tokio::join!(serving, handing_over);
    hub.close().await;
    served
}

/// The service, and the tasks behind it, before anything is listened to.
struct Assembled {
    service: raw::RawStreams,
    hub: Arc<hub::Hub>,
    adopting: Option<Adopting>,
}

impl Assembled {
    fn new(broker: Shared, settings: Settings, shutdown: CancellationToken) -> Self {
        let names = Arc::new(settings.names);
        let pages = pages::Pages::new(Arc::clone(&broker));
        let adopter = broker.adopter();
        // Without an adopter there are no plain programs.
        let capture = Capture::new(if adopter.is_some() { settings.capture } else { Vec::new() });
        let hub = hub::Hub::start(
            &broker,
            Arc::clone(&pages),
            Arc::clone(&names),
            Arc::clone(&capture),
            settings.broker_timeout,
        );
        let heads: Arc<dyn capture::HeadCheck> = Arc::<hub::Hub>::clone(&hub);
        let adopting = adopter.map(|adopter| Adopting::start(capture, heads, Arc::clone(&broker), adopter));
        let streams = Arc::new(streams::Streams {
            source: stream::Source {
                broker: Arc::clone(&broker),
                hub: Arc::clone(&hub),
                pages,
                lifetime_ms: stream::lifetime_ms(settings.max_age),
            },
            names: Arc::clone(&names),
            stop: shutdown,
        });
        let service = service::Subscriber { broker, hub: Arc::clone(&hub), names, streams: Arc::clone(&streams) };
        let service = SubscriberServiceServer::new(service).max_decoding_message_size(limits::DECODE_BYTES);
        Self { service: raw::RawStreams::new(service, streams), hub, adopting }
    }
}

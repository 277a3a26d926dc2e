//! The subscriber: listens to channels and serves `ListMessages`, `StreamMessages` and `ListChannels`.
//!
//! [`service`] is the tonic service over the operations, and the table of its methods. An [`operation`] checks the
//! request ([`request`]) and opens a session ([`stream`]) on a [`feed`] of the [`hub`]; the session catches up from the
//! broker's log, through [`pages`] that all share, and follows the feed. What the hub receives, and what one stream has
//! read of the log, is encoded once for all, as a [`chunk`]. What plain programs publish on captured channels is added
//! to the log by [`capture`].

mod capture;
mod channels;
mod chunk;
mod event;
mod feed;
mod hub;
mod list;
mod operation;
mod pages;
mod request;
mod service;
mod stream;
mod work;

pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(simulation)]
pub mod simulation;

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::{Shared, Topic},
    channel::Names,
    limits,
    subscription::SubscriptionName,
};
use tidings_transport::{Options, Services};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use capture::{Adopting, Capture};
pub use capture::{InvalidCapture, parse as parse_capture};
use service::Service;
pub use work::HoldLimits;

/// What the service needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which channel names are accepted.
    pub names: Names,
    /// How long an answer of the broker is waited for.
    pub broker_timeout: Duration,
    /// How long the broker keeps messages.
    pub max_age: Duration,
    /// Whether the broker keeps any history, from which subscriptions deliver.
    pub keeps_history: bool,
    /// How many bytes of logs subscriptions may hold.
    pub hold_limits: HoldLimits,
    /// Subscriptions of which metrics tell by name.
    pub watched: Vec<SubscriptionName>,
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
    let (state, options, watched) = (broker.live_state(), settings.server.clone(), settings.watched.clone());
    let Assembled { service, work, desk, hub, adopting } = Assembled::new(broker, settings);
    let services = Services::new(state)
        .with_methods(service.methods())
        .with(service.into_server())
        .with_methods(work.methods())
        .with(work.into_server());
    desk.start(work::expire(Arc::clone(&desk)));
    desk.start(work::watch(Arc::clone(&desk), watched));
    desk.start(work::share(Arc::clone(&desk)));
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
    // No call is left.
    desk.close().await;
    hub.close().await;
    served
}

/// The service, and its tasks, before anything is listened to.
struct Assembled {
    service: Service,
    work: work::Service,
    desk: Arc<work::Desk>,
    hub: Arc<hub::Hub>,
    adopting: Option<Adopting>,
}

impl Assembled {
    fn new(broker: Shared, settings: Settings) -> Self {
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
        let source = stream::Source {
            broker: Arc::clone(&broker),
            hub: Arc::clone(&hub),
            pages,
            lifetime_ms: stream::lifetime_ms(settings.max_age),
            wide: Arc::new(Semaphore::new(limits::WIDE_OPENINGS)),
        };
        let desk = work::Desk::new(work::Given {
            source: source.clone(),
            names: Arc::clone(&names),
            holds: Arc::new(work::Holds::new(settings.hold_limits)),
            keeps_history: settings.keeps_history,
        });
        let work = work::Service::new(Arc::clone(&desk));
        let service = Service::new(Arc::new(operation::Subscriber { broker, hub: Arc::clone(&hub), names, source }));
        Self { service, work, desk, hub, adopting }
    }
}

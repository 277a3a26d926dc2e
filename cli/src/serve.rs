//! `tidings serve`: both services in one process, on the embedded broker or on a Redis.

use std::net::SocketAddr;

use clap::Args;
use tidings::{
    broker::{Shared, Topic, closed_after},
    channel::Names,
    metrics::Part,
    subscription::SubscriptionName,
};
use tidings_runtime::{
    Role,
    config::{Choice, Common, Logs, listen, listen_address},
    healthcheck::through_loopback,
    telemetry,
};
use tidings_subscriber::config::{Capture, Subscriptions};
use tidings_transport::{Options, descriptors};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{error::Error, output::Out, render};

/// Run publisher and subscriber in one process (the default)
///
/// Without --redis-url they share an embedded broker: messages live in the memory of this process and are gone when it
/// ends.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    capture: Capture,
    #[command(flatten)]
    subscriptions: Subscriptions,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    logs: Logs,
}

/// Where the two services listen.
#[derive(Debug, Clone, Args)]
pub(crate) struct Listen {
    /// Where the publisher listens
    #[arg(long = "publisher-listen", env = "TIDINGS_PUBLISHER_LISTEN", value_name = "ADDRESS",
        default_value = "127.0.0.1:3000", value_parser = listen_address)]
    pub(crate) publisher: SocketAddr,
    /// Where the subscriber listens
    #[arg(long = "subscriber-listen", env = "TIDINGS_SUBSCRIBER_LISTEN", value_name = "ADDRESS",
        default_value = "127.0.0.1:3001", value_parser = listen_address)]
    pub(crate) subscriber: SocketAddr,
}

impl Serve {
    /// Serves until `stop` is cancelled and both services have drained. Wrong flags are reported, and
    /// both ports are bound, before anything is printed. `program` is how this one was called.
    pub(crate) async fn run(self, program: &str, out: &mut Out, stop: CancellationToken) -> Result<(), Error> {
        telemetry::init(&self.logs.filter, self.logs.format).map_err(Error::serve)?;
        descriptors::raise(2);
        let names = self.common.names().map_err(Error::serve)?;
        let capture = self.capture.topics(&names).map_err(Error::serve)?;
        let watched = self.subscriptions.watched(&names).map_err(Error::serve)?;
        let broker = self.common.choose_broker(None, Role::Both).map_err(Error::serve)?;
        let options = self.common.open().map_err(Error::serve)?;
        let exposed = self.common.may_be_exposed();
        let publisher = listen(self.listen.publisher, "--publisher-listen", exposed).await.map_err(Error::serve)?;
        let subscriber = listen(self.listen.subscriber, "--subscriber-listen", exposed).await.map_err(Error::serve)?;
        let mut parts = vec![Part::Publisher, Part::Subscriber];
        parts.extend(matches!(broker, Choice::Redis(_)).then_some(Part::Redis));
        let admin = self.common.bind_admin(&parts).await.map_err(Error::serve)?;
        let broker = broker.start();
        let admin = admin.map(|server| server.open(broker.clone(), options.auth.as_ref(), stop.clone()));
        // With our output closed, clients still want to be served.
        let _ = self.announce(&broker, &names, [&publisher, &subscriber], program, out);
        let serving = self.serve(&broker, (names, capture, watched), options, [publisher, subscriber], stop.clone());
        let served = closed_after(&broker, &stop, self.common.shutdown_timeout, serving).await;
        if let Some(admin) = admin {
            admin.stop().await;
        }
        served
    }

    /// Runs both until both have ended; when one fails, the other is asked to stop.
    async fn serve(
        &self,
        broker: &Shared,
        (names, capture, watched): (Names, Vec<Topic>, Vec<SubscriptionName>),
        server: Options,
        [publisher, subscriber]: [TcpListener; 2],
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let options = |other: &TcpListener| Options { elsewhere: other.local_addr().ok(), ..server.clone() };
        let for_publisher = tidings_publisher::Settings { names: names.clone(), server: options(&subscriber) };
        let for_subscriber = tidings_subscriber::Settings {
            names,
            broker_timeout: self.common.redis_timeout,
            max_age: self.common.history.max_age,
            keeps_history: self.common.history.max_messages > 0,
            hold_limits: self.subscriptions.hold_limits(),
            watched,
            capture,
            server: options(&publisher),
        };
        let mut services = JoinSet::new();
        services.spawn(tidings_publisher::serve(publisher, broker.clone(), for_publisher, stop.clone()));
        services.spawn(tidings_subscriber::serve(subscriber, broker.clone(), for_subscriber, stop.clone()));
        let mut result = Ok(());
        while let Some(ended) = services.join_next().await {
            stop.cancel();
            let ended = ended.map_err(Error::serve).and_then(|served| served.map_err(Error::serve));
            result = result.and(ended);
        }
        result
    }

    fn announce(
        &self,
        broker: &Shared,
        names: &Names,
        [publisher, subscriber]: [&TcpListener; 2],
        program: &str,
        out: &mut Out,
    ) -> std::io::Result<()> {
        let (publisher, subscriber) = (publisher.local_addr()?, subscriber.local_addr()?);
        let heading = out.palette().heading;
        let broker = match self.common.redis_url {
            Some(_) => broker.describe(),
            None => "the embedded broker".to_owned(),
        };
        let fate = match self.common.redis_url {
            Some(_) => "",
            None => ": messages live in this process and are gone when it ends (--redis-url keeps them in a Redis)",
        };
        out.line(format_args!("{heading}Tidings on {broker}{heading:#}{fate}"))?;
        out.line(format_args!("  publisher   {publisher}"))?;
        out.line(format_args!("  subscriber  {subscriber}"))?;
        let channel = names.default_channel().map_or("channel1", |channel| channel.as_str());
        let (publisher, subscriber) = (through_loopback(publisher), through_loopback(subscriber));
        let program = shell_quoted(program);
        let name = match channel.starts_with('-') {
            true => format!("-- {}", shell_quoted(channel)),
            false => shell_quoted(channel),
        };
        out.line("\nFollow a channel, and publish on it from another terminal:")?;
        out.line(format_args!("  {program} tail --subscriber {subscriber} {name}"))?;
        out.line(format_args!("  {program} publish --publisher {publisher} {name} hello"))?;
        let name = render::to_json(&channel);
        let stream = shell_quoted(&format!("{{\"channel\":{name}}}"));
        let publish = shell_quoted(&format!("{{\"channel\":{name},\"text\":\"hello\"}}"));
        out.line("The same with grpcurl, as any gRPC client would:")?;
        out.line(format_args!(
            "  grpcurl -plaintext -d {stream} {subscriber} tidings.v1.SubscriberService/StreamMessages"
        ))?;
        out.line(format_args!("  grpcurl -plaintext -d {publish} {publisher} tidings.v1.PublisherService/Publish"))?;
        out.line("Or with curl, as anything that speaks HTTP can:")?;
        let url = format!("http://{publisher}/tidings.v1.PublisherService/Publish");
        out.line(format_args!("  curl -H 'content-type: application/json' -d {publish} {url}\n"))?;
        out.flush()
    }
}

/// A text as one word for a shell, which has no quotes where it needs none.
fn shell_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_copy_survive_the_shell() {
        assert_eq!(shell_quoted(r#"{"channel":"it's"}"#), r#"'{"channel":"it'\''s"}'"#);
        assert_eq!(
            (shell_quoted("orders.eu"), shell_quoted("a b"), shell_quoted("")),
            ("orders.eu".into(), "'a b'".into(), "''".into())
        );
    }
}

//! The probe of the real path: published by the command connection, so at the primary, and expected on the live one.
//!
//! A session can be up and deliver nothing: half-dead in between, or at a node that is the primary no more. Only a
//! message that came back shows that the next one will. This module knows when a session has failed, not what
//! becomes of it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tidings::message::Epoch;
use tokio::{sync::watch, time::Instant};

use super::answer_timeout::Wait;
use crate::{
    connection::{Connection, Published},
    keys::Keys,
    readiness::Probed,
};

/// The probe of one session.
pub(super) struct Probe {
    channel: String,
    connection: Arc<Connection>,
    probed: watch::Sender<Probed>,
    state: State,
    /// A probe has come back at least once.
    has_come: bool,
    number: u64,
    under_way: Option<UnderWay>,
    publishing: Option<BoxFuture<'static, Published>>,
}

enum State {
    /// The subscription is not confirmed yet.
    Asked,
    /// From now on probes must arrive.
    Ready,
    /// The user may not probe: a session that answers has to do.
    Off,
}

/// A probe that was not received yet.
struct UnderWay {
    number: u64,
    /// Since Redis said that it took it.
    published: Option<Wait>,
}

impl Probe {
    pub(super) fn new(keys: &Keys, connection: Arc<Connection>, probed: watch::Sender<Probed>) -> Self {
        // A name of its own for each session, so that no other session's probe is taken for its own.
        let channel = keys.probe(&Epoch::random().to_string());
        Self {
            channel,
            connection,
            probed,
            state: State::Asked,
            has_come: false,
            number: 0,
            under_way: None,
            publishing: None,
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// The subscription is confirmed.
    pub(super) fn confirmed(&mut self) {
        self.state = State::Ready;
        self.send();
    }

    /// The server has answered, though not by way of a message.
    pub(super) fn answered(&mut self) {
        if matches!(self.state, State::Off) {
            self.came();
        }
    }

    fn came(&mut self) {
        self.has_come = true;
        self.probed.send_replace(Some(Instant::now()));
    }

    /// Whether a probe has come back on this session.
    pub(super) fn has_come(&self) -> bool {
        self.has_come
    }

    /// The user may not use the channel: the session continues without.
    pub(super) fn refused(&mut self, reason: &str) {
        self.state = State::Off;
        self.under_way = None;
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            tracing::warn!(
                channel = self.channel,
                reason,
                "message delivery can't be probed: give the Redis user the channels that begin with the key prefix"
            );
        });
    }

    /// Sends the next probe, unless one is under way.
    pub(super) fn send(&mut self) {
        if !matches!(self.state, State::Ready) || self.under_way.is_some() || self.publishing.is_some() {
            return;
        }
        self.number += 1;
        self.under_way = Some(UnderWay { number: self.number, published: None });
        let (connection, channel, number) = (Arc::clone(&self.connection), self.channel.clone(), self.number);
        self.publishing = Some(Box::pin(async move { connection.publish_probe(&channel, number).await }));
    }

    /// Waits until the publishing half is done; for ever when none is under way.
    pub(super) async fn published(&mut self) -> Published {
        let Some(publishing) = &mut self.publishing else { return std::future::pending().await };
        let published = publishing.await;
        self.publishing = None;
        published
    }

    /// Notes what became of the publishing half. The push may have come before.
    pub(super) fn note(&mut self, published: Published) {
        match published {
            Published::Sent => {
                if let Some(under_way) = &mut self.under_way {
                    under_way.published = Some(Wait::begin());
                }
            }
            Published::Away => self.under_way = None,
            Published::Refused(reason) => self.refused(&reason),
        }
    }

    /// See [`Wait::excuse`].
    pub(super) fn excuse(&mut self, while_nobody_read: Duration, had_messages: bool) {
        if let Some(published) = self.under_way.as_mut().and_then(|under_way| under_way.published.as_mut()) {
            published.excuse(while_nobody_read, had_messages);
        }
    }

    /// A push on the probe's channel.
    pub(super) fn received(&mut self, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<u64>().ok());
        if number.is_some() && self.under_way.as_ref().map(|under_way| under_way.number) == number {
            self.under_way = None;
            self.came();
        }
    }

    /// Whether a probe that Redis took has not come within this time.
    pub(super) fn is_lost(&self, answer_timeout: Duration) -> bool {
        let published = self.under_way.as_ref().and_then(|under_way| under_way.published.as_ref());
        published.is_some_and(|published| published.is_over(answer_timeout))
    }
}

//! The end of a subscription: when all is calm one consumer acknowledges all that comes, and then nothing is left.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use fastrand::Rng;
use redis::aio::MultiplexedConnection;
use tidings::pb::{
    ConsumeMessagesRequest, StartConsuming, SubscriptionState, consume_messages_request::Request,
    consume_messages_response::Response,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::Streaming;

use super::{
    fate::Intent,
    manager,
    site::{Site, settlement},
    story::{Answer, Deed, Ending, Letter},
};
use crate::publish::connect;

/// How long what is left may take: leases of those who died end, and delays pass.
const REST: Duration = Duration::from_secs(20);
/// How often it is looked whether it is done.
const PERIOD: Duration = Duration::from_millis(100);
/// Keys of what must be gone when nothing is left.
const GONE: [(&str, &str); 8] = [
    ("sub-out", "HLEN"),
    ("sub-wait", "ZCARD"),
    ("sub-order", "ZCARD"),
    ("sub-tries", "HLEN"),
    ("sub-kept", "HLEN"),
    ("sub-outbox", "ZCARD"),
    ("sub-keys", "HLEN"),
    ("sub-parked", "ZCARD"),
];

/// Has all be done that is left, and notes how the subscription ends.
pub(super) async fn drain(site: Site, mut rng: Rng, channel: String, letters: String, name: String) {
    let deadline = Instant::now() + REST;
    // A loss may have taken it when nobody looked.
    site.create(&mut rng).await;
    let slot = site.any(&mut rng);
    let Some(before) = state(&site, slot).await else {
        return site.board.trouble(format!("{name} can't be had when all is calm"));
    };
    let began = site.board.now();
    let port = site.board.primary.load(Ordering::SeqCst);
    let mut redis = connect(port).await.expect("Redis is there");
    let (requests, sent) = mpsc::unbounded_channel();
    let start = StartConsuming { name: name.clone(), max_outstanding_messages: 200, ..StartConsuming::default() };
    let _open = requests.send(ConsumeMessagesRequest { request: Some(Request::Start(start)) });
    let opened = site.consume(slot, sent).await;
    let Ok((responses, instance)) = opened else {
        return site.board.trouble(format!("{name} can't be consumed when all is calm: {opened:?}"));
    };
    let session = site.notes.opened(instance, false);
    let mut drainer = Drainer { site, session, requests, responses, asked: VecDeque::new() };
    loop {
        if let Err(text) = drainer.drain(PERIOD).await {
            return drainer.site.board.trouble(format!("{name} ends when all is calm: {text}"));
        }
        let site = &drainer.site;
        let Some(state) = state(site, slot).await else { continue };
        let kept = kept(&mut redis, &channel, &name).await;
        let is_done = state.backlog_count == 0 && drainer.asked.is_empty() && kept.is_empty();
        if !is_done && Instant::now() < deadline {
            continue;
        }
        let listed = site.dead_letters(slot).await.unwrap_or_default();
        let letters_there: Vec<Letter> = listed.iter().filter_map(manager::read).collect();
        if letters_there.len() != listed.len() {
            site.board.trouble(format!("{name} has dead letters that make no sense: {listed:?}"));
        }
        site.notes.seen(manager::copies(&mut redis, &letters).await.unwrap_or_default());
        site.notes.end(Ending {
            began,
            backlog_before: before.backlog_count,
            dead_before: before.dead_letter_count,
            lost_before: before.lost_count,
            backlog: state.backlog_count,
            outstanding: state.outstanding_count,
            waiting: state.waiting_count,
            dead: state.dead_letter_count,
            lost: state.lost_count,
            letters: letters_there,
            kept,
        });
        return site.notes.closed(session);
    }
}

async fn state(site: &Site, slot: usize) -> Option<SubscriptionState> {
    for _ in 0..20 {
        if let Ok(subscription) = site.get(slot).await {
            return subscription.state;
        }
        sleep(PERIOD).await;
    }
    None
}

/// What Redis keeps of a subscription that has nothing to do.
async fn kept(redis: &mut MultiplexedConnection, channel: &str, name: &str) -> Vec<(String, i64)> {
    let mut kept = Vec::new();
    for (kind, size) in GONE {
        let key = format!("tidings:{{{channel}}}:{kind}:{name}");
        let size: i64 = redis::cmd(size).arg(&key).query_async(redis).await.expect("Redis answers");
        if size > 0 {
            kept.push((key, size));
        }
    }
    kept
}

/// A consumer that does all at once.
struct Drainer {
    site: Site,
    session: usize,
    requests: mpsc::UnboundedSender<ConsumeMessagesRequest>,
    responses: Streaming<tidings::pb::ConsumeMessagesResponse>,
    asked: VecDeque<(Vec<usize>, Vec<Intent>)>,
}

impl Drainer {
    /// Acknowledges what comes until nothing comes for a moment.
    async fn drain(&mut self, quiet: Duration) -> Result<(), String> {
        while let Ok(next) = timeout(quiet, self.responses.message()).await {
            match next.map(|next| next.and_then(|next| next.response)) {
                Ok(Some(Response::Received(received))) => {
                    let ack_deadline = self.site.ack_deadline();
                    let delivered = received
                        .messages
                        .iter()
                        .filter_map(|received| self.site.notes.delivered(self.session, received, ack_deadline));
                    let intents = delivered.map(|delivery| Intent {
                        ack_id: delivery.ack_id,
                        deed: Deed::Acknowledge,
                        due: Instant::now(),
                        is_elsewhere: false,
                    });
                    let intents = intents.collect();
                    self.ask(intents);
                }
                Ok(Some(Response::Settled(settled))) => {
                    let Some((asks, intents)) = self.asked.pop_front() else {
                        return Err(format!("{settled:?} was not asked for"));
                    };
                    let answers = self.site.notes.read_settled(&intents, false, &settled);
                    self.site.notes.answered(&asks, &answers);
                    let unknown = intents.into_iter().zip(answers).filter(|(_, answer)| *answer == Answer::Unknown);
                    let unknown: Vec<_> = unknown.map(|(intent, _)| intent).collect();
                    if !unknown.is_empty() {
                        self.ask(unknown);
                    }
                }
                Ok(Some(Response::Lost(lost))) => self.site.notes.lost(&[lost]),
                Ok(Some(Response::Started(_))) => self.site.notes.begun(self.session),
                Ok(Some(Response::Heartbeat(_))) => {}
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(())
    }

    fn ask(&mut self, intents: Vec<Intent>) {
        let asks = self.site.notes.asked(&intents);
        let request = Request::Settlement(settlement(&intents, false));
        let _open = self.requests.send(ConsumeMessagesRequest { request: Some(request) });
        self.asked.push_back((asks, intents));
    }
}

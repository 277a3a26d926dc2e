//! A consumer: it streams or pulls, now at this replica and now at that, stalls, and leaves without a word.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use fastrand::Rng;
use tidings::pb::{
    ConsumeMessagesRequest, ReceivedMessage, StartConsuming, consume_messages_request::Request,
    consume_messages_response::Response,
};
use tidings_testing::duration;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    fate::{Intent, fate},
    site::{Failed, Site, settlement},
    story::{Answer, Deed},
};
use crate::board::Phase;

/// How long a stream stays whose server asks for its end.
const DRAINING: Duration = Duration::from_millis(500);

/// A client of one subscription.
pub(super) struct Consumer {
    site: Site,
    rng: Rng,
    /// What is settled by calls.
    calls: JoinSet<()>,
}

/// What a stream has to do yet.
struct Stream {
    session: usize,
    requests: mpsc::UnboundedSender<ConsumeMessagesRequest>,
    ack_deadline: Duration,
    intents: BTreeMap<(Instant, usize), Intent>,
    count: usize,
    /// What was asked on it, in its order: the numbers of the asks, and whether nonsense is among it.
    asked: VecDeque<(Vec<usize>, Vec<Intent>, bool)>,
    end: Instant,
}

impl Consumer {
    pub(super) fn new(site: Site, rng: Rng) -> Self {
        Self { site, rng, calls: JoinSet::new() }
    }

    /// Consumes until the faults are over, and until it knows what became of all that it asked.
    pub(super) async fn run(mut self) {
        while self.site.board.is(Phase::Wild) {
            let done = if self.rng.u8(..3) == 0 { self.pull().await } else { self.stream().await };
            if done == Err(Failed::Missing) {
                self.site.create(&mut self.rng).await;
            }
            if done.is_err() || self.rng.bool() {
                sleep(Duration::from_millis(self.rng.u64(10..200))).await;
            }
            while self.calls.try_join_next().is_some() {}
        }
        while let Some(done) = self.calls.join_next().await {
            done.expect("a call that does not panic");
        }
    }

    /// Its own ack deadline, if it asks for one.
    fn ack_deadline(&mut self) -> Option<Duration> {
        self.rng.bool().then(|| Duration::from_millis(self.rng.u64(1_000..4_000)))
    }

    async fn pull(&mut self) -> Result<(), Failed> {
        let slot = self.site.any(&mut self.rng);
        let instance = self.site.board.subscribers[slot].instance();
        let ack_deadline = self.ack_deadline();
        let wait = Duration::from_millis(self.rng.u64(..1_500));
        let pulled = self.site.pull(slot, self.rng.i32(1..40), wait, ack_deadline).await?;
        let session = self.site.notes.opened(instance, true);
        self.site.notes.lost(&pulled.lost);
        let ack_deadline = ack_deadline.unwrap_or(self.site.ack_deadline());
        for received in &pulled.messages {
            let intents = self.take(session, received, ack_deadline);
            self.elsewhere(intents.unwrap_or_default());
        }
        Ok(())
    }

    /// Takes a delivery, and decides what is to become of it.
    fn take(&mut self, session: usize, received: &ReceivedMessage, ack_deadline: Duration) -> Option<Vec<Intent>> {
        let delivery = self.site.notes.delivered(session, received, ack_deadline)?;
        Some(fate(&mut self.rng, &delivery, ack_deadline))
    }

    /// Settles by calls, each when it is due.
    fn elsewhere(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            let (site, rng) = (self.site.clone(), self.rng.fork());
            self.calls.spawn(settle(site, rng, intent));
        }
    }

    async fn stream(&mut self) -> Result<(), Failed> {
        let slot = self.site.any(&mut self.rng);
        let ack_deadline = self.ack_deadline();
        let (requests, sent) = mpsc::unbounded_channel();
        let start = StartConsuming {
            name: self.site.name(),
            max_outstanding_messages: [4, 20, 60][self.rng.usize(..3)],
            ack_deadline: ack_deadline.and_then(duration),
            heartbeat_interval: self.rng.bool().then_some(Duration::from_millis(300)).and_then(duration),
            ..StartConsuming::default()
        };
        let _open = requests.send(ConsumeMessagesRequest { request: Some(Request::Start(start)) });
        let (mut responses, instance) = self.site.consume(slot, sent).await?;
        let life = [400, 3_000, 10_000][self.rng.usize(..3)];
        let mut stream = Stream {
            session: self.site.notes.opened(instance, false),
            requests,
            ack_deadline: ack_deadline.unwrap_or(self.site.ack_deadline()),
            intents: BTreeMap::new(),
            count: 0,
            asked: VecDeque::new(),
            end: Instant::now() + Duration::from_millis(self.rng.u64(50..life)),
        };
        let mut stalled = Instant::now();
        let (board, mut done) = (self.site.board.clone(), Ok(()));
        loop {
            if self.rng.u16(..300) == 0 {
                stalled = Instant::now() + Duration::from_millis(self.rng.u64(200..3_500));
            }
            let next = stream.intents.first_key_value().map_or(stream.end, |((due, _), _)| (*due).min(stream.end));
            tokio::select! {
                biased;
                () = board.reaches(Phase::Calm) => break,
                () = sleep_until(next) => {
                    if stream.end <= Instant::now() {
                        break;
                    }
                    self.ask(&mut stream);
                }
                () = sleep_until(stalled), if stalled > Instant::now() => {}
                response = responses.message(), if stalled <= Instant::now() => match response {
                    Ok(Some(response)) => self.heard(&mut stream, response.response),
                    Ok(None) => {
                        self.site.notes.ended(stream.session, "no status".to_owned());
                        break;
                    }
                    Err(status) => {
                        let why = self.site.why(&status);
                        if why == "SUBSCRIPTION_NOT_FOUND" {
                            done = Err(Failed::Missing);
                        }
                        self.site.notes.ended(stream.session, why);
                        break;
                    }
                },
            }
        }
        self.leave(stream);
        // What was unread goes with it.
        drop(responses);
        done
    }

    fn heard(&mut self, stream: &mut Stream, response: Option<Response>) {
        match response {
            Some(Response::Received(received)) => {
                for message in &received.messages {
                    let Some(intents) = self.take(stream.session, message, stream.ack_deadline) else { continue };
                    let (elsewhere, here): (Vec<_>, Vec<_>) =
                        intents.into_iter().partition(|intent| intent.is_elsewhere);
                    self.elsewhere(elsewhere);
                    for intent in here {
                        stream.count += 1;
                        stream.intents.insert((intent.due, stream.count), intent);
                    }
                }
            }
            Some(Response::Settled(settled)) => {
                let Some((asks, intents, with_nonsense)) = stream.asked.pop_front() else {
                    return self.site.board.trouble(format!("{settled:?} was not asked for"));
                };
                let answers = self.site.notes.read_settled(&intents, with_nonsense, &settled);
                self.site.notes.answered(&asks, &answers);
                let unknown = intents.into_iter().zip(answers).filter(|(_, answer)| *answer == Answer::Unknown);
                self.elsewhere(acknowledgements(unknown.map(|(intent, _)| intent)));
            }
            Some(Response::Lost(lost)) => self.site.notes.lost(&[lost]),
            Some(Response::Draining(_)) => stream.end = stream.end.min(Instant::now() + DRAINING),
            Some(Response::Started(_)) => self.site.notes.begun(stream.session),
            Some(Response::Heartbeat(_)) => {}
            None => self.site.board.trouble("a response of no kind"),
        }
    }

    /// Asks on the stream what is due; nothing twice in one request, for which of both is answered would not be known.
    fn ask(&mut self, stream: &mut Stream) {
        let (now, mut named) = (Instant::now(), HashSet::new());
        let mut due = Vec::new();
        while let Some(first) = stream.intents.first_entry()
            && first.key().0 <= now
            && named.insert(first.get().ack_id.clone())
        {
            due.push(first.remove());
        }
        if due.is_empty() {
            return;
        }
        let with_nonsense = self.rng.u8(..12) == 0;
        let asks = self.site.notes.asked(&due);
        let request = Request::Settlement(settlement(&due, with_nonsense));
        let _open = stream.requests.send(ConsumeMessagesRequest { request: Some(request) });
        stream.asked.push_back((asks, due, with_nonsense));
    }

    /// Lets go of a stream. Some die with it; others go on elsewhere with what was not answered, and with what they
    /// still meant to say.
    fn leave(&mut self, stream: Stream) {
        self.site.notes.closed(stream.session);
        if self.rng.u8(..4) == 0 {
            return;
        }
        let asked = stream.asked.into_iter().flat_map(|(_, intents, _)| intents);
        let rest = acknowledgements(asked.chain(stream.intents.into_values()));
        self.elsewhere(rest);
    }
}

/// What must be known: whether a job that was done is done.
fn acknowledgements(intents: impl Iterator<Item = Intent>) -> Vec<Intent> {
    intents.filter(|intent| intent.deed == Deed::Acknowledge).collect()
}

/// Settles one by calls. An acknowledgement is repeated until its outcome is known.
async fn settle(site: Site, mut rng: Rng, intent: Intent) {
    tokio::select! {
        () = sleep_until(intent.due) => {}
        () = site.board.reaches(Phase::Calm) => {}
    }
    let intents = [intent];
    while !site.board.is(Phase::Over) {
        let slot = site.any(&mut rng);
        let asks = site.notes.asked(&intents);
        let answers = site.settle(slot, &intents, rng.u8(..20) == 0).await;
        site.notes.answered(&asks, &answers);
        if answers[0] != Answer::Unknown || intents[0].deed != Deed::Acknowledge {
            return;
        }
        sleep(Duration::from_millis(rng.u64(20..300))).await;
    }
    site.board.trouble(format!("{} could not be acknowledged when all was calm", intents[0].ack_id));
}

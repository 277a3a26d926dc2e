//! A consumer that streams, now at this replica and now at that.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fastrand::Rng;
use futures_util::{StreamExt as _, stream};
use tidings::{
    pb::{self, consume_messages_request::Request, consume_messages_response::Response},
    status::Call,
    subscription::AckId,
};
use tidings_transport::{CallContext, encoding::Encoded, operation::Received};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    checks,
    faults::Gate,
    settling::{self, Intent, elsewhere, fate},
    truth::{Asked, Deed},
    world::{Replica, World},
};
use crate::work::{CreditLimit, Decision, consume::Responses, outcome::Outcome};

/// How often a stream looks at what has changed around it.
const TICK: Duration = Duration::from_millis(50);
/// How long a stream may still get what was leased under its credit of before.
const OLD_CREDIT: Duration = Duration::from_millis(2_500);

/// A message that is out at the stream for sure.
struct Out {
    id: AckId,
    bytes: usize,
    until: Instant,
}

struct Stream {
    world: Arc<World>,
    rng: Rng,
    name: String,
    replica: Arc<Replica>,
    responses: Responses,
    requests: mpsc::UnboundedSender<pb::ConsumeMessagesRequest>,
    ack_deadline: Duration,
    credits: Vec<(Instant, CreditLimit)>,
    out: HashMap<String, Out>,
    /// All that it ever had.
    had: Vec<AckId>,
    /// What is to be asked, by when.
    intents: BTreeMap<(Instant, u64), Intent>,
    numbered: u64,
    /// What was asked on the stream, in its order.
    pending: VecDeque<(Vec<Intent>, Vec<Asked>)>,
    /// Until then it does not read.
    stalled: Instant,
    end: Instant,
    is_draining: bool,
    unread_since: Option<Instant>,
}

/// Consumes until the schedule ends.
pub(super) async fn consume(world: Arc<World>, number: usize) {
    let mut rng = world.fork();
    for life in 1.. {
        world.awake().await;
        let mut stream = Stream::open(&world, &mut rng, format!("{number}.{life}"));
        stream.serve().await;
        stream.close();
        tokio::time::sleep(Duration::from_millis(rng.u64(1..300))).await;
    }
}

impl Stream {
    fn open(world: &Arc<World>, rng: &mut Rng, name: String) -> Self {
        let (replica, mut rng) = (world.any(rng), rng.fork());
        let (requests, mut asked) = mpsc::unbounded_channel();
        let incoming = stream::poll_fn(move |cx| asked.poll_recv(cx));
        let incoming = incoming.map(|message| Ok(Received { message, bytes: 0 })).boxed();
        let context = CallContext::detached(Call::Consume, &replica.server);
        let responses = Responses::new(Arc::clone(&replica.desk), context, incoming);
        let ack_deadline = if rng.bool() { Some(Duration::from_secs(rng.u64(1..=10))) } else { None };
        let credit = credit(world, &mut rng);
        let start = pb::StartConsuming {
            name: "work".to_owned(),
            max_outstanding_messages: credit.messages as i32,
            max_outstanding_bytes: credit.bytes as i64,
            ack_deadline: ack_deadline.and_then(|time| time.try_into().ok()),
            heartbeat_interval: None,
        };
        let _open = requests.send(pb::ConsumeMessagesRequest { request: Some(Request::Start(start)) });
        let now = Instant::now();
        // Some go before they have begun.
        let life = if rng.u32(..8) == 0 { rng.u64(..20) } else { rng.u64(500..15_000) };
        let at = replica.number;
        world.truth.note(&format!("stream {name} opens at {at}, {credit:?}, {ack_deadline:?}"));
        Self {
            ack_deadline: ack_deadline.unwrap_or(world.plan.ack_deadline),
            world: Arc::clone(world),
            rng,
            name: format!("stream {name} at {at}"),
            replica,
            responses,
            requests,
            credits: vec![(now, credit)],
            out: HashMap::new(),
            had: Vec::new(),
            intents: BTreeMap::new(),
            numbered: 0,
            pending: VecDeque::new(),
            stalled: now,
            end: now + Duration::from_millis(life),
            is_draining: false,
            unread_since: None,
        }
    }

    async fn serve(&mut self) {
        loop {
            let now = Instant::now();
            let is_quiet = self.world.is_quiet();
            if !is_quiet {
                self.act(now);
            }
            let gate = self.replica.faults.gate();
            let is_over = now >= self.end && !self.world.is_draining() || self.is_draining && self.pending.is_empty();
            if gate == Gate::Dead || is_over && !is_quiet {
                return;
            }
            let is_stalled = now < self.stalled && !self.world.is_draining() && !is_quiet;
            let is_read = gate == Gate::Open && !is_stalled && !(is_quiet && self.pending.is_empty());
            match (is_read, self.unread_since) {
                (true, Some(since)) => {
                    // The server reads its credit only now.
                    self.credits.iter_mut().filter(|(at, _)| *at >= since).for_each(|(at, _)| *at = now);
                    self.unread_since = None;
                }
                (false, None) => self.unread_since = Some(now),
                _ => {}
            }
            let next = self.intents.keys().next().map_or(now + TICK, |(at, _)| (*at).min(now + TICK));
            let next = if is_quiet { now + TICK } else { next };
            tokio::select! {
                biased;
                response = self.responses.next(), if is_read => match response {
                    Some(Ok(encoded)) => self.take(&encoded),
                    Some(Err(_)) | None => return,
                },
                () = sleep_until(next) => {}
            }
        }
    }

    /// Does what is due, and something by chance.
    fn act(&mut self, now: Instant) {
        let mut here = Vec::new();
        while let Some(first) = self.intents.first_entry()
            && first.key().0 <= now
        {
            let intent = first.remove();
            self.let_go(&intent);
            match intent.is_elsewhere {
                true => elsewhere(&self.world, &mut self.rng, vec![intent]),
                false => here.push(intent),
            }
        }
        self.settle(here);
        if self.world.is_draining() {
            let all = credit(&self.world, &mut self.rng);
            return self.set_credit(all);
        }
        match self.rng.u32(..400) {
            0..3 => self.stalled = now + Duration::from_millis(self.rng.u64(100..6_000)),
            3..8 => {
                let credit = credit(&self.world, &mut self.rng);
                self.set_credit(credit);
            }
            8..10 => {
                let nonsense = Intent {
                    text: "nonsense".to_owned(),
                    at: now,
                    decision: Decision::Acknowledge,
                    is_elsewhere: false,
                };
                self.settle(vec![nonsense]);
            }
            _ => {}
        }
    }

    /// What is asked may be so at once: then the message is out no longer, or not for as long.
    fn let_go(&mut self, intent: &Intent) {
        match (&intent.decision, self.out.get_mut(&intent.text)) {
            (Decision::Extend(Some(time)), Some(out)) => out.until = out.until.min(Instant::now() + *time),
            (Decision::Extend(_), _) => {}
            (Decision::Acknowledge | Decision::Reject(_), _) => drop(self.out.remove(&intent.text)),
        }
    }

    fn set_credit(&mut self, credit: CreditLimit) {
        let last = self.credits.last().map(|(_, credit)| *credit);
        if last == Some(credit) {
            return;
        }
        self.credits.push((Instant::now(), credit));
        let given =
            pb::Credit { max_outstanding_messages: credit.messages as i32, max_outstanding_bytes: credit.bytes as i64 };
        let _open = self.requests.send(pb::ConsumeMessagesRequest { request: Some(Request::Credit(given)) });
    }

    /// Asks on the stream.
    fn settle(&mut self, intents: Vec<Intent>) {
        if intents.is_empty() {
            return;
        }
        let asked: Vec<_> = intents.iter().map(|intent| settling::asked(&self.world, intent, &self.name)).collect();
        let mut settlement = pb::Settlement::default();
        for intent in &intents {
            let ack_ids = vec![intent.text.clone()];
            match &intent.decision {
                Decision::Acknowledge => settlement.ack_ids.extend(ack_ids),
                Decision::Reject(failure) => settlement.rejections.push(pb::Rejection {
                    ack_ids,
                    delay: failure.delay.and_then(|delay| delay.try_into().ok()),
                    dead_letter: failure.is_dead,
                    reason: failure.reason.clone(),
                    uncounted: failure.is_uncounted,
                }),
                Decision::Extend(time) => settlement
                    .extensions
                    .push(pb::Extension { ack_ids, ack_deadline: time.and_then(|time| time.try_into().ok()) }),
            }
        }
        self.world.asking.fetch_add(1, Relaxed);
        self.pending.push_back((intents, asked));
        let _open = self.requests.send(pb::ConsumeMessagesRequest { request: Some(Request::Settlement(settlement)) });
    }

    fn take(&mut self, encoded: &Encoded) {
        for response in encoded.messages::<pb::ConsumeMessagesResponse>() {
            match response.response {
                Some(Response::Received(received)) => {
                    received.messages.iter().for_each(|message| self.received(message));
                }
                Some(Response::Settled(settled)) => self.settled(&settled),
                Some(Response::Draining(_)) => self.is_draining = true,
                Some(Response::Lost(lost)) => self.world.truth.fail(&format!("{lost:?}")),
                Some(Response::Started(_) | Response::Heartbeat(_)) => {}
                None => self.world.truth.fail("a response that is none"),
            }
        }
    }

    fn received(&mut self, received: &pb::ReceivedMessage) {
        let Some((id, taken)) = settling::read(received, self.ack_deadline) else {
            return self.world.truth.fail(&format!("{}: a delivery that is not whole: {received:?}", self.name));
        };
        let bytes = received.message.as_ref().map_or(0, prost::Message::encoded_len);
        self.check_credit(&id, bytes);
        self.world.truth.delivered(&id, &taken, &self.name);
        self.had.push(id);
        self.out.insert(received.ack_id.clone(), Out { id, bytes, until: taken.until });
        for intent in fate(&self.world, &mut self.rng, &received.ack_id, self.ack_deadline) {
            self.numbered += 1;
            self.intents.insert((intent.at, self.numbered), intent);
        }
    }

    fn check_credit(&mut self, id: &AckId, bytes: usize) {
        let now = Instant::now();
        self.out.retain(|_, out| now < out.until);
        let same = self.out.values().filter(|out| out.id.generation == id.generation);
        let (messages, out) = same.fold((0, 0), |(count, bytes), out| (count + 1, bytes + out.bytes));
        let from = self.credits.iter().rposition(|(at, _)| at.elapsed() >= OLD_CREDIT).unwrap_or(0);
        let allowed = &self.credits[from..];
        // After a fault its requests may still wait.
        let allowed = if self.world.plan.has_faults { &self.credits[..] } else { allowed };
        let fits = |credit: &CreditLimit| messages < credit.messages && (messages == 0 || out + bytes <= credit.bytes);
        if !allowed.iter().any(|(_, credit)| fits(credit)) {
            let mut text = format!("{}: {messages} messages of {out} bytes, and {bytes} more: {allowed:?}", self.name);
            for out in self.out.values().filter(|out| out.id.generation == id.generation) {
                text += &format!("\n--- {} ---\n{}", out.id.sequence, self.world.truth.history(out.id.sequence).0);
            }
            self.world.truth.fail(&text);
        }
    }

    fn settled(&mut self, settled: &pb::Settled) {
        let Some((intents, asked)) = self.pending.pop_front() else {
            return self.world.truth.fail("an answer to nothing");
        };
        let kind = |deed: Deed| match deed {
            Deed::Acknowledge => &settled.acknowledged_ids,
            Deed::Reject { .. } => &settled.rejected_ids,
            Deed::Extend(_) => &settled.extended_ids,
        };
        let lists = [
            &settled.acknowledged_ids,
            &settled.rejected_ids,
            &settled.extended_ids,
            &settled.stale_ids,
            &settled.unknown_ids,
        ];
        if lists.iter().map(|ids| ids.len()).sum::<usize>() != asked.len() {
            self.world.truth.fail(&format!("{asked:?} was answered {settled:?}"));
        }
        let mut unknown = Vec::new();
        for (intent, asked) in intents.iter().zip(&asked) {
            let outcome = if kind(asked.deed).contains(&asked.text) {
                Outcome::Done
            } else if settled.unknown_ids.contains(&asked.text) {
                Outcome::Unknown
            } else {
                Outcome::Stale
            };
            self.world.truth.answered(asked, outcome);
            if let (Outcome::Done, Deed::Extend(time)) = (outcome, asked.deed)
                && let Some(out) = self.out.get_mut(&asked.text)
            {
                out.until = asked.at + time;
            }
            if outcome == Outcome::Unknown && asked.deed == Deed::Acknowledge {
                unknown.push(intent.clone());
            }
        }
        elsewhere(&self.world, &mut self.rng, unknown);
        self.world.asking.fetch_sub(1, Relaxed);
    }

    /// Goes. What was asked and is not answered is asked elsewhere, and some of what was to be asked.
    fn close(mut self) {
        let is_dead = self.replica.faults.gate() == Gate::Dead;
        self.world.truth.note(&format!("{} closes, dead: {is_dead}", self.name));
        let mut unknown = Vec::new();
        for (intents, asked) in std::mem::take(&mut self.pending) {
            for (intent, asked) in intents.into_iter().zip(&asked) {
                self.world.truth.answered(asked, Outcome::Unknown);
                if asked.deed == Deed::Acknowledge {
                    unknown.push(intent);
                }
            }
            self.world.asking.fetch_sub(1, Relaxed);
        }
        if !is_dead {
            self.had.iter().for_each(|id| self.world.truth.closed(id));
            // What the replica does about it is looked at where nothing went wrong there.
            if self.world.is_healthy_for(Duration::from_secs(10)) {
                tokio::spawn(checks::given_back(Arc::clone(&self.world), std::mem::take(&mut self.had)));
            }
        }
        for intent in std::mem::take(&mut self.intents).into_values() {
            if self.rng.u32(..3) == 0 {
                unknown.push(intent);
            }
        }
        elsewhere(&self.world, &mut self.rng, unknown);
    }
}

fn credit(world: &World, rng: &mut Rng) -> CreditLimit {
    if world.is_draining() {
        return CreditLimit { messages: 1_000, bytes: 1 << 20 };
    }
    let messages = if rng.bool() { rng.usize(1..10) } else { rng.usize(10..300) };
    CreditLimit { messages, bytes: if rng.u32(..3) == 0 { rng.usize(1_000..20_000) } else { 1 << 20 } }
}

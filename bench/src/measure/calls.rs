//! Unary calls a second: `Publish` and `PublishBatch`, many in flight on a few connections.

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::ensure;
use bytes::Bytes;
use http::HeaderValue;

use super::{Plan, Sample, together};
use crate::{
    load::{
        caller,
        grpc::{Connection, PUBLISH, PUBLISH_BATCH, framed},
        publishing::{batch, receipt, receipts, request},
    },
    stage::{Disk, Meter, Service, Watched},
};

const CONNECTIONS: usize = 4;
/// Calls in flight on each of them.
const CALLS: usize = 64;
/// Batches in flight on each of them, and messages of one.
const BATCHES: usize = 4;
const BATCH: usize = 100;

/// Counts the messages and takes the last sequence of one answer.
type Look = fn(&[u8]) -> anyhow::Result<(usize, u64)>;

/// `Publish` calls a second.
pub(crate) async fn unary(plan: &mut Plan<'_>, service: Service) -> anyhow::Result<Sample> {
    let look: Look = |answer| Ok((1, receipt(answer)?));
    let message = framed(&request(&plan.channel));
    measure(plan, service, Calls { path: PUBLISH, message, at_once: CALLS, look, tokens: Rc::default() }).await
}

/// The same by so many callers in turn, each with a token of its own.
pub(crate) async fn by_callers(plan: &mut Plan<'_>, service: Service, callers: usize) -> anyhow::Result<Sample> {
    let credentials = plan.stage.credentials()?;
    let tokens: Result<Vec<_>, _> = (0..callers).map(|n| credentials.token(&format!("caller-{n}"))).collect();
    let look: Look = |answer| Ok((1, receipt(answer)?));
    let (message, tokens) = (framed(&request(&plan.channel)), Rc::new(Tokens { all: tokens?, next: Cell::new(0) }));
    measure(plan, service, Calls { path: PUBLISH, message, at_once: CALLS, look, tokens }).await
}

/// Messages a second in `PublishBatch` calls.
pub(crate) async fn batches(plan: &mut Plan<'_>, service: Service) -> anyhow::Result<Sample> {
    let message = batch(&plan.channel, BATCH);
    measure(
        plan,
        service,
        Calls { path: PUBLISH_BATCH, message, at_once: BATCHES, look: receipts, tokens: Rc::default() },
    )
    .await
}

/// `Publish` calls a second of clients that send a token once a connection, and its place in HPACK's table from then
/// on, as those of Go, Java, C++ and Python do. The `h2` crate, and with it tonic, sends it whole with each call.
pub(crate) async fn token_once(plan: &mut Plan<'_>, service: Service) -> anyhow::Result<Sample> {
    let process = plan.stage.service(service).await?;
    let servers = [Watched::from(&*process), plan.stage.watched(service.disk().unwrap_or(Disk::None))];
    let message = framed(&request(&plan.channel));
    let run = async |time| {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(caller::open(&process.target, PUBLISH).await?);
        }
        let (began, meter) = (std::time::Instant::now(), Meter::start(&servers)?);
        let clients = clients.into_iter().map(|(mut caller, mut answers)| {
            let message = message.clone();
            async move {
                let (mut begun, mut answered, mut last) = (0, 0, 0);
                while began.elapsed() < time || answered < begun {
                    while began.elapsed() < time && begun - answered < CALLS as u64 {
                        caller.add(&message);
                        begun += 1;
                    }
                    caller.leave().await?;
                    (answered, last) = answers.more().await?;
                }
                Ok((answered, last))
            }
        });
        let done = together(clients.collect::<Vec<_>>()).await?;
        let count: u64 = done.iter().map(|(count, _)| count).sum();
        anyhow::Ok((count, done.iter().map(|(_, last)| *last).max().unwrap_or_default(), meter.stop()?))
    };
    let (warm, _, _) = run(plan.time / 10).await?;
    let (count, last, usage) = run(plan.time).await?;
    ensure!(last == warm + count, "{} receipts, but the last sequence is {last}", warm + count);
    Ok(Sample::rate(count, usage))
}

struct Calls {
    path: &'static str,
    message: Bytes,
    at_once: usize,
    look: Look,
    tokens: Rc<Tokens>,
}

/// Tokens to be used in turn; without any, a connection's own is.
#[derive(Default)]
struct Tokens {
    all: Vec<HeaderValue>,
    next: Cell<usize>,
}

impl Tokens {
    fn next(&self) -> Option<&HeaderValue> {
        self.next.set(self.next.get() + 1);
        self.all.get(self.next.get() % self.all.len().max(1))
    }
}

async fn measure(plan: &mut Plan<'_>, service: Service, calls: Calls) -> anyhow::Result<Sample> {
    let process = plan.stage.service(service).await?;
    let mut servers = vec![Watched::from(&*process)];
    if let Some(disk) = service.disk() {
        servers.push(plan.stage.watched(disk));
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Rc::new(Connection::open(process.target.clone()).await?));
    }
    let warm = run(&connections, &calls, plan.time / 10).await?;
    let meter = Meter::start(&servers)?;
    let counted = run(&connections, &calls, plan.time).await?;
    let usage = meter.stop()?;
    if service != Service::Echo {
        let published = warm.0 + counted.0;
        ensure!(counted.1 == published, "{published} receipts, but the last sequence is {}", counted.1);
    }
    Ok(Sample::rate(counted.0, usage))
}

/// Calls for so long; answers how many messages were published, and the greatest sequence.
async fn run(connections: &[Rc<Connection>], calls: &Calls, time: Duration) -> anyhow::Result<(u64, u64)> {
    let last = Rc::new(Cell::new(0));
    let began = std::time::Instant::now();
    let callers = connections.iter().flat_map(|connection| std::iter::repeat_n(connection, calls.at_once));
    let callers = callers.map(|connection| {
        let (connection, last) = (Rc::clone(connection), Rc::clone(&last));
        let (method, message, look) = (connection.method(calls.path), calls.message.clone(), calls.look);
        let tokens = Rc::clone(&calls.tokens);
        async move {
            let (method, mut count) = (method?, 0);
            while began.elapsed() < time {
                let call = match tokens.next() {
                    Some(token) => connection.unary_as(&method, message.clone(), Some(token)).await,
                    None => connection.unary(&method, message.clone()).await,
                };
                let (more, sequence) = look(&call?)?;
                last.set(last.get().max(sequence));
                count += more as u64;
            }
            Ok(count)
        }
    });
    let counts = together(callers.collect::<Vec<_>>()).await?;
    Ok((counts.iter().sum(), last.get()))
}

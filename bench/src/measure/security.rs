//! What it costs that services let in only those who belong: handshakes, tokens that were never seen, and encryption.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::HandshakeKind;

use super::{Plan, Sample, fanout, together};
use crate::{
    load::{
        grpc::{Connection, PUBLISH, framed},
        publishing::{receipt, request},
        target::Target,
    },
    stage::{Access, Meter, Watched, answers},
};

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Begins {
    /// In plain text.
    Plain,
    /// With a whole handshake of TLS 1.3.
    Handshake,
    /// With one that goes on with a session of before.
    Resumption,
}

/// Deliveries a second, the nanoseconds that one takes the subscriber, and how much of them AES-GCM has, in percent.
pub(crate) async fn fan_out(plan: &mut Plan<'_>, access: Access, streams: usize) -> anyhow::Result<Sample> {
    let service = access.subscriber();
    let subscriber = plan.stage.service(service).await?;
    let (spent, decrypted) = (subscriber.spent()?, subscriber.target.decrypted.get());
    let mut sample = fanout::by(plan, service, streams, fanout::SATURATED).await?;
    let spent = subscriber.spent()? - spent;
    let name = Watched::from(&*subscriber).name();
    let during: f64 = sample.usage.servers.iter().filter(|(server, _)| *server == name).map(|(_, spent)| spent).sum();
    sample.figures.push(during * 1e9 / (sample.figures[0] * sample.usage.wall));
    let encrypted = (subscriber.target.decrypted.get() - decrypted) as f64;
    sample.figures.push(100.0 * encrypted * seconds_a_byte()? / spent);
    Ok(sample)
}

/// What AES-256-GCM takes for a byte, by itself: records of TLS's full size, one after the other, sealed in place, by
/// the code that rustls calls.
fn seconds_a_byte() -> anyhow::Result<f64> {
    const RECORD_BYTES: usize = 16 << 10;
    const RECORDS: usize = 12;
    const TIME: Duration = Duration::from_millis(50);
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).ok().context("no key")?;
    let (key, mut bytes) = (LessSafeKey::new(key), vec![0x5a; RECORDS * RECORD_BYTES]);
    let (began, mut sealed) = (Instant::now(), 0);
    let before = own_time()?;
    while began.elapsed() < TIME {
        for record in bytes.chunks_exact_mut(RECORD_BYTES) {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&(sealed as u64).to_be_bytes());
            let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from([0; 5]), record);
            let _ = std::hint::black_box(tag.ok().context("not sealed")?);
            sealed += RECORD_BYTES;
        }
    }
    Ok((own_time()? - before) / sealed as f64)
}

/// Seconds that this thread has had of a processor.
fn own_time() -> anyhow::Result<f64> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(line.split(' ').next().context("no schedstat")?.parse::<f64>()? / 1e9)
}

/// Microseconds of the publisher's processor time for a new connection: accepted, greeted in HTTP/2, and closed.
pub(crate) async fn connect(plan: &mut Plan<'_>, begins: Begins) -> anyhow::Result<Sample> {
    let credentials = plan.stage.credentials()?;
    let (service, tls, kind) = match begins {
        Begins::Plain => (Access::Plain.publisher(), None, None),
        Begins::Handshake => (Access::TlsAndToken.publisher(), Some(false), Some(HandshakeKind::Full)),
        Begins::Resumption => (Access::TlsAndToken.publisher(), Some(true), Some(HandshakeKind::Resumed)),
    };
    let publisher = plan.stage.service(service).await?;
    let tls = tls.map(|resumes| credentials.client(resumes)).transpose()?;
    let target = Target { tls, ..Target::from(publisher.target.address) };
    greeted(&target).await?;
    let (meter, before, mut count) = (Meter::start(&[Watched::from(&*publisher)])?, publisher.spent()?, 0);
    while meter.elapsed() < plan.time {
        let seen = greeted(&target).await?;
        // More groups than one, and the first one wrong, take another round trip.
        ensure!(seen == kind, "{seen:?} instead of {kind:?}");
        count += 1;
    }
    let spent = publisher.spent()? - before;
    Ok(Sample { figures: vec![spent * 1e6 / f64::from(count)], usage: meter.stop()? })
}

/// Connects, and waits for the server's first words, which come after the tickets of a session.
async fn greeted(target: &Target) -> anyhow::Result<Option<HandshakeKind>> {
    let mut socket = target.connect().await?;
    socket.write_all(&crate::load::greeting()).await?;
    socket.flush().await?;
    ensure!(socket.read(&mut [0; 1_024]).await? > 0, "closed");
    let handshake = socket.handshake();
    socket.shutdown().await?;
    Ok(handshake)
}

/// Microseconds of the publisher's processor time for a `Publish` with a token that it has never seen, the same for
/// one that it has, and the KiB that it holds for each.
pub(crate) async fn new_tokens(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let (service, credentials) = (Access::Token.publisher(), plan.stage.credentials()?);
    // One of its own: what another measurement has called with is remembered.
    let publisher = plan.stage.start(service)?;
    answers(service, &publisher.target).await?;
    let tokens = |first: usize| -> anyhow::Result<Vec<_>> {
        (first..first + CALLERS).map(|n| credentials.token(&format!("caller-{n}"))).collect()
    };
    let connection = Rc::new(Connection::open(publisher.target.clone()).await?);
    let meter = Meter::start(&[Watched::from(&publisher)])?;
    let calls = async |tokens: &[_]| {
        let before = publisher.spent()?;
        each(&connection, tokens, &plan.channel).await?;
        anyhow::Ok((publisher.spent()? - before) * 1e6 / tokens.len() as f64)
    };
    // Its allocator and caches have their fill before.
    let one = vec![credentials.token("caller")?; CALLERS];
    for _ in 0..4 {
        calls(&one).await?;
    }
    let all = tokens(0)?;
    let (first, later) = (calls(&all).await?, calls(&all).await?);
    // So many that they are more than what the allocator had left.
    let before = publisher.resident()?;
    for round in 1..=HELD {
        calls(&tokens(round * CALLERS)?).await?;
    }
    let held = publisher.resident()? - before;
    Ok(Sample { figures: vec![first, later, held / (HELD * CALLERS) as f64 / 1024.0], usage: meter.stop()? })
}

/// Tokens of one measurement.
const CALLERS: usize = 1_000;
/// As many times as these are called with to see what the publisher holds for each: less than it remembers.
const HELD: usize = 8;
/// Calls in flight.
const AT_ONCE: usize = 64;

/// Publishes once with each token.
async fn each(connection: &Rc<Connection>, tokens: &[http::HeaderValue], channel: &str) -> anyhow::Result<()> {
    let (method, message) = (connection.method(PUBLISH)?, framed(&request(channel)));
    let (tokens, next): (Rc<[_]>, _) = (tokens.into(), Rc::new(Cell::new(0)));
    let callers = (0..AT_ONCE).map(|_| {
        let (connection, tokens, next) = (Rc::clone(connection), Rc::clone(&tokens), Rc::clone(&next));
        let (method, message) = (method.clone(), message.clone());
        async move {
            while let Some(token) = tokens.get(next.replace(next.get() + 1)) {
                receipt(&connection.unary_as(&method, message.clone(), Some(token)).await?)?;
            }
            Ok(())
        }
    });
    together(callers.collect::<Vec<_>>()).await?;
    Ok(())
}

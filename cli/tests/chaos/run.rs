//! One run: a seed decides what it is like; then all runs at once until the faults are over, and all must come to
//! rest.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tidings::limits::{PROBE_GRACE, PROBE_INTERVAL};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    board::{Board, CAPTURED, Phase},
    faults::Faults,
    history::{At, History, Positions},
    nature::Nature,
    publish::{self, Client},
    reader::{Habits, Reader},
    sample,
    work::{Work, letter_channels},
    world::World,
};

/// How long all may take to come to rest when the faults are over.
const REST: Duration = Duration::from_secs(10);
/// How long a live connection that swallows its pushes may go unnoticed: a probe, its grace, and what is under way
/// then.
const DEAF: Duration = PROBE_INTERVAL.saturating_add(PROBE_GRACE).saturating_add(Duration::from_secs(1));
const CLIENTS: usize = 5;
const READERS: usize = 12;

/// Runs a seed for so long, and returns what happened.
pub(crate) async fn run(seed: u64, time: Duration) -> History {
    let nature = Nature::of(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let board = Arc::new(Board::new(2, 3, READERS, channels(time), letter_channels()));
    let mut world = World::start(Arc::clone(&board), &nature).await;
    let mut work = Work::create(&board, fastrand::Rng::with_seed(seed)).await;
    let mut writers = JoinSet::new();
    for number in 1..=CLIENTS {
        writers.spawn(Client::new(&board, format!("p{number}"), rng.fork()).run());
    }
    // Two on the captured channel, and one where its messages are unnumbered.
    for (name, channel) in [("w1", CAPTURED), ("w2", CAPTURED), ("w3", "c.3")] {
        writers.spawn(publish::plain(Arc::clone(&board), channel.to_owned(), name.to_owned(), rng.fork()));
    }
    let mut others = JoinSet::new();
    for number in 0..READERS {
        let habits = habits(number, &mut rng);
        others.spawn(Reader::new(&board, habits, rng.fork()).run());
    }
    others.spawn(sample::watch(Arc::clone(&board)));
    let (of_faults, of_last) = (rng.fork(), rng.fork());
    work.begin(rng.fork());

    let until = board.now() + time;
    Faults::new(&nature, of_faults).run(&mut world, until).await;
    board.phase.send_replace(Phase::Calm);
    finish(&board, writers, &mut work, of_last).await;
    board.phase.send_replace(Phase::Over);
    while let Some(done) = others.join_next().await {
        done.expect("a reader that does not panic");
    }
    let stories = work.stories().await;
    board.history().stories = stories;
    world.stop().await;
    std::mem::take(&mut *board.history())
}

/// The first are busy; of the others one begins a second.
fn channels(time: Duration) -> Vec<String> {
    let numbered = (0..6 + time.as_secs().min(60)).map(|number| format!("c.{number}"));
    numbered.chain([CAPTURED.to_owned()]).collect()
}

fn habits(number: usize, rng: &mut fastrand::Rng) -> Habits {
    let topic = topic(number);
    Habits {
        number,
        is_pattern: topic.ends_with('*'),
        topic,
        fails_on_gap: rng.u8(..5) == 0,
        window: [0, 0, 2_000, 16_000][rng.usize(..4)],
        stalls: rng.u8(..6),
        stays: Duration::from_millis([800, 3_000, 10_000, 60_000][rng.usize(..4)]),
    }
}

/// What a reader reads.
fn topic(reader: usize) -> String {
    match reader {
        0 | 1 => "c.*".to_owned(),
        2 => "c.1*".to_owned(),
        3 => "*".to_owned(),
        4 => CAPTURED.to_owned(),
        _ => format!("c.{}", reader - 5),
    }
}

/// All comes to rest: first with what was published, though no push may show it any more; then publishers publish
/// on every channel, and all readers get it.
async fn finish(board: &Arc<Board>, mut writers: JoinSet<()>, work: &mut Work, rng: fastrand::Rng) {
    let calm = Instant::now();
    let deadline = calm + REST;
    while let Some(done) = writers.join_next().await {
        done.expect("a publisher that does not panic");
    }
    serving(board, deadline).await;
    at_rest(board, deadline, "after the last fault").await;
    let mut last = Client::new(board, "last".to_owned(), rng);
    for channel in &board.channels {
        last.last(channel).await;
    }
    // Nobody repeats what a plain program publishes: it counts only once no live connection can be deaf any more.
    sleep((calm + DEAF).saturating_duration_since(Instant::now())).await;
    serving(board, Instant::now() + REST).await;
    publish::last_plain(board, CAPTURED, Instant::now() + REST).await;
    work.drain().await;
    let deadline = Instant::now() + REST;
    let port = board.primary.load(Ordering::SeqCst);
    let mut redis = publish::connect(port).await.expect("Redis is there");
    // What a subscriber kept for the log may be numbered as late as another gives the work up.
    let logs = loop {
        at_rest(board, deadline, "after the last messages").await;
        let logs = sample::logs(&mut redis, &board.all_channels).await.expect("Redis answers");
        let is_still = lagging(board).await.is_none()
            && sample::heads(&mut redis, &board.all_channels).await.is_ok_and(|heads| {
                heads.iter().all(|(channel, head)| logs.get(channel).is_some_and(|log| log.head.last == head.last))
            });
        if is_still || Instant::now() > deadline {
            break logs;
        }
    };
    board.history().logs = logs;
}

/// Waits until every reader is at the end of all of its channels.
async fn at_rest(board: &Arc<Board>, deadline: Instant, when: &str) {
    loop {
        let lagging = lagging(board).await;
        let Some(lagging) = lagging else { return };
        if Instant::now() > deadline {
            return board.trouble(format!("not at rest {REST:?} {when}: {lagging}"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Who is not where the heads are.
async fn lagging(board: &Arc<Board>) -> Option<String> {
    let port = board.primary.load(Ordering::SeqCst);
    let Some(mut redis) = publish::connect(port).await else { return Some("Redis is away".to_owned()) };
    let Ok(heads) = sample::heads(&mut redis, &board.all_channels).await else {
        return Some("Redis is away".to_owned());
    };
    for (number, (opened, positions)) in board.progress().iter().enumerate() {
        let topic = topic(number);
        let covers = |channel: &str| match topic.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == topic,
        };
        for channel in board.all_channels.iter().filter(|channel| covers(channel)) {
            // A channel of a cursor that the registry lacks is reported when a message comes again.
            if topic.ends_with('*') && !heads.contains_key(channel) && lacked(board, channel, *opened) {
                continue;
            }
            let last = heads.get(channel).map_or(0, |head| head.last);
            let at = Positions::get(positions, channel).map_or(0, |position| position.sequence);
            if at != last {
                return Some(format!("reader {number} is at {at} of {channel}, which ends at {last}"));
            }
        }
    }
    None
}

/// Whether Redis lacked a channel when a stream was opened.
fn lacked(board: &Board, channel: &str, opened: At) -> bool {
    const NEAR: Duration = Duration::from_secs(1);
    let history = board.history();
    let near = history.samples.iter().filter(|sample| sample.ended + NEAR > opened && sample.began < opened + NEAR);
    near.into_iter().any(|sample| !sample.heads.contains_key(channel))
}

/// Waits until all services say that they serve.
async fn serving(board: &Arc<Board>, deadline: Instant) {
    for slot in board.publishers.iter().chain(&board.subscribers) {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", slot.address))
            .expect("an address")
            .connect_lazy();
        loop {
            let answer = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
            let status = answer.map(|answer| answer.into_inner().status());
            if status.as_ref().is_ok_and(|status| *status == ServingStatus::Serving) {
                break;
            }
            if Instant::now() > deadline {
                return board
                    .trouble(format!("{} does not serve {REST:?} after the last fault: {status:?}", slot.address));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

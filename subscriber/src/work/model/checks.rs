//! What is looked at where nobody decides anything, and at the end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tidings::{
    broker::subscriptions::Look,
    subscription::{AckId, Attempts, OrderKey},
};
use tokio::time::{Instant, sleep};

use super::{
    manager::{self, letters},
    world::World,
};

/// How long a decision may take where nothing fails, and what is left when faults end.
const ANSWERED: Duration = Duration::from_secs(30);
/// How long it takes at most until all is settled, where all are healthy.
const DRAINED: Duration = Duration::from_secs(90);
/// How long after its block's end a lease may still be there: with what a block has for being sent late, five seconds
/// after its own.
const SWEPT: Duration = Duration::from_secs(3);
/// How long it takes until a closed stream's messages are given back.
const GIVEN_BACK: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);

/// Waits until all decisions are answered.
async fn answered(world: &World) {
    let begun = Instant::now();
    while world.asking.load(Relaxed) > 0 {
        if begun.elapsed() > ANSWERED {
            world.truth.fail(&format!("{} decisions are not answered", world.asking.load(Relaxed)));
            return;
        }
        sleep(TICK).await;
    }
}

/// A moment at which nobody decides anything: what is left is compared with what must be left.
pub(super) async fn quiet(world: &World) {
    world.is_quiet.store(true, Relaxed);
    // A call that manages something may be under way.
    sleep(Duration::from_secs(1)).await;
    answered(world).await;
    if world.truth.failure().is_none() {
        backlog(world).await;
        nothing_overdue(world).await;
    }
    world.is_quiet.store(false, Relaxed);
}

async fn backlog(world: &World) {
    let generation = world.books().await.state.generation;
    let replica = world.any(&mut world.fork());
    let got = replica.desk.get(&world.name).await;
    let Some(state) = got.ok().and_then(|subscription| subscription.state) else {
        return world.truth.fail("nothing fails, and the state can't be had");
    };
    if generation != world.books().await.state.generation {
        return;
    }
    let (matching, acknowledged) = world.truth.matching();
    let left = matching.len() as i64 - acknowledged.len() as i64;
    // Dead letters stay where the subscription is moved, and don't say of which generation they are.
    let dead = if world.plan.has_seeks {
        0..=state.dead_letter_count
    } else {
        state.dead_letter_count..=state.dead_letter_count
    };
    let (most, least) = (left - dead.start(), left - dead.end());
    let backlog = state.backlog_count - state.unexamined_count..=state.backlog_count;
    if *backlog.start() > most || *backlog.end() < least || state.lost_count != 0 {
        let text = format!("{} match, {} are acknowledged, and {state:?}", matching.len(), acknowledged.len());
        world.truth.fail(&text);
    }
    world.truth.note(&format!("quiet: {state:?}"));
}

/// Leases of whoever died are over in time.
async fn nothing_overdue(world: &World) {
    let look = Look { overdue: Some((10, SWEPT)), ..Look::default() };
    let books = world.store.look(&world.place, look).await.expect("no fault").expect("there are books");
    if !books.overdue.is_empty() {
        let now_ms = books.state.now_ms;
        world.truth.fail(&format!("at {now_ms} leases were not given back: {:?}", books.overdue));
    }
}

/// What a stream had that was closed is given back at once.
pub(super) async fn given_back(world: Arc<World>, ids: Vec<AckId>) {
    sleep(GIVEN_BACK).await;
    if !world.is_healthy_for(GIVEN_BACK) {
        return;
    }
    let names: Vec<_> = ids.iter().flat_map(|id| [id.block, id.block.of_one(id.sequence)]).collect();
    let blocks = world.store.blocks(&world.place, &names).await.expect("no fault");
    for (id, blocks) in ids.iter().zip(blocks.chunks(2)) {
        if blocks.iter().flatten().any(|block| block.has(id.sequence)) {
            let (history, _) = world.truth.history(id.sequence);
            world.truth.fail(&format!("message {}: its stream is closed, and it is out\n{history}", id.sequence));
        }
    }
}

/// Has all that is left be done, and looks whether it is.
pub(super) async fn drain(world: &Arc<World>) {
    world.is_draining.store(true, Relaxed);
    let begun = Instant::now();
    while !manager::pause(world, false).await {
        if begun.elapsed() > ANSWERED {
            return world.truth.fail("nothing fails, and it can't be changed");
        }
    }
    loop {
        let books = world.books().await;
        if books.state.out == 0 && books.waiting + books.parked == 0 && books.state.ahead() == 0 {
            break;
        }
        if begun.elapsed() > DRAINED {
            let (matching, acknowledged) = world.truth.matching();
            let first = matching.iter().find(|sequence| !acknowledged.contains(sequence));
            let history = first.map(|sequence| world.truth.history(*sequence).0);
            let text = format!("it is not drained: {books:?}\n--- {first:?} ---\n{}", history.unwrap_or_default());
            return world.truth.fail(&text);
        }
        if world.truth.failure().is_some() {
            return;
        }
        sleep(TICK).await;
    }
    answered(world).await;
    done(world).await;
}

/// Every message is acknowledged or dead, and nothing else is kept.
async fn done(world: &World) {
    let books = world.books().await;
    let (matching, acknowledged) = world.truth.matching();
    let letters = letters(world).await;
    let mut dead: HashMap<i64, usize> = HashMap::new();
    letters.iter().for_each(|letter| *dead.entry(letter.sequence).or_default() += 1);
    for sequence in &matching {
        let (is_done, count) = (acknowledged.contains(sequence), dead.get(sequence).copied().unwrap_or(0));
        let (history, must_be_dead) = world.truth.history(*sequence);
        let is_fine = match world.plan.has_seeks {
            true => is_done || count > 0,
            false => usize::from(is_done) + count == 1,
        };
        if !is_fine || must_be_dead && count == 0 {
            let text = format!("message {sequence}: acknowledged: {is_done}, dead letters: {count}\n{history}");
            return world.truth.fail(&text);
        }
    }
    let matching: HashSet<i64> = matching.into_iter().collect();
    if !world.plan.has_seeks && dead.keys().any(|sequence| !matching.contains(sequence)) {
        world.truth.fail("a message is dead that does not match");
    }
    let remembered = world.store.remembered(&world.place, &world.truth.sequences()).await.expect("no fault");
    if let Some(kept) = remembered.iter().find(|due| due.attempts != Attempts::default() || due.json.is_some()) {
        let (history, _) = world.truth.history(kept.sequence);
        world.truth.fail(&format!("it is drained, and there is {kept:?} left\n{history}"));
    }
    let keys: Vec<_> = (0..world.plan.messages).filter_map(|number| OrderKey::of(&world.plan.key(number))).collect();
    let closed = world.store.closed(&world.place, &keys).await.expect("no fault");
    if closed.keys.contains(&true) || closed.parked > 0 {
        world.truth.fail("it is drained, and a key is closed");
    }
    if books.lost != 0 {
        world.truth.fail(&format!("messages were lost: {books:?}"));
    }
}

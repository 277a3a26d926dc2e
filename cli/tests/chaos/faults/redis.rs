//! Faults of Redis itself. Each says what it may lose: by that the checker judges.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tidings_testing::RedisServer;
use tokio::{task::block_in_place, time::sleep};

use super::fault;
use crate::{
    history::{At, Fault},
    world::World,
};

/// How long the two servers may take to be in sync before a failover is given up.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn kill(world: &mut World, kind: &str) -> Fault {
    block_in_place(|| world.primary().command(&["CLIENT", "KILL", "TYPE", kind]));
    fault(format!("CLIENT KILL TYPE {kind}"))
}

pub(super) async fn pause(world: &mut World, time: Duration) -> Fault {
    world.primary().pause();
    sleep(time).await;
    world.primary().resume();
    fault(format!("Redis stopped for {time:?}"))
}

pub(super) async fn restart(world: &mut World, down: Duration) -> Fault {
    block_in_place(|| world.primary().kill());
    sleep(down).await;
    block_in_place(|| world.primary().run());
    fault(format!("Redis crashed, and was away for {down:?}"))
}

pub(super) fn trim(world: &mut World, channel: &str, runs: u32) -> Fault {
    let key = format!("tidings:{{{channel}}}:log");
    let trimmed = block_in_place(|| world.primary().command(&["XTRIM", &key, "MAXLEN", "=", &runs.to_string()]));
    fault(format!("XTRIM of {channel} to {runs} runs: {trimmed}"))
}

/// Harmless by itself.
pub(super) fn snapshot(world: &mut World) -> Fault {
    let taken = world.board.now();
    let primary = world.primary();
    // Stopped, so that its files belong together.
    primary.pause();
    let snapshot = block_in_place(|| primary.snapshot());
    primary.resume();
    world.snapshot = Some((taken, snapshot));
    fault("a snapshot is taken")
}

pub(super) async fn restore(world: &mut World) -> Option<Fault> {
    let (taken, snapshot) = world.snapshot.take()?;
    block_in_place(|| world.primary().restart_from(&snapshot));
    let what = format!("Redis came back with what it had at {} ms", taken.as_millis());
    Some(Fault { loses_from: Some(taken), restores: true, ..fault(what) })
}

pub(super) fn flush(world: &mut World) -> Fault {
    block_in_place(|| world.primary().command(&["FLUSHALL"]));
    Fault { loses_from: Some(At::ZERO), ..fault("FLUSHALL") }
}

/// A failover in good order: nothing is lost.
pub(super) async fn failover(world: &mut World, cut: bool) -> Option<Fault> {
    let (primary, replica) = world.pair();
    if !wait(|| is(replica, "master_link_status:up")).await {
        return None;
    }
    if block_in_place(|| primary.command(&["FAILOVER"])) != "+OK" {
        return None;
    }
    let done = wait(|| is(replica, "role:master") && is(primary, "role:slave")).await;
    if !done {
        block_in_place(|| primary.command(&["FAILOVER", "ABORT"]));
        return None;
    }
    world.switch(cut);
    let links = if cut { "cut" } else { "left where they were" };
    Some(fault(format!("a failover to {}, links {links}", world.board.primary.load(Ordering::SeqCst))))
}

/// The replica is promoted while the primary continues: what that takes meanwhile is lost.
pub(super) async fn promote_early(world: &mut World, early: Duration, crash: bool) -> Option<Fault> {
    let from = world.board.now();
    let (primary, replica) = world.pair();
    if !wait(|| is(replica, "master_link_status:up")).await {
        return None;
    }
    block_in_place(|| {
        replica.catch_up_with(primary);
        replica.promote();
    });
    sleep(early).await;
    if crash {
        block_in_place(|| world.primary().kill());
    }
    world.switch(true);
    block_in_place(|| world.demote_old(crash));
    let what = format!("a replica is promoted, {early:?} late");
    Some(Fault { loses_from: Some(from), restores: true, ..fault(what) })
}

fn is(server: &RedisServer, what: &str) -> bool {
    block_in_place(|| server.command(&["INFO", "replication"])).contains(what)
}

async fn wait(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}

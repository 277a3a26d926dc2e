//! Whoever looks after the dead letters: lists them, and puts some back, now and then twice.

use std::{sync::atomic::Ordering, time::Duration};

use fastrand::Rng;
use redis::aio::MultiplexedConnection;
use serde_json::Value as Json;
use tidings::{
    message::{Epoch, Position},
    pb::{DeadLetter, message::Payload},
};
use tokio::time::{sleep, timeout};

use super::{
    site::{Failed, Site},
    story::{Copy, Letter, Redrive},
};
use crate::{
    board::{Phase, label},
    publish::connect,
    sample,
};

/// How often Redis is looked at.
const PERIOD: Duration = Duration::from_millis(150);
/// How long Redis may take; it may be stopped.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Runs of a log that are read at once: more than come in a period.
const RUNS: usize = 200;

/// Puts dead letters back until the faults are over.
pub(super) async fn manage(site: Site, mut rng: Rng) {
    while site.board.is(Phase::Wild) {
        sleep(Duration::from_millis(rng.u64(300..2_500))).await;
        let slot = site.any(&mut rng);
        match site.dead_letters(slot).await {
            Ok(letters) if !letters.is_empty() => redrive(&site, &mut rng, &letters).await,
            Err(Failed::Missing) => site.create(&mut rng).await,
            Ok(_) | Err(Failed::Away | Failed::Unknown) => {}
        }
    }
}

/// Puts some of these back, or all.
async fn redrive(site: &Site, rng: &mut Rng, listed: &[DeadLetter]) {
    let all = rng.u8(..6) == 0;
    let chosen: Vec<&DeadLetter> = listed.iter().filter(|_| rng.u8(..4) == 0).collect();
    if chosen.is_empty() && !all {
        return;
    }
    let mut ids: Vec<String> = chosen.iter().map(|letter| letter.dead_letter_id.clone()).collect();
    let positions: Vec<Position> =
        chosen.iter().filter_map(|letter| read(letter)).map(|letter| letter.position).collect();
    if all {
        ids.clear();
    } else if rng.u8(..4) == 0 {
        ids.push("nonsense".to_owned());
    }
    for _ in 0..1 + usize::from(rng.u8(..3) == 0) {
        let asked = site.board.now();
        let slot = site.any(rng);
        let count = site.redrive(slot, ids.clone(), all).await;
        if count == Err(Failed::Missing) {
            continue;
        }
        // Where the broker is away, some may have been put back before, in pieces of their own.
        let (ended, positions) = (site.board.now(), (!all).then(|| positions.clone()));
        site.notes.redriven(Redrive { ids: ids.clone(), positions, asked, ended, count: count.ok() });
    }
}

/// A dead letter as the list has it.
pub(super) fn read(letter: &DeadLetter) -> Option<Letter> {
    let message = letter.message.as_ref()?;
    let Some(Payload::Text(text)) = &message.payload else { return None };
    let time = letter.dead_time?;
    Some(Letter {
        id: letter.dead_letter_id.clone(),
        position: Position::new(message.epoch.parse::<Epoch>().ok()?, message.sequence),
        body: label(text),
        dead_ms: time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000,
    })
}

/// Looks at the dead-letter channel on Redis itself until all is over: its log may be short.
pub(super) async fn watch(site: Site, channel: String) {
    let mut connection = None;
    while !site.board.is(Phase::Over) {
        sleep(PERIOD).await;
        let port = site.board.primary.load(Ordering::SeqCst);
        if connection.as_ref().is_none_or(|(_, to)| *to != port) {
            connection = connect(port).await.map(|connection| (connection, port));
        }
        let Some((redis, _)) = &mut connection else { continue };
        match timeout(TEST_TIMEOUT, copies(redis, &channel)).await {
            Ok(Some(copies)) => site.notes.seen(copies),
            _ => connection = None,
        }
    }
}

/// What a dead-letter channel has; nothing where Redis does not answer.
pub(super) async fn copies(redis: &mut MultiplexedConnection, channel: &str) -> Option<Vec<Copy>> {
    let messages = sample::last_runs(redis, channel, RUNS).await.ok()?;
    Some(messages.iter().filter_map(|(sequence, json)| copy(*sequence, json)).collect())
}

fn copy(sequence: i64, json: &[u8]) -> Option<Copy> {
    let json: Json = serde_json::from_slice(json).ok()?;
    let text = |key: &str| json[key].as_str().unwrap_or_default();
    let of = |what: &str| json["attributes"][format!("tidings-dead-letter-{what}")].as_str().unwrap_or_default();
    let time = chrono::DateTime::parse_from_rfc3339(of("time")).ok()?;
    Some(Copy {
        at: Position::new(text("epoch").parse().ok()?, sequence),
        id: text("id").to_owned(),
        body: label(text("message")),
        of: Position::new(of("epoch").parse().ok()?, of("sequence").parse().ok()?),
        attempts: of("attempts").parse().ok()?,
        dead_ms: time.timestamp_millis(),
    })
}

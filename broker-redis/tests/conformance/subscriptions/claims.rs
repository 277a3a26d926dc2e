//! What is handed out next, and that a change is carried out as a whole or not at all.

use std::time::Duration;

use bytes::Bytes;
use tidings::{
    broker::subscriptions::{Change, Claim, Outcome, Set},
    message::{Epoch, Position},
};
use tokio::join;

use super::rig::{HOUR_MS, Rig};
use crate::fixture::Fixture;

fn with(change: &Change, claim: Claim) -> Change {
    Change { claim: Some(claim), ..change.clone() }
}

pub(crate) async fn a_claim_takes_only_what_is_next(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(9).await;
    let change = rig.claim(4, &[1, 2, 4]).await;
    let claim = change.claim.expect("a claim");
    for from in [0, 2, 5] {
        rig.refused(with(&change, Claim { from, ..claim }), Outcome::Differs).await;
    }
    let (state, outcomes) = rig.apply(std::slice::from_ref(&change)).await;
    assert_eq!((state.next, state.out, state.ahead(), outcomes), (5, 3, 5, vec![Outcome::Done]));
    let books = rig.look().await;
    assert_eq!((books.position, books.oldest), (Position { sequence: 4, ..end }, Some(1)));
    let block = change.blocks[0].clone();
    assert_eq!(rig.blocks(&[block.id]).await, [block.to]);
    rig.refused(change, Outcome::Differs).await;
    // All can be passed over.
    let rest = rig.claim(9, &[]).await;
    rig.done(rest).await;
    let books = rig.look().await;
    assert_eq!((books.state.next, books.state.out, books.state.ahead(), books.position), (10, 3, 0, end));
}

pub(crate) async fn two_claims_of_the_same_messages_do_not_both_succeed(fixture: &Fixture) {
    let rigs = Rig::two(fixture).await;
    rigs[0].publish(100).await;
    let mut won = [0, 0];
    for sequence in 1..=100 {
        let changes = [rigs[0].claim(sequence, &[sequence]).await, rigs[1].claim(sequence, &[sequence]).await];
        let (first, second) = join!(rigs[0].one(changes[0].clone()), rigs[1].one(changes[1].clone()));
        match (first, second) {
            (Outcome::Done, Outcome::Differs) => won[0] += 1,
            (Outcome::Differs, Outcome::Done) => won[1] += 1,
            both => panic!("one of them gets it: {both:?}"),
        }
    }
    let books = rigs[0].look().await;
    assert_eq!((books.state.next, books.state.out, won[0] + won[1]), (101, 100, 100));
}

pub(crate) async fn a_claim_beyond_the_end_is_refused(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let invented = Position { epoch: Some(Epoch::random()), sequence: 1 };
    let nothing = Claim { from: 1, to: invented, revision: rig.look().await.state.revision };
    rig.refused(with(&Change::default(), nothing), Outcome::Differs).await;
    let end = rig.publish(3).await;
    let change = rig.claim(3, &[1]).await;
    let claim = change.claim.expect("a claim");
    for to in [
        Position { sequence: 4, ..end },
        Position { epoch: Some(Epoch::random()), ..end },
        Position { epoch: None, ..end },
    ] {
        rig.refused(with(&change, Claim { to, ..claim }), Outcome::Differs).await;
    }
    rig.done(change).await;
}

pub(crate) async fn a_claim_under_old_settings_is_refused(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(3).await;
    let change = rig.claim(2, &[1, 2]).await;
    let claim = change.claim.expect("a claim");
    let settings = Bytes::from_static(b"another filter");
    assert_eq!(rig.books.set(&rig.place, claim.revision, &settings).await, Ok(Set::Done));
    rig.refused(change.clone(), Outcome::Differs).await;
    rig.done(with(&change, Claim { revision: claim.revision + 1, ..claim })).await;
    // What claims nothing is of no settings.
    let block = change.blocks[0].clone();
    assert_eq!(rig.blocks(&[block.id]).await, [block.to]);
}

pub(crate) async fn changes_of_a_call_are_carried_out_each_for_itself(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(9).await;
    let first = rig.claim(2, &[1, 2]).await;
    let claim = first.claim.expect("a claim");
    // The second one follows the first; the third is as the first was.
    let next = Claim { from: 3, to: Position { sequence: 5, ..end }, ..claim };
    let second = Change { blocks: rig.block(HOUR_MS, &[4]).into_iter().collect(), ..with(&first, next) };
    let third = Change { blocks: rig.block(HOUR_MS, &[1]).into_iter().collect(), ..first.clone() };
    // All of the fourth is right, but one.
    let right = Claim { from: 6, to: Position { sequence: 6, ..end }, ..claim };
    let wrong = Change {
        blocks: rig.block(HOUR_MS, &[6]).into_iter().chain(first.blocks.clone()).collect(),
        lost: 3,
        ..with(&first, right)
    };
    let lost = Change { lost: 2, ..Change::default() };
    let (state, outcomes) = rig.apply(&[first, second, third.clone(), wrong.clone(), lost]).await;
    let [done, differs] = [Outcome::Done, Outcome::Differs];
    assert_eq!(outcomes, [done, done, differs, differs, done]);
    assert_eq!((state.next, state.out), (6, 3));
    assert_eq!(rig.look().await.lost, 2);
    assert_eq!(rig.blocks(&[third.blocks[0].id, wrong.blocks[0].id]).await, [None, None]);
    assert_eq!(rig.apply(&[]).await.1, []);
}

pub(crate) async fn not_before_its_time(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let now_ms = rig.now_ms().await;
    let lost = |not_before_ms| Change { lost: 1, not_before_ms, ..Change::default() };
    rig.refused(lost(now_ms + HOUR_MS), Outcome::Differs).await;
    rig.done(lost(now_ms)).await;
    let soon = now_ms + 400;
    let mut outcome = rig.one(lost(soon)).await;
    for _ in 0..100 {
        let early = outcome == Outcome::Differs;
        assert!(early || rig.now_ms().await >= soon);
        if !early {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        outcome = rig.one(lost(soon)).await;
    }
    assert_eq!((outcome, rig.look().await.lost), (Outcome::Done, 2));
}

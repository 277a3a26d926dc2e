//! Who uses a subscription, and since when nobody does.

use std::time::Duration;

use tidings::{
    broker::subscriptions::{Look, Set, Unchanged},
    subscription::Token,
};

use super::rig::Rig;
use crate::fixture::Fixture;

pub(crate) async fn a_look_says_when_it_was_used(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let first = rig.look().await;
    assert!(first.create_ms == first.used_ms && first.create_ms <= first.state.now_ms, "{first:?}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(rig.look().await.used_ms, first.used_ms);
    rig.look_with(Look { used: true, ..Look::default() }).await.expect("there are books");
    let used = rig.look().await;
    assert!(used.used_ms >= first.used_ms + 20 && used.create_ms == first.create_ms, "{used:?}");
}

pub(crate) async fn one_that_is_used_meanwhile_is_not_deleted_as_unused(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    let first = rig.look().await;
    let unused = Unchanged { revision: first.state.revision, used_ms: Some(first.used_ms) };
    tokio::time::sleep(Duration::from_millis(20)).await;
    other.look_with(Look { used: true, ..Look::default() }).await.expect("there are books");
    assert_eq!(rig.books.delete(&rig.place, Some(unused)).await, Ok(Set::Differs));
    let used_ms = Some(rig.look().await.used_ms);
    let other_revision = Unchanged { revision: unused.revision + 1, used_ms };
    assert_eq!(rig.books.delete(&rig.place, Some(other_revision)).await, Ok(Set::Differs));
    assert_eq!(rig.books.delete(&rig.place, Some(Unchanged { used_ms, ..unused })).await, Ok(Set::Done));
}

pub(crate) async fn streams_of_all_processes_are_counted(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    let tokens = [1, 0x00ab_cdef_0123_4567, u64::MAX].map(|number| Token::from_u64(number).expect("not 0"));
    let steps =
        [(&rig, 0, 2, 2), (&other, 1, 3, 5), (&other, 2, 1, 6), (&rig, 0, 0, 4), (&rig, 1, 1, 2), (&rig, 0, 0, 2)];
    for (process, token, streams, all) in steps {
        let consumers = Some((tokens[token], streams));
        process.look_with(Look { consumers, ..Look::default() }).await.expect("there are books");
        assert_eq!((rig.look().await.consumers, other.look().await.consumers), (all, all), "{token} has {streams}");
    }
}

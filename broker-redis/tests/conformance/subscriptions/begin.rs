//! How a subscription begins, begins again, and ends.

use std::time::Duration;

use bytes::Bytes;
use tidings::{
    broker::subscriptions::{Applied, Books, Change, Created, Fate, Glance, Look, Set, Start, State, Unchanged},
    limits::CHANNEL_SUBSCRIPTIONS,
    message::Position,
    subscription::Generation,
};

use super::rig::{HOLD, HOUR_MS, Rig, SETTINGS, new, place, subscription};
use crate::fixture::{Fixture, KEEP_ALL, within};

pub(crate) async fn a_subscription_begins_where_it_is_asked_to(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let books = rig.look().await;
    assert_eq!((books.state.next, books.position, books.state.end), (1, Position::START, Position::START));
    assert_eq!((books.state.generation, books.settings), (rig.generation, SETTINGS));
    assert_eq!((books.state.ahead(), books.state.out, books.waiting, books.dead, books.lost), (0, 0, 0, 0, 0));
    assert_eq!((books.oldest, books.state.due_ms), (None, None));
    let end = rig.publish(5).await;
    let books = rig.look().await;
    assert_eq!((books.state.next, books.state.ahead(), books.oldest, books.state.end), (1, 5, Some(1), end));
    let second = Position { sequence: 2, ..end };
    for (name, start, position) in [
        ("end", Start::End, end),
        ("second", Start::After(second), second),
        ("start", Start::After(Position::START), Position::START),
    ] {
        let place = place("orders", name);
        assert_eq!(rig.books.create(&place, &new(rig.generation, start)).await, Ok(Created::Done));
        let look = Look { oldest: true, ..Look::default() };
        let books = rig.books.look(&place, look).await.expect("read").expect("created");
        let next = position.sequence + 1;
        assert_eq!((books.state.next, books.position), (next, position), "{name}");
        assert_eq!((books.state.ahead(), books.oldest), (6 - next as u64, Some(next).filter(|next| *next < 6)));
    }
}

pub(crate) async fn names_are_unique_over_all_channels(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let books = [brokers[0].subscriptions(), brokers[1].subscriptions()];
    let new = || new(Generation::random(), Start::End);
    for (channel, name) in [("orders", "b"), ("invoices", "a"), ("orders", "d"), ("invoices", "c")] {
        assert_eq!(books[0].create(&place(channel, name), &new()).await, Ok(Created::Done));
        for (other, books) in [("orders", &books[0]), ("invoices", &books[1]), ("new", &books[0])] {
            assert_eq!(books.create(&place(other, name), &new()).await, Ok(Created::Exists), "{name} on {other}");
        }
    }
    assert_eq!(books[1].look(&place("orders", "a"), Look::default()).await, Ok(None), "it is of another channel");
    assert!(matches!(books[1].look(&place("invoices", "a"), Look::default()).await, Ok(Some(_))));
    for (name, channel) in [("a", Some("invoices")), ("b", Some("orders")), ("e", None)] {
        let found = books[1].channel_of(&subscription(name)).await.expect("read");
        assert_eq!(found.as_ref().map(|channel| channel.as_str()), channel);
    }
    for (after, limit, expected) in [
        ("", 10, &["a invoices", "b orders", "c invoices", "d orders"][..]),
        ("", 3, &["a invoices", "b orders", "c invoices"]),
        ("b", 2, &["c invoices", "d orders"]),
        ("bb", 1, &["c invoices"]),
        ("d", 10, &[]),
    ] {
        let names = books[1].names(after, limit).await.expect("listed");
        let names: Vec<_> = names.iter().map(|(name, channel)| format!("{name} {channel}")).collect();
        assert_eq!(names, expected, "{limit} after {after:?}");
    }
}

pub(crate) async fn a_channel_has_no_more_subscriptions_than_it_may(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let books = broker.subscriptions();
    let create = async |channel: &str, index: usize| {
        let new = new(Generation::random(), Start::End);
        within(books.create(&place(channel, &format!("s{index}")), &new), "a subscription").await.expect("an answer")
    };
    for index in 0..CHANNEL_SUBSCRIPTIONS {
        assert_eq!(create("orders", index).await, Created::Done);
    }
    let full = Created::Full(CHANNEL_SUBSCRIPTIONS);
    assert_eq!(create("orders", 1_000).await, full);
    assert_eq!(create("orders", 0).await, Created::Exists);
    assert_eq!(create("invoices", 1_000).await, Created::Done, "a refused name is free");
    assert_eq!(books.delete(&place("orders", "s7"), None).await, Ok(Set::Done));
    assert_eq!(create("orders", 1_001).await, Created::Done);
    assert_eq!(create("orders", 1_002).await, full);
}

pub(crate) async fn settings_are_replaced_by_revision(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    let first = rig.look().await.state.revision;
    let settings = Bytes::from_static(b"\0others\xfe");
    assert_eq!(other.books.set(&rig.place, first, &settings).await, Ok(Set::Done));
    let books = rig.look().await;
    assert_eq!((books.state.revision, &books.settings), (first + 1, &settings));
    for revision in [first, first + 2] {
        assert_eq!(rig.books.set(&rig.place, revision, &SETTINGS).await, Ok(Set::Differs));
        assert_eq!(rig.books.delete(&rig.place, Some(Unchanged::settings(revision))).await, Ok(Set::Differs));
    }
    assert_eq!(rig.look().await.settings, settings);
    let missing = place("invoices", "mail");
    assert_eq!(rig.books.set(&missing, first + 1, &SETTINGS).await, Ok(Set::Missing));
    assert_eq!(rig.books.delete(&missing, None).await, Ok(Set::Missing));
    assert_eq!(rig.books.delete(&rig.place, Some(Unchanged::settings(first + 1))).await, Ok(Set::Done));
}

pub(crate) async fn a_seek_ends_all_leases_and_keeps_letters(fixture: &Fixture) {
    let [mut rig, other] = Rig::two(fixture).await;
    let end = rig.publish(9).await;
    rig.retry(2, &[(1, 0), (2, i64::from(u32::MAX) * 1_000)]).await;
    let letters = rig.kill(4, &[3, 4]).await;
    rig.done(Change { lost: 7, ..Change::default() }).await;
    let block = rig.lease(6, &[5, 6]).await;
    let second = Position { sequence: 2, ..end };
    rig.generation = Generation::random();
    assert_eq!(rig.books.seek(&rig.place, Start::After(second), rig.generation, HOLD).await, Ok(true));
    assert_eq!(other.applied(&[Change::default()]).await, Applied::Over(rig.generation));
    assert_eq!(other.due(10).await, []);
    let books = rig.look().await;
    assert_eq!((books.state.generation, books.state.next, books.position), (rig.generation, 3, second));
    assert_eq!((books.state.out, books.waiting, books.state.due_ms, books.oldest), (0, 0, None, Some(3)));
    assert_eq!((books.dead, books.lost, &books.settings), (2, 7, &SETTINGS));
    assert_eq!(rig.blocks(&[block.id]).await, [None]);
    assert_eq!(rig.letters().await, letters);
    // What was out is handed out again.
    rig.lease(9, &[3, 4, 5, 6, 9]).await;
    assert_eq!(rig.look().await.state.out, 5);
    assert_eq!(rig.books.seek(&rig.place, Start::End, Generation::random(), HOLD).await, Ok(true));
    let books = rig.look().await;
    assert_eq!((books.state.next, books.position, books.state.out, books.oldest), (10, end, 0, None));
}

pub(crate) async fn a_deleted_subscription_leaves_nothing(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(9).await;
    rig.retry(2, &[(1, 0), (2, HOUR_MS)]).await;
    let (letter, _) = rig.kill(3, &[3]).await.remove(0);
    let block = rig.lease(5, &[4, 5]).await;
    rig.done(Change { lost: 1, ..Change::default() }).await;
    let epoch = rig.epoch().await;
    assert_eq!(rig.books.delete(&rig.place, None).await, Ok(Set::Done));
    for created in [false, true] {
        if created {
            // Even in the same generation, which nobody uses twice, nothing comes back.
            let new = new(rig.generation, Start::End);
            assert_eq!(rig.books.create(&rig.place, &new).await, Ok(Created::Done));
            let books = rig.look().await;
            assert_eq!((books.state.next, books.state.out, books.waiting, books.dead, books.lost), (10, 0, 0, 0, 0));
        } else {
            assert_eq!(rig.look_with(Look::default()).await, None);
            assert_eq!(rig.books.channel_of(&rig.place.name).await, Ok(None));
            assert_eq!(rig.books.names("", 10).await, Ok(Vec::new()));
            assert_eq!(rig.applied(&[Change::default()]).await, Applied::Missing);
            assert_eq!(rig.books.seek(&rig.place, Start::End, rig.generation, HOLD).await, Ok(false));
            let fates = rig.books.fates(&rig.place, rig.generation, &[(epoch, 6), (epoch, 1)]).await;
            assert_eq!(fates, Ok(vec![Fate::Open; 2]));
        }
        assert_eq!(rig.blocks(&[block.id]).await, [None]);
        assert_eq!((rig.due(10).await, rig.letters().await), (Vec::new(), Vec::new()));
        assert_eq!(rig.outbox(10).await, Vec::new());
        assert_eq!(rig.redrive(std::slice::from_ref(&letter), Duration::ZERO, Duration::ZERO).await, 0);
    }
    assert_eq!(rig.books.delete(&rig.place, None).await, Ok(Set::Done));
    let elsewhere = place("invoices", "mail");
    assert_eq!(rig.books.create(&elsewhere, &new(rig.generation, Start::End)).await, Ok(Created::Done));
}

pub(crate) async fn a_glance_shows_what_a_look_does(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(9).await;
    let same = async || {
        let glance = rig.books.glance(&rig.place);
        let glance = within(glance, "a glance").await.expect("it can be read").expect("there are books");
        let Books { state, waiting, .. } = rig.look().await;
        let State { generation, revision, next, out, .. } = state;
        assert_eq!(glance, Glance { generation, revision, out, next, waiting });
        glance
    };
    let first = same().await;
    rig.retry(3, &[(1, 0)]).await;
    rig.lease(6, &[4, 5]).await;
    let second = same().await;
    assert_eq!((first.next, first.out, first.waiting, second.next, second.out, second.waiting), (1, 0, 0, 7, 2, 1));
    assert_eq!(rig.books.set(&rig.place, second.revision, &SETTINGS).await, Ok(Set::Done));
    assert_eq!(rig.books.seek(&rig.place, Start::End, Generation::random(), HOLD).await, Ok(true));
    let third = same().await;
    assert!(third.revision != second.revision && third.generation != second.generation && third.waiting == 0);
    assert_eq!(rig.books.delete(&rig.place, None).await, Ok(Set::Done));
    assert_eq!(within(rig.books.glance(&rig.place), "a glance").await, Ok(None));
}

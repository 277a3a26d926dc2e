use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use tidings_auth::{Accounts, Quotas};
use tokio::time::advance;
use tonic::Code;

use super::*;
use tidings::limits::ANSWER_PART_BYTES;

const LENGTH: usize = 3 << 20;

fn account() -> Arc<Account> {
    Accounts::new(Quotas::UNLIMITED).of_address([127, 0, 0, 1].into())
}

fn body(length: usize) -> Body {
    Body::new(Full::from(vec![7; length]))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_in_small_parts_and_gives_its_share_back() {
    let (unread, account) = (Unread::default(), account());
    let share = share(Some(Arc::clone(&account)), LENGTH).await.expect("room");
    let mut answer = unread.watched(body(LENGTH / 2), share, Cut::Trailers);
    let mut read = 0;
    while let Some(frame) = answer.frame().await {
        let data = frame.expect("no error").into_data().expect("data");
        assert!(data.len() <= ANSWER_PART_BYTES);
        read += data.len();
        // What it did not need is others'.
        assert_eq!(account.answers().available_permits(), UNREAD_ANSWERS_BYTES - LENGTH / 2);
    }
    assert_eq!(read, LENGTH / 2);
    assert!(answer.is_end_stream());
    drop(answer);
    assert_eq!(account.answers().available_permits(), UNREAD_ANSWERS_BYTES);
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_reads_is_dropped_and_one_that_is_read_slowly_is_not() {
    let (unread, account) = (Unread::default(), account());
    let shares = [share(Some(account.clone()), LENGTH).await, share(Some(account.clone()), LENGTH).await];
    let [stopped, slow] = shares.map(|share| share.expect("room"));
    let (mut stopped, mut slow) =
        (unread.watched(body(LENGTH), stopped, Cut::Trailers), unread.watched(body(LENGTH), slow, Cut::Reset));
    stopped.frame().await.expect("a part").expect("no error");
    let reading = async {
        let began = Instant::now();
        while began.elapsed() < 3 * UNREAD_ANSWER_TIME {
            slow.frame().await.expect("a part").expect("no error");
            sleep(UNREAD_ANSWER_TIME / 2).await;
        }
    };
    tokio::select! {
        () = unread.watch() => unreachable!("it never ends"),
        () = reading => {}
    }
    assert_eq!(account.answers().available_permits(), UNREAD_ANSWERS_BYTES - LENGTH);
    let trailers = stopped.frame().await.expect("an end").expect("no error").into_trailers().expect("trailers");
    assert_eq!(Status::from_header_map(&trailers).expect("a status").code(), Code::ResourceExhausted);
    drop(slow);
    assert_eq!(account.answers().available_permits(), UNREAD_ANSWERS_BYTES);
    // Where a protocol has no trailers, what is cut may not look whole.
    let mut cut = unread.watched(body(LENGTH), None, Cut::Reset);
    cut.frame().await.expect("a part").expect("no error");
    advance(UNREAD_ANSWER_TIME).await;
    unread.look();
    assert_eq!(cut.frame().await.expect("an end").expect_err("reset").code(), Code::ResourceExhausted);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_read_a_byte_at_a_time_has_its_time_as_well() {
    let unread = Unread::default();
    let mut answer = unread.watched(body(LENGTH), None, Cut::Trailers);
    let began = Instant::now();
    loop {
        let frame = answer.frame().await.expect("a frame").expect("no error");
        if frame.is_trailers() {
            break;
        }
        advance(UNREAD_ANSWER_TIME - Duration::from_secs(1)).await;
        unread.look();
    }
    assert!(began.elapsed() >= ANSWER_TIME && began.elapsed() < ANSWER_TIME + UNREAD_ANSWER_TIME);
}

#[tokio::test(start_paused = true)]
async fn what_lies_unread_is_bounded_and_waits_for_no_longer_than_it_may() {
    let account = account();
    let mut held = Vec::new();
    for _ in 0..UNREAD_ANSWERS_BYTES / LENGTH {
        held.push(share(Some(account.clone()), LENGTH).await.expect("room"));
    }
    let began = Instant::now();
    let refused = share(Some(account.clone()), LENGTH).await.expect_err("no room");
    assert_eq!((refused.code(), began.elapsed()), (Code::ResourceExhausted, UNREAD_ANSWERS_WAIT));
    let waits = share(Some(account.clone()), LENGTH);
    let goes = async {
        sleep(UNREAD_ANSWERS_WAIT / 2).await;
        held.pop();
    };
    let (share, ()) = tokio::join!(waits, goes);
    share.expect("room again");
}

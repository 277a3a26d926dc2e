use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tidings::limits::{
    BODIES_BYTES, BODY_WAIT, DECODE_BYTES, OPEN_BODY_BYTES, SLOW_REQUESTS, SMALL_BODY_BYTES, UPLOADS_BYTES,
};
use tidings_auth::{Account, Accounts, Quotas};
use tokio::{
    sync::mpsc,
    time::{advance, timeout},
};
use tonic::Code;

use super::*;

fn frame(length: usize, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(length).expect("small").to_be_bytes(), bytes].concat()
}

/// What comes of a body that comes in parts of a size: its bytes, or the code that it fails with.
fn outcome(bytes: &[u8], size: usize, takes: Takes) -> Result<(), Code> {
    let mut meter = Meter::new(Bodies::of(None), takes, DECODE_BYTES);
    let taken = bytes.chunks(size).try_for_each(|part| meter.take(part));
    taken.and_then(|()| meter.end()).map_err(|status| status.code())
}

#[tokio::test]
async fn a_body_is_recognised_by_its_frames_in_any_parts() {
    use Takes::{Many, One};
    let (one, two) = (frame(2, b"ab"), [frame(0, b""), frame(1, b"a")].concat());
    let compressed = [&[1][..], &frame(1, b"a")[1..]].concat();
    let odd = [&[9][..], &frame(1, b"a")[1..]].concat();
    for (bytes, takes, expected) in [
        (&one[..], One, Ok(())),
        (&one, Many, Ok(())),
        (&two, One, Err(Code::InvalidArgument)),
        (&two, Many, Ok(())),
        (b"", One, Err(Code::InvalidArgument)),
        (b"", Many, Ok(())),
        (&one[..3], Many, Err(Code::InvalidArgument)),
        (&one[..6], Many, Err(Code::InvalidArgument)),
        (&compressed, One, Err(Code::Unimplemented)),
        (&odd, Many, Err(Code::InvalidArgument)),
        (&frame(DECODE_BYTES + 1, b""), Many, Err(Code::ResourceExhausted)),
    ] {
        for size in 1..=bytes.len().max(1) {
            assert_eq!(outcome(bytes, size, takes), expected, "{bytes:?} by {size}, {takes:?}");
        }
    }
}

/// Whatever a stranger sends, it is as many messages as its frames say, or an error.
#[test]
fn any_bytes_are_messages_or_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let seeds = [frame(3, b"abc"), [frame(1, b"a"), frame(0, b"")].concat()];
    tidings_testing::bytes::throw(&seeds, |bytes| {
        let whole = outcome(bytes, bytes.len().max(1), Takes::Many);
        assert_eq!(outcome(bytes, 1, Takes::Many), whole);
        if whole.is_err() {
            assert!(outcome(bytes, 3, Takes::One).is_err());
        }
    });
}

fn account() -> Arc<Account> {
    Accounts::new(Quotas::UNLIMITED).of_address([192, 0, 2, 1].into())
}

#[tokio::test]
async fn a_message_has_no_more_bytes_than_its_method_takes() {
    for (most, length, is_taken) in [
        (OPEN_BODY_BYTES, OPEN_BODY_BYTES, true),
        (OPEN_BODY_BYTES, OPEN_BODY_BYTES + 1, false),
        (2 << 20, 1 << 20, true),
    ] {
        for takes in [Takes::One, Takes::Many] {
            let taken = Meter::new(Bodies::of(None), takes, most).take(&frame(length, b"a"));
            assert_eq!(
                taken.map_err(|status| status.code()),
                if is_taken { Ok(()) } else { Err(Code::ResourceExhausted) }
            );
        }
    }
}

#[tokio::test]
async fn requests_that_do_not_come_at_once_are_counted_for_their_address() {
    let bodies = Bodies::of(Some(account()));
    let meter = || Meter::new(bodies.clone(), Takes::One, DECODE_BYTES);
    let mut slow = Vec::new();
    for _ in 0..SLOW_REQUESTS {
        let mut meter = meter();
        meter.take(&[0]).expect("room");
        slow.push(meter);
    }
    assert_eq!(meter().take(&[0]).expect_err("full").code(), Code::ResourceExhausted);
    meter().take(&[]).expect("one that has not begun is looked at when it is waited for");
    let full = std::future::poll_fn(|context| meter().poll_slow(context)).await;
    assert_eq!(full.code(), Code::ResourceExhausted);
    Meter::new(bodies.clone(), Takes::Many, DECODE_BYTES).take(&[0]).expect("that is a stream");
    // One that is whole counts no longer, and one that is gone neither.
    slow[0].has_come();
    let mut next = meter();
    next.take(&[0]).expect("room");
    slow.pop();
    meter().take(&[0]).expect("room");
}

type Sender = mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

type Parts = Metered<Pin<Box<dyn http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send>>>;

/// A body that is sent part by part.
fn body(bodies: &Bodies, takes: Takes) -> (Sender, Parts) {
    let (send, mut receive) = mpsc::channel(8);
    let parts = futures_util::stream::poll_fn(move |context| receive.poll_recv(context));
    (send, Metered::new(Box::pin(StreamBody::new(parts)), Meter::new(bodies.clone(), takes, DECODE_BYTES)))
}

async fn send(to: &Sender, bytes: Vec<u8>) {
    to.send(Ok(Frame::data(bytes.into()))).await.expect("it reads");
}

fn code<T>(ended: Option<Result<T, Box<dyn std::error::Error + Send + Sync>>>) -> Option<Code> {
    ended.and_then(Result::err).map(|error| error.downcast::<Status>().expect("a status").code())
}

#[tokio::test(start_paused = true)]
async fn a_message_is_read_when_it_has_its_share_which_it_gives_back() {
    let bodies = Bodies::of(None);
    let mut held = Vec::new();
    for _ in 0..BODIES_BYTES / DECODE_BYTES {
        let (to, body) = body(&bodies, Takes::Many);
        let mut body = Box::pin(body);
        send(&to, frame(DECODE_BYTES, b"a")).await;
        body.frame().await.expect("a frame").expect("its share");
        held.push((to, body));
    }
    // There is room for one that is half as long, and then for none.
    let (to, mut half) = body(&bodies, Takes::Many);
    send(&to, frame(DECODE_BYTES / 2, b"a")).await;
    half.frame().await.expect("a frame").expect("its share");
    let (waits, mut waiting) = body(&bodies, Takes::Many);
    send(&waits, frame(DECODE_BYTES, b"a")).await;
    assert!(timeout(BODY_WAIT / 2, waiting.frame()).await.is_err(), "nothing of it is handed out");
    // Small ones do not delay it, nor it them, and calls that end make room.
    let (small, mut other) = body(&bodies, Takes::One);
    send(&small, frame(SMALL_BODY_BYTES, b"a")).await;
    timeout(Duration::from_millis(1), other.frame()).await.expect("at once").expect("a frame").expect("its share");
    held.pop();
    timeout(Duration::from_millis(1), waiting.frame()).await.expect("at once").expect("a frame").expect("its share");
    // A call that waits for too long fails with that reason.
    let (waits, mut waiting) = body(&bodies, Takes::Many);
    send(&waits, frame(DECODE_BYTES, b"a")).await;
    let began = Instant::now();
    assert_eq!(code(waiting.frame().await), Some(Code::ResourceExhausted));
    assert_eq!(began.elapsed().as_secs(), BODY_WAIT.as_secs());
    assert!(waiting.frame().await.is_none(), "it is over");
}

#[tokio::test(start_paused = true)]
async fn a_decoded_message_has_no_share_any_more() {
    let account = account();
    let bodies = Bodies::of(Some(account.clone()));
    let left = || account.uploads().of(100_000).available_permits();
    let (to, mut body) = body(&bodies, Takes::Many);
    send(&to, frame(100_000, b"a")).await;
    body.frame().await.expect("a frame").expect("its share");
    assert_eq!(left(), UPLOADS_BYTES - 100_000);
    send(&to, vec![7; 99_999]).await;
    body.frame().await.expect("a frame").expect("the rest");
    assert_eq!(left(), UPLOADS_BYTES - 100_000, "it is being decoded");
    send(&to, frame(1, b"a")).await;
    body.frame().await.expect("a frame").expect("the next");
    assert_eq!(left(), UPLOADS_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_message_has_a_time_that_counts_while_it_is_waited_for() {
    for first in [vec![0], frame(1_000, b"a"), frame(DECODE_BYTES, b"a")] {
        let (to, mut body) = body(&Bodies::of(None), Takes::Many);
        send(&to, first).await;
        body.frame().await.expect("a frame").expect("a part");
        let began = Instant::now();
        let trickle = tokio::spawn(async move {
            while to.send(Ok(Frame::data(Bytes::from_static(&[0])))).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        let mut ended = None;
        while ended.is_none() {
            ended = code(body.frame().await);
        }
        assert_eq!(ended, Some(Code::DeadlineExceeded));
        assert_eq!(began.elapsed().as_secs(), BODY_TIME.as_secs());
        drop(body);
        trickle.abort();
    }
    // Between messages there is no hurry, and a reader's own pauses are not the sender's.
    let (to, mut body) = body(&Bodies::of(None), Takes::Many);
    send(&to, frame(1, b"a")).await;
    body.frame().await.expect("a frame").expect("a message");
    assert!(timeout(2 * BODY_TIME, body.frame()).await.is_err());
    send(&to, frame(3, b"a")).await;
    body.frame().await.expect("a frame").expect("a part");
    advance(2 * BODY_TIME).await;
    assert!(timeout(BODY_TIME / 2, body.frame()).await.is_err(), "it still has its time");
    send(&to, b"bc".to_vec()).await;
    body.frame().await.expect("a frame").expect("the rest");
}

#[tokio::test]
async fn a_body_that_is_one_message_has_no_more_bytes_than_its_method_takes() {
    for (known, part, is_taken) in [
        (None, OPEN_BODY_BYTES, true),
        (None, OPEN_BODY_BYTES + 1, false),
        (Some(OPEN_BODY_BYTES), 1, true),
        (Some(OPEN_BODY_BYTES + 1), 1, false),
    ] {
        let mut meter = Meter::new(Bodies::of(None), Takes::Whole(known), OPEN_BODY_BYTES);
        let taken = meter.take(&vec![0; part]).and_then(|()| meter.end());
        assert_eq!(taken.map_err(|status| status.code()), if is_taken { Ok(()) } else { Err(Code::ResourceExhausted) });
    }
    // None is an empty message.
    assert!(Meter::new(Bodies::of(None), Takes::Whole(None), OPEN_BODY_BYTES).end().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_one_message_has_a_share_of_what_it_may_become() {
    let account = account();
    let bodies = Bodies::of(Some(account.clone()));
    let left = |bytes| account.uploads().of(bytes).available_permits();
    let all = (left(SMALL_BODY_BYTES), left(DECODE_BYTES));
    for (known, of_small, of_large) in
        [(None, SMALL_BODY_BYTES, DECODE_BYTES), (Some(100_000), 0, 100_000), (Some(SMALL_BODY_BYTES + 1), 0, 16_385)]
    {
        let (to, mut body) = body(&bodies, Takes::Whole(known));
        send(&to, vec![0; 10]).await;
        body.frame().await.expect("a frame").expect("its share");
        let expected = if known.is_some() { (0, of_large) } else { (of_small, 0) };
        assert_eq!((left(SMALL_BODY_BYTES) + expected.0, left(DECODE_BYTES) + expected.1), all, "{known:?}");
        send(&to, vec![0; SMALL_BODY_BYTES]).await;
        body.frame().await.expect("a frame").expect("a larger share");
        drop(to);
        assert!(body.frame().await.is_none());
        // Its operation is still to come.
        assert_eq!((left(SMALL_BODY_BYTES), left(DECODE_BYTES) + of_large), all, "{known:?}");
        drop(body);
        assert_eq!((left(SMALL_BODY_BYTES), left(DECODE_BYTES)), all);
    }
    // A small one that is whole is as one that came at once.
    let (to, mut small) = body(&bodies, Takes::Whole(None));
    send(&to, vec![0; SMALL_BODY_BYTES]).await;
    small.frame().await.expect("a frame").expect("its share");
    assert_eq!(left(SMALL_BODY_BYTES) + SMALL_BODY_BYTES, all.0);
    drop(to);
    assert!(small.frame().await.is_none());
    assert_eq!((left(SMALL_BODY_BYTES), left(DECODE_BYTES)), all);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_one_message_waits_and_ends_as_others_do() {
    let bodies = Bodies::of(None);
    let (_to, mut slow) = body(&bodies, Takes::Whole(None));
    let began = Instant::now();
    assert_eq!(code(slow.frame().await), Some(Code::DeadlineExceeded));
    assert_eq!(began.elapsed().as_secs(), BODY_TIME.as_secs());
    let mut held = Vec::new();
    for _ in 0..BODIES_BYTES / DECODE_BYTES {
        held.push(bodies.clone().share(DECODE_BYTES).await.expect("room"));
    }
    let (to, mut waiting) = body(&bodies, Takes::Whole(None));
    send(&to, vec![0; SMALL_BODY_BYTES + 1]).await;
    assert_eq!(code(waiting.frame().await), Some(Code::ResourceExhausted), "nothing of it is handed out");
    let counted = Bodies::of(Some(account()));
    let meter = || Meter::new(counted.clone(), Takes::Whole(None), DECODE_BYTES);
    let mut incomplete = Vec::new();
    for _ in 0..SLOW_REQUESTS {
        let mut meter = meter();
        meter.take(&[0]).expect("room");
        incomplete.push(meter);
    }
    assert_eq!(meter().take(&[0]).expect_err("full").code(), Code::ResourceExhausted);
    incomplete[0].has_come();
    meter().take(&[0]).expect("room");
}

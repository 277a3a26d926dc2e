use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
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
    let mut meter = Meter::new(Bodies::default(), takes);
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

type Sender = mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

type Parts = Metered<Pin<Box<dyn http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send>>>;

/// A body that is sent part by part.
fn body(bodies: &Bodies, takes: Takes) -> (Sender, Parts) {
    let (send, mut receive) = mpsc::channel(8);
    let parts = futures_util::stream::poll_fn(move |context| receive.poll_recv(context));
    (send, Metered::new(Box::pin(StreamBody::new(parts)), Meter::new(bodies.clone(), takes)))
}

async fn send(to: &Sender, bytes: Vec<u8>) {
    to.send(Ok(Frame::data(bytes.into()))).await.expect("it reads");
}

fn code<T>(ended: Option<Result<T, Box<dyn std::error::Error + Send + Sync>>>) -> Option<Code> {
    ended.and_then(Result::err).map(|error| error.downcast::<Status>().expect("a status").code())
}

#[tokio::test(start_paused = true)]
async fn a_message_is_read_when_it_has_its_share_which_it_gives_back() {
    let bodies = Bodies::default();
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
async fn no_more_wait_than_may() {
    let bodies = Bodies::default();
    let _all = Arc::clone(&bodies.large).try_acquire_many_owned(BODIES_BYTES as u32).expect("idle");
    let mut waiting = Vec::new();
    for _ in 0..WAITING_BODIES {
        let mut share = bodies.clone().share(DECODE_BYTES).boxed();
        assert!(poll_fn(|context| Poll::Ready(share.poll_unpin(context).is_pending())).await);
        waiting.push(share);
    }
    let began = Instant::now();
    assert_eq!(bodies.clone().share(DECODE_BYTES).await.expect_err("no room").code(), Code::ResourceExhausted);
    assert!(began.elapsed().is_zero());
    waiting.pop();
    assert!(timeout(BODY_WAIT / 2, bodies.share(DECODE_BYTES)).await.is_err(), "there is room to wait");
}

#[tokio::test(start_paused = true)]
async fn a_decoded_message_has_no_share_any_more() {
    let bodies = Bodies::default();
    let (to, mut body) = body(&bodies, Takes::Many);
    send(&to, frame(100_000, b"a")).await;
    body.frame().await.expect("a frame").expect("its share");
    assert_eq!(bodies.large.available_permits(), BODIES_BYTES - 100_000);
    send(&to, vec![7; 99_999]).await;
    body.frame().await.expect("a frame").expect("the rest");
    assert_eq!(bodies.large.available_permits(), BODIES_BYTES - 100_000, "it is being decoded");
    send(&to, frame(1, b"a")).await;
    body.frame().await.expect("a frame").expect("the next");
    assert_eq!(bodies.large.available_permits(), BODIES_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_message_has_a_time_that_counts_while_it_is_waited_for() {
    for first in [vec![0], frame(1_000, b"a"), frame(DECODE_BYTES, b"a")] {
        let (to, mut body) = body(&Bodies::default(), Takes::Many);
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
    let (to, mut body) = body(&Bodies::default(), Takes::Many);
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

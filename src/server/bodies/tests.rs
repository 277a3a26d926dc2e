use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::Instant;
use tonic::Code;

use super::*;
use crate::limits::{DECODE_BYTES, UNRESERVED_BYTES};

fn prefix(length: usize) -> Bytes {
    [&[0][..], &(length as u32).to_be_bytes()].concat().into()
}

fn small() -> Bytes {
    [&prefix(3)[..], b"abc"].concat().into()
}

/// A body of these parts, that then ends or goes on for ever.
fn body(
    parts: Vec<Bytes>,
    ends: bool,
    single: bool,
    room: &Room,
    hold: &Hold,
) -> Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>> {
    let parts = stream::iter(parts).map(|part| Ok::<_, BoxError>(Frame::data(part)));
    let inner = match ends {
        true => parts.boxed_local(),
        false => parts.chain(stream::pending()).boxed_local(),
    };
    Box::pin(Bounded::new(StreamBody::new(inner), single, Some(room.clone()), hold.clone()))
}

/// The code with which reading it ends, if it does not end well.
async fn end(mut body: Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>) -> Option<Code> {
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            return Some(error.downcast_ref::<Status>().expect("a status").code());
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn large_messages_share_the_room_and_give_it_back_with_their_call() {
    let room = Room::new();
    let fit = BODIES_BYTES / DECODE_BYTES;
    let holds: Vec<_> = std::iter::repeat_with(Hold::default).take(fit).collect();
    for hold in &holds {
        let mut one = body(vec![prefix(DECODE_BYTES)], false, true, &room, hold);
        one.frame().await.expect("a frame").expect("there is room");
        // The body is gone once it is decoded; the call still counts.
    }
    let hold = Hold::default();
    assert_eq!(end(body(vec![small()], true, true, &room, &hold)).await, None, "small ones are free");
    let began = Instant::now();
    assert_eq!(end(body(vec![prefix(DECODE_BYTES)], false, true, &room, &hold)).await, Some(Code::ResourceExhausted));
    assert_eq!(began.elapsed(), BODIES_WAIT);
    // One that waits comes when another call is over.
    let mut waits = body(vec![prefix(DECODE_BYTES)], false, true, &room, &hold);
    let (frame, ()) = tokio::join!(waits.frame(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(holds);
    });
    frame.expect("a frame").expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn only_some_wait() {
    let room = Room::new();
    let hold = Hold::default();
    hold.put(Some(Arc::clone(&room.0.bytes).try_acquire_many_owned(BODIES_BYTES as u32).expect("nobody has any")));
    let waiting: Vec<_> = (0..BODIES_WAITING).map(|_| room.reserve(1)).collect();
    assert!(waiting.iter().all(|one| matches!(one, Reservation::Waits(_))));
    assert!(matches!(room.reserve(1), Reservation::Refused(_)));
    drop(waiting);
    assert!(matches!(room.reserve(1), Reservation::Waits(_)), "their places are free again");
}

#[tokio::test(start_paused = true)]
async fn what_begins_must_come_whole_in_time() {
    let room = Room::new();
    let large = UNRESERVED_BYTES + 1;
    for (parts, single) in [
        (vec![prefix(large)], true),
        (vec![prefix(3)], false),
        (vec![Bytes::from_static(&[0])], false),
        // A call with one message is whole when the client says that nothing follows.
        (vec![small()], true),
        (vec![small(), prefix(3)], false),
    ] {
        let began = Instant::now();
        let ended = end(body(parts.clone(), false, single, &room, &Hold::default())).await;
        assert_eq!((ended, began.elapsed()), (Some(Code::DeadlineExceeded), BODY_TIMEOUT), "{parts:?}");
    }
    // Between messages a stream may rest.
    let mut rests = body(vec![small()], false, false, &room, &Hold::default());
    rests.frame().await.expect("a frame").expect("whole");
    assert!(timeout(BODY_TIMEOUT * 2, rests.frame()).await.is_err());
}

/// A byte now and then is no excuse.
#[tokio::test(start_paused = true)]
async fn trickling_is_too_slow() {
    let room = Room::new();
    let bytes = stream::unfold(prefix(1 << 20), |mut rest| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let next = if rest.is_empty() { Bytes::from_static(b"a") } else { rest.split_to(1) };
        Some((Ok::<_, BoxError>(Frame::data(next)), rest))
    });
    let inner = StreamBody::new(bytes.boxed_local());
    let began = Instant::now();
    let ended = end(Box::pin(Bounded::new(inner, true, Some(room), Hold::default()))).await;
    assert_eq!(ended, Some(Code::DeadlineExceeded));
    assert!(began.elapsed() <= BODY_TIMEOUT + Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_method_with_one_message_gets_one() {
    let room = Room::new();
    for parts in
        [vec![small(), small()], vec![[small(), small()].concat().into()], vec![small(), Bytes::from_static(&[0])]]
    {
        assert_eq!(end(body(parts, true, true, &room, &Hold::default())).await, Some(Code::InvalidArgument));
    }
    assert_eq!(
        end(body(vec![small(), small()], true, false, &room, &Hold::default())).await,
        None,
        "a stream has more"
    );
}

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tidings::limits::{BACKLOG_BYTES, BACKLOG_TIME, SHORT_READ_BYTES, STREAM_WINDOW_BYTES};
use tidings_auth::{Accounts, Quotas};
use tokio::time::{Instant, advance, timeout};

use super::*;

fn account() -> Arc<Account> {
    Accounts::new(Quotas::UNLIMITED).of_address([192, 0, 2, 1].into())
}

/// Frames that lie there, and no end.
struct Lies(VecDeque<usize>);

impl Body for Lies {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.pop_front() {
            Some(length) => Poll::Ready(Some(Ok(Frame::data(vec![7; length].into())))),
            None => Poll::Pending,
        }
    }
}

/// A connection, and a call of it whose frames come.
struct Connection {
    backlog: Arc<Backlog>,
    room: Room,
}

impl Connection {
    fn of(account: &Arc<Account>) -> Self {
        let backlog = Backlog::of(Some(Arc::clone(account)));
        Self { room: Room::new(Arc::clone(&backlog)), backlog }
    }

    /// Reads frames of these lengths, as if it was not asked.
    fn comes(&mut self, lengths: &[usize]) -> Followed<Lies> {
        lengths.iter().for_each(|length| self.backlog.comes(*length));
        self.room.has_read(false);
        Followed::new(Lies(lengths.iter().copied().collect()), Arc::clone(&self.backlog))
    }

    async fn room(&mut self) -> usize {
        poll_fn(|context| self.room.poll(context)).await.expect("it may go on")
    }

    fn has_room(&mut self) -> bool {
        self.room().now_or_never().is_some()
    }
}

fn left(account: &Account) -> usize {
    account.backlog().available_permits()
}

#[tokio::test]
async fn what_is_unread_counts_until_it_is_read_or_gone() {
    let account = account();
    let mut connection = Connection::of(&account);
    // A little does not, nor what is empty.
    let _small = connection.comes(&[UNCOUNTED_BACKLOG_BYTES - FRAME_COST, 0, 0]);
    assert_eq!(left(&account), BACKLOG_BYTES);
    let mut body = connection.comes(&[1_000; 40]);
    assert_eq!(left(&account), BACKLOG_BYTES - (40 * (1_000 + FRAME_COST)).next_multiple_of(BACKLOG_PART_BYTES));
    for _ in 0..20 {
        body.frame().await.expect("a frame").expect("no error");
    }
    assert_eq!(left(&account), BACKLOG_BYTES - (20 * (1_000 + FRAME_COST)).next_multiple_of(BACKLOG_PART_BYTES));
    drop(body);
    assert_eq!(left(&account), BACKLOG_BYTES);
    // So it is with a connection that goes.
    let body = connection.comes(&[16_000; 4]);
    assert!(left(&account) < BACKLOG_BYTES);
    drop((body, connection));
    drop(_small);
    assert_eq!(left(&account), BACKLOG_BYTES);
}

#[tokio::test]
async fn what_came_for_calls_that_had_ended_is_forgotten_when_none_is_open() {
    let account = account();
    let mut connection = Connection::of(&account);
    let call = connection.comes(&[100]);
    // Behind the end of another call, whose rest nobody reads.
    drop(connection.comes(&[]));
    connection.backlog.comes(60_000);
    connection.room.has_read(false);
    for _ in 0..3 {
        connection.room().await;
        connection.room.has_read(true);
        assert!(left(&account) < BACKLOG_BYTES, "it may be the open call's");
    }
    drop(call);
    // A call that h2 has and that was not handed out yet would be noticed before it finds nothing to read twice.
    connection.backlog.comes(30_000);
    connection.room.has_read(false);
    connection.room().await;
    connection.room.has_read(true);
    let next = Followed::new(Lies([30_000].into()), Arc::clone(&connection.backlog));
    connection.room().await;
    connection.room.has_read(true);
    connection.room().await;
    assert!(left(&account) < BACKLOG_BYTES);
    drop(next);
    assert!(left(&account) < BACKLOG_BYTES);
    connection.room().await;
    connection.room.has_read(true);
    connection.room().await;
    assert_eq!(left(&account), BACKLOG_BYTES);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_not_read_from_while_it_has_too_much_unread() {
    let account = account();
    let mut connections: Vec<_> = (0..8).map(|_| Connection::of(&account)).collect();
    let each = STREAM_WINDOW_BYTES as usize / 16_384;
    let mut bodies = Vec::new();
    let began = (0..10_000).find(|n| {
        let connection = &mut connections[n % 8];
        if !connection.has_room() {
            return true;
        }
        bodies.push(connection.comes(&vec![16_384; each]));
        false
    });
    let came = began.expect("it ends") * STREAM_WINDOW_BYTES as usize;
    assert!((BACKLOG_BYTES - (1 << 20)..=BACKLOG_BYTES + (1 << 20)).contains(&came), "{came}");
    // Whoever has little unread goes on, in small parts; other addresses do not notice.
    let mut small = Connection::of(&account);
    assert_eq!(small.room().await, SHORT_READ_BYTES);
    let _some = small.comes(&[16_384]);
    assert!(small.has_room());
    assert_eq!(
        Connection::of(&Accounts::new(Quotas::UNLIMITED).of_address([192, 0, 2, 2].into())).room().await,
        usize::MAX
    );
    // One that waits goes on when its own calls read, or others'.
    for own in [true, false] {
        let mut waiting = Connection::of(&account);
        let mut body = waiting.comes(&[16_384, 100]);
        assert!(!waiting.has_room());
        let waits = tokio::spawn(async move {
            waiting.room().await;
            waiting
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        if own {
            body.frame().await.expect("a frame").expect("no error");
        } else {
            for _ in 0..32 {
                bodies.pop();
            }
        }
        let _waiting = timeout(Duration::from_millis(1), waits).await.expect("at once").expect("no panic");
    }
    drop((bodies, _some, connections));
    assert_eq!(left(&account), BACKLOG_BYTES);
}

#[tokio::test(start_paused = true)]
async fn who_holds_it_and_reads_nothing_is_closed_where_others_need_it() {
    let account = account();
    let mut connection = Connection::of(&account);
    let mut body = connection.comes(&[16_384; 4]);
    let end = async |connection: &mut Connection, time: Duration| {
        let began = Instant::now();
        while began.elapsed() < time {
            if let Poll::Ready(Err(error)) = poll_fn(|context| Poll::Ready(connection.room.poll(context))).await {
                return Some(error.kind());
            }
            advance(Duration::from_secs(1)).await;
        }
        None
    };
    assert_eq!(end(&mut connection, 3 * BACKLOG_TIME).await, None, "nobody needs it");
    let all = Arc::clone(account.backlog())
        .try_acquire_many_owned((left(&account) - BACKLOG_SHORT_BYTES / 2) as u32)
        .expect("room");
    for _ in 0..2 {
        body.frame().await.expect("a frame").expect("no error");
        assert_eq!(end(&mut connection, BACKLOG_TIME * 3 / 4).await, None, "something is read");
    }
    assert_eq!(end(&mut connection, 2 * BACKLOG_TIME).await, Some(std::io::ErrorKind::TimedOut));
    drop(all);
}

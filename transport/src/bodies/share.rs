//! What a message takes of the bytes that its connection and its address may have under way.

use std::sync::Arc;

use tidings::{
    limits::{
        BODIES_BYTES, BODY_WAIT, DECODE_BYTES, SMALL_BODIES_BYTES, SMALL_BODY_BYTES, SMALL_UPLOADS_BYTES,
        UPLOADS_BYTES, WAITING_BODIES,
    },
    metrics::{self, Limit},
    status,
};
use tidings_auth::{Account, Held, Shares};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};
use tonic::Status;

/// The bytes that the bodies of one connection share, and those that the bodies of its address do. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bodies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Shares,
    /// Where a connection has no address, it is bound alone.
    address: Option<Arc<Account>>,
}

/// A message's share of both, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    _connection: OwnedSemaphorePermit,
    _address: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Those of a new connection from this address.
    pub(crate) fn of(address: Option<Arc<Account>>) -> Self {
        let connection = Shares::new(BODIES_BYTES, SMALL_BODIES_BYTES, WAITING_BODIES);
        Self(Arc::new(Inner { connection, address }))
    }

    fn uploads(&self) -> Option<&Shares> {
        self.0.address.as_ref().map(|address| address.uploads())
    }

    /// Counts a request that does not come at once.
    pub(super) fn count(&self) -> Result<Option<Held>, Status> {
        Ok(self.0.address.as_ref().map(Account::slow_request).transpose()?)
    }

    /// Takes a message's share, in the order in which they are asked for. The connection's comes first, so that what
    /// waits for the address is never more than the connection may have.
    pub(super) async fn share(self, bytes: usize) -> Result<Share, Status> {
        // No message is longer than can be decoded.
        let permits = u32::try_from(bytes).map_err(|_| status::undecodable(DECODE_BYTES))?;
        let connection = self.0.connection.of(bytes);
        let until = Instant::now() + BODY_WAIT;
        let mut waiting = None;
        let _connection = match Arc::clone(connection).try_acquire_many_owned(permits) {
            Ok(share) => share,
            Err(_) => {
                waiting = Some(self.wait(bytes)?);
                // Nobody closes it.
                let share = timeout_at(until, Arc::clone(connection).acquire_many_owned(permits)).await;
                share.ok().and_then(Result::ok).ok_or_else(status::connection_full)?
            }
        };
        let Some(address) = self.uploads().map(|uploads| uploads.of(bytes)) else {
            return Ok(Share { _connection, _address: None });
        };
        if let Ok(share) = Arc::clone(address).try_acquire_many_owned(permits) {
            return Ok(Share { _connection, _address: Some(share) });
        }
        if waiting.is_none() {
            waiting = Some(self.wait(bytes)?);
        }
        let share = timeout_at(until, Arc::clone(address).acquire_many_owned(permits)).await;
        drop(waiting);
        let share = share.ok().and_then(Result::ok).ok_or_else(|| address_full(bytes))?;
        Ok(Share { _connection, _address: Some(share) })
    }

    /// Counts one that waits, until what is returned is dropped: what it has sent meanwhile lies in HTTP/2's windows.
    fn wait(&self, bytes: usize) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), Status> {
        let one = |shares: &Shares| Arc::clone(shares.waiting()).try_acquire_owned();
        let of_connection = one(&self.0.connection).map_err(|_| connection_full())?;
        let of_address = self.uploads().map(one).transpose().map_err(|_| address_full(bytes))?;
        Ok((of_connection, of_address))
    }
}

fn connection_full() -> Status {
    metrics::limited(Limit::ConnectionRequests);
    status::connection_full()
}

fn address_full(bytes: usize) -> Status {
    metrics::limited(Limit::Uploads);
    let most = if bytes <= SMALL_BODY_BYTES { SMALL_UPLOADS_BYTES } else { UPLOADS_BYTES };
    status::caller_limit(Limit::Uploads, most as u64, None)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll, time::Duration};

    use futures_util::{FutureExt as _, future::BoxFuture};
    use tidings::limits::WAITING_UPLOADS;
    use tidings_auth::{Accounts, Quotas};
    use tokio::time::timeout;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    fn account() -> Arc<Account> {
        Accounts::new(Quotas::UNLIMITED).of_address([192, 0, 2, 1].into())
    }

    type Asked = BoxFuture<'static, Result<Share, Status>>;

    /// As many as wait for a share of the largest message.
    async fn waiting(bodies: &Bodies, count: usize) -> Vec<Asked> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut share = bodies.clone().share(DECODE_BYTES).boxed();
            assert!(poll_fn(|context| Poll::Ready(share.poll_unpin(context).is_pending())).await);
            all.push(share);
        }
        all
    }

    fn reason(refused: &Status) -> String {
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
        refused.get_details_error_info().expect("a reason").reason
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let bodies = Bodies::of(None);
        let mut held = Vec::new();
        for _ in 0..BODIES_BYTES / DECODE_BYTES {
            held.push(bodies.clone().share(DECODE_BYTES).await.expect("room"));
        }
        let mut all = waiting(&bodies, WAITING_BODIES).await;
        let began = Instant::now();
        assert_eq!(reason(&bodies.clone().share(DECODE_BYTES).await.expect_err("no room")), "CONNECTION_LIMIT");
        assert!(began.elapsed().is_zero());
        all.pop();
        assert!(timeout(BODY_WAIT / 2, bodies.share(DECODE_BYTES)).await.is_err(), "there is room to wait");
    }

    #[tokio::test(start_paused = true)]
    async fn the_connections_of_an_address_share_what_it_may_have() {
        let (accounts, address) = (Accounts::new(Quotas::UNLIMITED), [192, 0, 2, 1].into());
        let connection = |address| Bodies::of(Some(accounts.of_address(address)));
        let mut held = Vec::new();
        for _ in 0..UPLOADS_BYTES / DECODE_BYTES {
            held.push(connection(address).share(DECODE_BYTES).await.expect("room"));
        }
        // Others of the address wait for as long as on one connection, and get what is given back.
        let began = Instant::now();
        assert_eq!(reason(&connection(address).share(DECODE_BYTES).await.expect_err("no room")), "CALLER_LIMIT");
        assert_eq!(began.elapsed(), BODY_WAIT);
        let mut next = waiting(&connection(address), 1).await.remove(0);
        held.pop();
        held.push(timeout(Duration::from_millis(1), &mut next).await.expect("at once").expect("room"));
        // Small ones, and those of another address, do not wait.
        connection(address).share(SMALL_BODY_BYTES).now_or_never().expect("at once").expect("room");
        connection([192, 0, 2, 2].into()).share(DECODE_BYTES).now_or_never().expect("at once").expect("room");
        // Few wait, on however many connections; others of the address are refused at once.
        let mut all = Vec::new();
        for _ in 0..WAITING_UPLOADS / 8 {
            all.append(&mut waiting(&connection(address), 8).await);
        }
        let refused = connection(address).share(DECODE_BYTES).now_or_never().expect("at once");
        assert_eq!(reason(&refused.expect_err("no room")), "CALLER_LIMIT");
        all.pop();
        all.append(&mut waiting(&connection(address), 1).await);
        // When they are gone, everything is there again.
        drop((held, all));
        let uploads = accounts.of_address(address);
        assert_eq!(uploads.uploads().of(DECODE_BYTES).available_permits(), UPLOADS_BYTES);
        assert_eq!(uploads.uploads().waiting().available_permits(), WAITING_UPLOADS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_wait_is_no_longer_than_one() {
        let account = account();
        let (bodies, others) = (Bodies::of(Some(account.clone())), Bodies::of(Some(account.clone())));
        let mut held = Vec::new();
        for _ in 0..BODIES_BYTES / DECODE_BYTES {
            held.push(bodies.clone().share(DECODE_BYTES).await.expect("room"));
        }
        let left = account.uploads().of(DECODE_BYTES).available_permits();
        let _rest = others.clone().share(left).await.expect("room");
        let began = Instant::now();
        let asked = tokio::spawn(bodies.clone().share(DECODE_BYTES));
        tokio::time::sleep(BODY_WAIT / 2).await;
        // What the connection gives back another one of the address takes.
        held.pop();
        let _other = others.share(DECODE_BYTES).now_or_never().expect("at once").expect("room");
        let refused = asked.await.expect("no panic").expect_err("no room");
        assert_eq!(reason(&refused), "CALLER_LIMIT");
        assert_eq!(began.elapsed(), BODY_WAIT);
    }
}

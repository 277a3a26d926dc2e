//! The addresses of a host's name. All connections to a host share a look-up that is under way: the system's resolver
//! can't be interrupted, so each attempt on its own would leave another thread with a name server that does not answer.
//! A look-up may take longer than an attempt, whose successor then takes the result.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tidings::limits::LOOKUP_AGE;
use tokio::time::Instant;

type Addresses = Result<Vec<SocketAddr>, String>;
type LookUp = Shared<BoxFuture<'static, (Arc<Addresses>, Instant)>>;
/// Asks the system, or what replaces it in tests.
type Ask = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

pub(super) struct Resolver {
    ask: Ask,
    /// The last one, and what it is of: a server has one host at a time.
    under_way: Mutex<Option<(String, u16, LookUp)>>,
}

impl Resolver {
    /// The system's.
    pub(super) fn new() -> Self {
        Self::over(Arc::new(|host, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        }))
    }

    fn over(ask: Ask) -> Self {
        Self { ask, under_way: Mutex::new(None) }
    }

    /// The addresses of a host, at least one; an error says why there are none.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Addresses {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let look_up = self.look_up(host, port);
        let (found, _) = look_up.clone().await;
        // Later callers have another one.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.take_if(|(.., other)| other.ptr_eq(&look_up));
        drop(under_way);
        Arc::unwrap_or_clone(found)
    }

    /// The look-up under way, or one that has ended just now and that nobody has had the result of, or a new one.
    fn look_up(&self, host: &str, port: u16) -> LookUp {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |look_up: &LookUp| {
            // Asks whether it has ended.
            let _ = look_up.clone().now_or_never();
            look_up.peek().is_none_or(|(_, at)| at.elapsed() < LOOKUP_AGE)
        };
        let is_of = |of: &(String, u16, LookUp)| (of.0.as_str(), of.1) == (host, port) && is_current(&of.2);
        if let Some((.., look_up)) = under_way.as_ref().filter(|of| is_of(of)) {
            return look_up.clone();
        }
        let (asked, name) = ((self.ask)(host.to_owned(), port), host.to_owned());
        // A task of its own: it continues when the attempt that began it is cut, and ends with the system's answer.
        let task = tokio::spawn(async move { (asked.await, Instant::now()) });
        let found = async move {
            match task.await {
                Ok((Ok(addresses), at)) if !addresses.is_empty() => (Arc::new(Ok(addresses)), at),
                Ok((Ok(_), at)) => (Arc::new(Err(format!("its name {name} has no address"))), at),
                Ok((Err(error), at)) => (Arc::new(Err(format!("its name {name} can't be resolved: {error}"))), at),
                Err(_) => (Arc::new(Err(format!("its name {name} can't be resolved now"))), Instant::now()),
            }
        };
        under_way.insert((host.to_owned(), port, found.boxed().shared())).2.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::time::{sleep, timeout};

    use super::*;

    /// A resolver whose answers take a time, and how often it was asked.
    fn slow(after: Duration) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let resolver = Resolver::over(Arc::new(move |_, port| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                sleep(after).await;
                Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
            })
        }));
        (resolver, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn connections_share_a_look_up_and_the_next_has_a_new_one() {
        let (resolver, asked) = slow(Duration::from_millis(100));
        let (one, other) = tokio::join!(resolver.addresses("redis.test", 1), resolver.addresses("redis.test", 1));
        assert_eq!((one.expect("found").len(), other.expect("found").len()), (1, 1));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        resolver.addresses("redis.test", 1).await.expect("found");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "a name may lead elsewhere by now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_is_slower_than_an_attempt_serves_the_next_one() {
        let (resolver, asked) = slow(Duration::from_secs(6));
        let attempt = Duration::from_millis(2_500);
        for _ in 0..2 {
            assert!(timeout(attempt, resolver.addresses("redis.test", 1)).await.is_err());
        }
        sleep(Duration::from_secs(2)).await;
        let found = timeout(Duration::from_millis(1), resolver.addresses("redis.test", 1)).await;
        found.expect("it is there").expect("found");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // What nobody fetched for long is not believed.
        assert!(timeout(attempt, resolver.addresses("redis.test", 1)).await.is_err());
        sleep(Duration::from_secs(6) + LOOKUP_AGE).await;
        assert!(timeout(attempt, resolver.addresses("redis.test", 1)).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn another_host_has_a_look_up_of_its_own() {
        let resolver = Resolver::over(Arc::new(|host, port| {
            Box::pin(async move {
                sleep(Duration::from_millis(100)).await;
                let last = if host == "new.test" { 2 } else { 1 };
                Ok(vec![SocketAddr::from(([10, 0, 0, last], port))])
            })
        }));
        let (old, new) = tokio::join!(resolver.addresses("old.test", 1), resolver.addresses("new.test", 1));
        assert_eq!(old, Ok(vec![SocketAddr::from(([10, 0, 0, 1], 1))]));
        assert_eq!(new, Ok(vec![SocketAddr::from(([10, 0, 0, 2], 1))]));
    }

    #[tokio::test]
    async fn addresses_are_not_looked_up_and_names_without_one_are_named() {
        let resolver = Resolver::over(Arc::new(|_, _| Box::pin(async { Ok(Vec::new()) })));
        assert_eq!(resolver.addresses("::1", 6379).await, Ok(vec!["[::1]:6379".parse().expect("an address")]));
        assert_eq!(resolver.addresses("redis.test", 1).await, Err("its name redis.test has no address".to_owned()));
        let error = Resolver::new().addresses("no-such-host.invalid", 1).await.expect_err("reserved (RFC 6761)");
        assert!(error.starts_with("its name no-such-host.invalid can't be resolved: "), "{error}");
    }
}

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, future::join_all};
use tidings::channel::Names;
use tokio::sync::Semaphore;

use super::*;

const LIMIT: PageLimit = PageLimit { messages: 10, bytes: 1 << 20 };

fn channel() -> ChannelName {
    Names::new("tidings", "").expect("names").parse("c").expect("a name")
}

/// Reads that end when they are let.
struct Slow {
    reads: Arc<Reads>,
    begun: Arc<AtomicUsize>,
    ends: Arc<Semaphore>,
}

impl Slow {
    /// `outcome` is what each read gives, by number from 1.
    fn new(outcome: impl Fn(usize) -> Result<Page, Error> + Send + Sync + 'static) -> Self {
        let (begun, ends, outcome) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)), Arc::new(outcome));
        let reads = Reads::new({
            let (begun, ends) = (Arc::clone(&begun), Arc::clone(&ends));
            move |_, _| {
                let (number, ends, outcome) =
                    (begun.fetch_add(1, Ordering::Relaxed) + 1, Arc::clone(&ends), Arc::clone(&outcome));
                async move {
                    ends.acquire().await.expect("it is not closed").forget();
                    outcome(number)
                }
                .boxed()
            }
        });
        Self { reads, begun, ends }
    }

    fn join(&self, after: i64) -> impl Future<Output = Answer> + use<> {
        let reads = Arc::clone(&self.reads);
        async move { reads.join(&channel(), after, LIMIT).await }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    async fn until_free(&self) {
        while !self.reads.table().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_thousand_wait_for_two_reads_however_slow_they_are() {
    let slow = Slow::new(|_| Ok(Page::default()));
    let first = tokio::spawn(slow.join(0));
    settle().await;
    let others = tokio::spawn(join_all((0..1_000).map(|_| slow.join(0))));
    settle().await;
    assert_eq!(slow.begun(), 1);
    slow.ends.add_permits(1);
    let first = first.await.expect("no panic").expect("read");
    settle().await;
    assert_eq!(slow.begun(), 2, "what was read before they came tells the others nothing");
    assert!(!others.is_finished());
    slow.ends.add_permits(1);
    let others: Vec<_> = others.await.expect("no panic").into_iter().map(|answer| answer.expect("read")).collect();
    assert!(others.iter().all(|page| Arc::ptr_eq(page, &others[0]) && !Arc::ptr_eq(page, &first)));
    assert_eq!(slow.begun(), 2);
    slow.until_free().await;
}

#[tokio::test]
async fn pages_are_read_apart() {
    let slow = Slow::new(|_| Ok(Page::default()));
    let waiting = [tokio::spawn(slow.join(0)), tokio::spawn(slow.join(1))];
    settle().await;
    assert_eq!(slow.begun(), 2);
    slow.ends.add_permits(2);
    for waits in waiting {
        waits.await.expect("no panic").expect("read");
    }
}

#[tokio::test]
async fn who_is_not_polled_holds_up_nobody() {
    let slow = Slow::new(|_| Ok(Page::default()));
    let mut stuck = Box::pin(slow.join(0));
    assert!(stuck.as_mut().now_or_never().is_none(), "it begins a read, and is left alone");
    let next = tokio::spawn(slow.join(0));
    slow.ends.add_permits(2);
    next.await.expect("no panic").expect("read");
    slow.until_free().await;
    stuck.await.expect("it has its answer still");
}

#[tokio::test]
async fn a_failure_is_everybodys_and_the_next_read_begins_anew() {
    let slow = Slow::new(|number| match number {
        1 => Err(Error::Unavailable("away".to_owned())),
        _ => Ok(Page::default()),
    });
    slow.ends.add_permits(1);
    assert_eq!(slow.join(0).await.map(|_| ()), Err(Error::Unavailable("away".to_owned())));
    slow.until_free().await;
    slow.ends.add_permits(1);
    slow.join(0).await.expect("read");
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_is_left() {
    let slow = Slow::new(|_| Ok(Page::default()));
    assert!(slow.join(0).now_or_never().is_none());
    slow.until_free().await;
    assert_eq!(slow.ends.available_permits(), 0, "it never ended");
    // One that comes before it is cleared away begins another.
    assert!(slow.join(0).now_or_never().is_none());
    let late = tokio::spawn(slow.join(0));
    settle().await;
    slow.ends.add_permits(1);
    late.await.expect("no panic").expect("read");
}

#[tokio::test]
async fn a_read_that_panics_does_not_block_the_next() {
    let slow = Slow::new(|number| {
        assert_ne!(number, 1, "a planned panic");
        Ok(Page::default())
    });
    slow.ends.add_permits(2);
    assert!(matches!(slow.join(0).await, Err(Error::Internal(_))));
    slow.until_free().await;
    slow.join(0).await.expect("read");
}

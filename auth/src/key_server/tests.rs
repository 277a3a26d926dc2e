use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::{advance, sleep};

use super::*;
use crate::SigningKey;

/// A server that gives what it is told to, and counts.
#[derive(Debug, Default)]
struct Scripted {
    answer: Mutex<Option<Answer>>,
    asked: AtomicUsize,
    at_once: AtomicUsize,
}

#[derive(Debug, Clone)]
enum Answer {
    Body(String),
    Away,
    Never,
}

impl Scripted {
    /// What it answers from now on.
    fn then(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = Some(answer);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl FetchKeys for Scripted {
    fn url(&self) -> String {
        "https://keys.example/jwks".to_owned()
    }

    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + '_>> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            assert_eq!(self.at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            let answer = self.answer.lock().expect("no panic").clone();
            let answer = match answer {
                Some(Answer::Never) => {
                    self.at_once.store(0, Ordering::SeqCst);
                    std::future::pending().await
                }
                Some(Answer::Body(body)) => Ok(body.into_bytes()),
                Some(Answer::Away) | None => Err("it refuses connections".into()),
            };
            self.at_once.store(0, Ordering::SeqCst);
            answer
        })
    }
}

/// A server with what asks it, and what came of that: `None` for nothing yet, the number of keys otherwise.
struct Running {
    scripted: Arc<Scripted>,
    server: Arc<KeyServer>,
    in_force: watch::Receiver<Option<Result<(), String>>>,
    stop: tokio_util::sync::DropGuard,
}

fn start(first: Answer) -> Running {
    let scripted = Arc::new(Scripted::default());
    scripted.then(first);
    let server = Arc::new(KeyServer::new(scripted.clone()));
    let (note, in_force) = watch::channel(None);
    let stop = CancellationToken::new();
    // Both services of one process do so.
    for _ in 0..2 {
        let (server, stop, note) = (server.clone(), stop.clone(), note.clone());
        tokio::spawn(async move {
            server
                .keep_current(stop, |fetched| match fetched {
                    Fetched::Same => {}
                    Fetched::New(_) => drop(note.send_replace(Some(Ok(())))),
                    Fetched::Nothing(lack) => drop(note.send_replace(Some(Err(lack)))),
                })
                .await;
        });
    }
    Running { scripted, server, in_force, stop: stop.drop_guard() }
}

fn key_set() -> Answer {
    Answer::Body(SigningKey::generate().expect("a key").1)
}

async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn without_keys_it_is_asked_soon_again_and_then_regularly() {
    let running = start(Answer::Away);
    settle().await;
    let lack = running.in_force.borrow().clone().expect("an answer").expect_err("no keys");
    let expected = "no keys to check tokens with: https://keys.example/jwks: it can't be asked: it refuses connections";
    assert_eq!(lack, expected);
    sleep(Duration::from_secs(20)).await;
    // At 0, 1, 3, 7 and 15 s.
    assert_eq!(running.scripted.asked(), 5);
    running.scripted.then(key_set());
    sleep(Duration::from_secs(31)).await;
    assert_eq!(*running.in_force.borrow(), Some(Ok(())), "it has recovered by itself");
    let asked = running.scripted.asked();
    sleep(JWKS_INTERVAL * 10).await;
    assert!((9..=11).contains(&(running.scripted.asked() - asked)), "{asked} {}", running.scripted.asked());
    drop(running.stop);
}

#[tokio::test(start_paused = true)]
async fn an_outage_keeps_the_keys_for_a_day() {
    let mut running = start(key_set());
    settle().await;
    assert_eq!(*running.in_force.borrow_and_update(), Some(Ok(())));
    running.scripted.then(Answer::Away);
    sleep(JWKS_OUTAGE - JWKS_INTERVAL).await;
    assert!(!running.in_force.has_changed().expect("open"), "they stay");
    let asked = running.scripted.asked();
    assert!(asked as u64 <= JWKS_OUTAGE.as_secs() / JWKS_PAUSE.as_secs() + 2, "{asked}");
    sleep(2 * JWKS_INTERVAL).await;
    running.in_force.borrow_and_update().clone().expect("an answer").expect_err("no keys any more");
    running.scripted.then(key_set());
    sleep(2 * JWKS_PAUSE).await;
    assert_eq!(*running.in_force.borrow(), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_have_it_asked_once_in_half_a_minute_and_never_at_once() {
    let running = start(key_set());
    settle().await;
    assert_eq!(running.scripted.asked(), 1);
    // Just asked: there is nothing to wait for.
    assert!(running.server.ask().is_none());
    sleep(JWKS_PAUSE).await;
    for seconds in 0..120 {
        let waiting: Vec<_> = (0..50).filter_map(|_| running.server.ask()).collect();
        assert_eq!(waiting.is_empty(), seconds % 30 != 0, "{seconds}");
        for waiting in waiting {
            waiting.await;
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(running.scripted.asked(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_holds_nobody_for_long() {
    let running = start(key_set());
    settle().await;
    running.scripted.then(Answer::Never);
    sleep(JWKS_PAUSE).await;
    let began = Instant::now();
    running.server.ask().expect("it may be asked").await;
    assert!(began.elapsed() >= JWKS_TIMEOUT && began.elapsed() < JWKS_TIMEOUT + Duration::from_secs(1));
    assert_eq!(*running.in_force.borrow(), Some(Ok(())), "the previous keys stay");
    // Whoever comes while it is asked waits for the same answer.
    sleep(JWKS_PAUSE).await;
    let (one, two) = (running.server.ask(), running.server.ask());
    assert!(one.is_some() && two.is_some());
}

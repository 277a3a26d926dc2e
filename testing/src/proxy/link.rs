//! One link: a client's socket, the server's, and what happens to the bytes between them.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Direction, Flow, How, Links, frames::Frames};

/// One read, and how many may wait to be passed on, in each direction.
const READ: usize = 64 << 10;
const QUEUE: usize = 64;
/// The commands by which a client subscribes, as it sends them; in whatever case. Their names alone are also in what
/// asks for a user's rights.
const SUBSCRIBE: [&[u8]; 2] = [b"$9\r\nSUBSCRIBE\r\n", b"$10\r\nPSUBSCRIBE\r\n"];
/// The longest of them.
const LONGEST: usize = SUBSCRIBE[1].len();

pub(super) struct Link {
    has_subscribed: AtomicBool,
    dropped: AtomicU64,
    /// When something was last sent, by either side.
    used: Mutex<Instant>,
    to_server: watch::Sender<Flow>,
    to_client: watch::Sender<Flow>,
    cut: watch::Sender<Option<How>>,
}

impl Link {
    pub(super) fn new(to_server: Flow, to_client: Flow) -> Self {
        Self {
            has_subscribed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            used: Mutex::new(Instant::now()),
            to_server: watch::Sender::new(to_server),
            to_client: watch::Sender::new(to_client),
            cut: watch::Sender::new(None),
        }
    }

    pub(super) fn is_one_of(&self, links: Links) -> bool {
        match links {
            Links::All => true,
            Links::PubSub => self.has_subscribed.load(Ordering::Relaxed),
            Links::Commands => !self.has_subscribed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn bend(&self, direction: Direction, flow: Flow) {
        self.flow(direction).send_replace(flow);
    }

    pub(super) fn cut(&self, how: How) {
        self.cut.send_replace(Some(how));
    }

    fn flow(&self, direction: Direction) -> &watch::Sender<Flow> {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    /// Carries bytes until one side ends the link, or it is cut.
    pub(super) async fn carry(&self, mut client: TcpStream, mut server: TcpStream) {
        for socket in [&client, &server] {
            // Without it small pieces would wait for each other; a socket that is closed already ends below.
            let _ = socket.set_nodelay(true);
        }
        let mut cut = self.cut.subscribe();
        let how = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            tokio::select! {
                _ = self.pump(Direction::ToServer, from_client, to_server) => How::Close,
                _ = self.pump(Direction::ToClient, from_server, to_client) => How::Close,
                how = cut.wait_for(Option::is_some) => how.ok().and_then(|how| *how).unwrap_or(How::Close),
            }
        };
        if how == How::Reset {
            for socket in [&client, &server] {
                let _ = socket.set_zero_linger();
            }
        }
    }

    async fn pump(&self, direction: Direction, from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE);
        let writing = async {
            while let Some((due, bytes)) = queued.recv().await {
                sleep_until(due).await;
                to.write_all(&bytes).await?;
            }
            Ok(())
        };
        tokio::try_join!(self.read(direction, from, queue), writing).map(|_| ())
    }

    async fn read(
        &self,
        direction: Direction,
        mut from: ReadHalf<'_>,
        queue: mpsc::Sender<(Instant, Vec<u8>)>,
    ) -> io::Result<()> {
        let mut flow = self.flow(direction).subscribe();
        let (mut buffer, mut frames, mut end) = (vec![0; READ], Frames::new(), Vec::new());
        loop {
            if *flow.borrow_and_update() == Flow::Hold {
                // The sender lives as long as the link.
                let _ = flow.changed().await;
                continue;
            }
            let read = tokio::select! {
                read = from.read(&mut buffer) => read?,
                _ = flow.changed() => continue,
            };
            if read == 0 {
                return Ok(());
            }
            let bytes = &buffer[..read];
            self.use_now();
            let flow = *flow.borrow();
            if direction == Direction::ToServer {
                self.listen(bytes, &mut end);
            }
            // The frames' borders must be known whenever muting begins.
            let passed = match direction {
                Direction::ToClient => frames.pass(bytes, flow == Flow::Mute),
                Direction::ToServer => bytes.to_vec(),
            };
            let passed = if flow == Flow::Swallow { Vec::new() } else { passed };
            self.dropped.fetch_add(read.saturating_sub(passed.len()) as u64, Ordering::Relaxed);
            let delay = if let Flow::Delay(delay) = flow { delay } else { Duration::ZERO };
            if !passed.is_empty() && queue.send((Instant::now() + delay, passed)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Notices that something was sent, and how long nothing was before.
    fn use_now(&self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = std::mem::replace(&mut *used, Instant::now()).elapsed();
        for flow in [&self.to_server, &self.to_client] {
            flow.send_if_modified(|flow| {
                let is_forgotten = matches!(*flow, Flow::Forget(after) if idle >= after);
                if is_forgotten {
                    *flow = Flow::Swallow;
                }
                is_forgotten
            });
        }
    }

    /// Notices the first subscription. `end` is the end of what was received before.
    fn listen(&self, bytes: &[u8], end: &mut Vec<u8>) {
        if self.has_subscribed.load(Ordering::Relaxed) {
            return;
        }
        end.extend_from_slice(bytes);
        let is_sent = |command: &[u8]| end.windows(command.len()).any(|window| window.eq_ignore_ascii_case(command));
        if SUBSCRIBE.into_iter().any(is_sent) {
            self.has_subscribed.store(true, Ordering::Relaxed);
        }
        end.drain(..end.len().saturating_sub(LONGEST - 1));
    }
}

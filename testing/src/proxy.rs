//! A TCP proxy in front of a [`RedisServer`], which a test directs: it delays, cuts, holds, swallows and mutes what
//! goes through it, refuses connections, and leads new ones to another server.
//!
//! It owns its tasks: dropping it ends them and all links. It looks into the bytes for two things only: whether a link
//! has subscribed to anything, and where a pushed message begins and ends.

mod frames;
mod link;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use self::link::Link;
use crate::{RedisServer, free_port};

/// Links that may be open at a time; further ones wait in the listener's backlog.
const LINKS: usize = 1_024;

/// Which links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// All.
    All,
    /// Those that have sent SUBSCRIBE or PSUBSCRIBE.
    PubSub,
    /// Those that have not.
    Commands,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They are passed on.
    Pass,
    /// They are passed on later. Throughput stays the same up to 4 MiB on the way.
    Delay(Duration),
    /// They are read and thrown away; the link stays up.
    Swallow,
    /// They are passed on until the link was idle, both ways, for so long: then as [`Swallow`](Self::Swallow), without
    /// a word, as a firewall does that has forgotten it.
    Forget(Duration),
    /// Pushed messages (of RESP3) on their way to the client are thrown away, as if the server had not sent them; all
    /// else passes.
    Mute,
    /// They are not read; the sender's buffers fill up.
    Hold,
}

/// How a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// RST to both sides: what is on its way is lost.
    Reset,
    /// FIN to both sides.
    Close,
}

/// A proxy on a loopback port of its own.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    target: watch::Sender<SocketAddr>,
    /// What is asked for, and what is so.
    refuse: watch::Sender<bool>,
    refuses: watch::Sender<bool>,
    /// For new links: to the server, to the client.
    flows: Mutex<[Flow; 2]>,
    links: Mutex<Vec<Arc<Link>>>,
    accepted: AtomicU64,
    /// Bytes of links that have ended.
    dropped: AtomicU64,
}

impl Proxy {
    /// Starts one that leads to this server, which need not run yet.
    pub async fn to(server: &RedisServer) -> Self {
        let port = free_port();
        let listener = listen(port).await;
        let shared = Arc::new(Shared {
            target: watch::Sender::new(address(server.port())),
            refuse: watch::Sender::new(false),
            refuses: watch::Sender::new(false),
            flows: Mutex::new([Flow::Pass; 2]),
            links: Mutex::default(),
            accepted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(Arc::clone(&shared), listener, port));
        Self { port, shared, task }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Leads new links to another server; those that are open stay where they are.
    pub fn retarget(&self, server: &RedisServer) {
        self.shared.target.send_replace(address(server.port()));
    }

    /// From now on these links, as far as they are open, do this.
    pub fn bend(&self, links: Links, direction: Direction, flow: Flow) {
        self.shared.each(links, |link| link.bend(direction, flow));
    }

    /// Links that are opened from now on do this.
    pub fn bend_new(&self, direction: Direction, flow: Flow) {
        let mut flows = self.shared.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows[usize::from(direction == Direction::ToClient)] = flow;
    }

    /// Cuts links; answers how many.
    pub fn cut(&self, links: Links, how: How) -> usize {
        self.shared.each(links, |link| link.cut(how))
    }

    /// Refuses connections, or takes them again; those that are open stay.
    pub async fn refuse(&self, refuse: bool) {
        self.shared.refuse.send_replace(refuse);
        let mut refuses = self.shared.refuses.subscribe();
        refuses.wait_for(|refuses| *refuses == refuse).await.expect("the proxy lives");
    }

    /// How many links are open.
    pub fn links(&self, links: Links) -> usize {
        self.shared.each(links, |_| {})
    }

    /// How many links there have been.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes were thrown away.
    pub fn dropped(&self) -> u64 {
        let links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.dropped.load(Ordering::Relaxed) + links.iter().map(|link| link.dropped()).sum::<u64>()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The links' tasks are in a set of this one, and end with it.
        self.task.abort();
    }
}

impl Shared {
    fn each(&self, links: Links, act: impl Fn(&Link)) -> usize {
        let all = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|link| link.is_one_of(links)).map(|link| act(link)).count()
    }

    async fn serve(self: Arc<Self>, client: TcpStream) {
        let target = *self.target.borrow();
        let Ok(server) = TcpStream::connect(target).await else {
            // As the server that is away would have done.
            let _ = client.set_zero_linger();
            return;
        };
        let link = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let [to_server, to_client] = *self.flows.lock().unwrap_or_else(PoisonError::into_inner);
            links.push(Arc::new(Link::new(to_server, to_client)));
            Arc::clone(&links[links.len() - 1])
        };
        link.carry(client, server).await;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|other| !Arc::ptr_eq(other, &link));
        self.dropped.fetch_add(link.dropped(), Ordering::Relaxed);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, port: u16) {
    let mut refuse = shared.refuse.subscribe();
    let mut links = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = next, if links.len() < LINKS => {
                // A client that is gone already is no link.
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                links.spawn(Arc::clone(&shared).serve(client));
            }
            Some(_) = links.join_next() => {}
            _ = refuse.changed() => {
                let refuses = *refuse.borrow_and_update();
                if refuses {
                    listener = None;
                } else if listener.is_none() {
                    listener = Some(listen(port).await);
                }
                shared.refuses.send_replace(refuses);
            }
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind(address(port)).await.expect("a port that is free")
}

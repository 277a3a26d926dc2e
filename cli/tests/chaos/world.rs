//! What is troubled: one or two Redis servers, the services, and a proxy between each service and Redis.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tidings_testing::{DURABLE, How, Links, RedisServer, Snapshot};
use tokio::task::block_in_place;

use crate::{
    board::{Board, NOBODY, Slot},
    history::{At, Fault},
    nature::Nature,
    service::{Kind, Recipe, Service},
    wire::Wire,
};

/// Servers, services and what is between them.
pub(crate) struct World {
    pub(crate) board: Arc<Board>,
    nodes: Vec<RedisServer>,
    primary: usize,
    /// Of the publishers, then of the subscribers.
    pub(crate) links: Vec<Arc<Wire>>,
    recipes: Vec<Recipe>,
    services: Vec<Option<Service>>,
    next_instance: usize,
    pub(crate) snapshot: Option<(At, Snapshot)>,
}

impl World {
    /// Starts all of it.
    pub(crate) async fn start(board: Arc<Board>, nature: &Nature) -> Self {
        let nodes = block_in_place(|| {
            let nodes: Vec<_> = (0..=usize::from(nature.replica)).map(|_| RedisServer::start_with(&DURABLE)).collect();
            if let [primary, replica] = &nodes[..] {
                replica.follow(primary);
            }
            nodes
        });
        board.primary.store(nodes[0].port(), Ordering::SeqCst);
        let slots = board.publishers.iter().map(|slot| (Kind::Publisher, slot));
        let slots = slots.chain(board.subscribers.iter().map(|slot| (Kind::Subscriber, slot)));
        let (mut links, mut recipes, mut services) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, slot) in slots {
            let link = Arc::new(Wire::to(&nodes[0]).await);
            let mut args = nature.args();
            args.push(format!("--redis-url={}", link.url()));
            let recipe = Recipe { kind, address: slot.address, args };
            services.push(Some(Service::start(&recipe).await));
            recipes.push(recipe);
            links.push(link);
        }
        let next_instance = links.len() + 1;
        Self { board, nodes, primary: 0, links, recipes, services, next_instance, snapshot: None }
    }

    pub(crate) fn primary(&mut self) -> &mut RedisServer {
        &mut self.nodes[self.primary]
    }

    /// Has the replica, once it is in sync again, and its primary.
    pub(crate) fn pair(&self) -> (&RedisServer, &RedisServer) {
        (&self.nodes[self.primary], &self.nodes[1 - self.primary])
    }

    /// Makes the old primary a replica of the new one, starting it where it has crashed.
    pub(crate) fn demote_old(&mut self, crashed: bool) {
        let old = 1 - self.primary;
        if crashed {
            self.nodes[old].run();
        }
        self.nodes[old].follow(&self.nodes[self.primary]);
    }

    /// From now on the other node is the primary; links that are open may stay where they are.
    pub(crate) fn switch(&mut self, cut: bool) {
        self.primary = 1 - self.primary;
        let primary = &self.nodes[self.primary];
        self.board.primary.store(primary.port(), Ordering::SeqCst);
        for link in &self.links {
            link.retarget(primary);
            if cut {
                link.cut(Links::All, How::Reset);
            }
        }
    }

    fn slot(&self, service: usize) -> &Slot {
        let publishers = self.board.publishers.len();
        match service.checked_sub(publishers) {
            None => &self.board.publishers[service],
            Some(subscriber) => &self.board.subscribers[subscriber],
        }
    }

    /// Ends a service and starts another instead. The fault says whose streams it ends.
    pub(crate) async fn replace(&mut self, service: usize, gently: bool, pause: Duration) -> Fault {
        let began = self.board.now();
        let old = self.slot(service).instance();
        self.slot(service).set_instance(NOBODY);
        // ReportedLoss at once, since streams end before the next one listens.
        let kind = self.recipes[service].kind;
        let what = format!("{kind:?} {old} {}", if gently { "stops" } else { "crashes" });
        let ends_streams_of = (kind == Kind::Subscriber).then_some(old);
        if let Some(running) = self.services[service].take() {
            if gently {
                if let Err(text) = running.stop().await {
                    self.board.trouble(format!("{what}: {text}"));
                }
            } else {
                drop(running);
            }
        }
        tokio::time::sleep(pause).await;
        self.services[service] = Some(Service::start(&self.recipes[service]).await);
        self.slot(service).set_instance(self.next_instance);
        self.next_instance += 1;
        Fault { what, began, ended: self.board.now(), ends_streams_of, ..Fault::default() }
    }

    /// Has a service do nothing for so long.
    pub(crate) async fn freeze(&mut self, service: usize, time: Duration) -> Fault {
        let (kind, instance) = (self.recipes[service].kind, self.slot(service).instance());
        if let Some(running) = &self.services[service] {
            running.freeze(time);
        }
        tokio::time::sleep(time).await;
        Fault { what: format!("{kind:?} {instance} was stopped for {time:?}"), ..Fault::default() }
    }

    /// Stops everything in good order.
    pub(crate) async fn stop(mut self) {
        for service in self.services.drain(..).flatten() {
            if let Err(text) = service.stop().await {
                self.board.trouble(format!("at the end: {text}"));
            }
        }
        block_in_place(|| self.nodes.clear());
    }
}

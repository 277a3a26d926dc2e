//! The links between one service and Redis. What was swallowed stays swallowed: a link that lost bytes is never let go
//! on, for TCP does not lose bytes in the middle, and what Redis or a service made of the rest would be nobody's fault.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_testing::{Direction, Flow, How, Links, Proxy, RedisServer};

/// A proxy whose links may be troubled by several faults at once.
pub(crate) struct Wire {
    proxy: Proxy,
    /// Some links may have lost bytes.
    swallows: Mutex<bool>,
}

impl Wire {
    pub(crate) async fn to(server: &RedisServer) -> Self {
        Self { proxy: Proxy::to(server).await, swallows: Mutex::new(false) }
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    pub(crate) fn retarget(&self, server: &RedisServer) {
        self.proxy.retarget(server);
    }

    pub(crate) async fn refuse(&self, refuse: bool) {
        self.proxy.refuse(refuse).await;
    }

    pub(crate) fn cut(&self, links: Links, how: How) {
        self.proxy.cut(links, how);
    }

    /// Bends the links that are open; where some have lost bytes, all are cut instead.
    pub(crate) fn bend(&self, links: Links, directions: &[Direction], flow: Flow) {
        let mut swallows = self.lock();
        if *swallows && flow != Flow::Swallow {
            *swallows = false;
            return self.cut(Links::All, How::Reset);
        }
        *swallows = flow == Flow::Swallow;
        for direction in directions {
            self.proxy.bend(links, *direction, flow);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.swallows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

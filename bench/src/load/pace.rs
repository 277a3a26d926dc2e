//! Keeps a publisher from running ahead of the slowest reader by more than a window, so that a measurement shows what
//! can be sustained and not how a flood is caught up with. All on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::sync::Notify;

/// How far each reader is.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    read: RefCell<Vec<u64>>,
    /// What the publisher waits for, and how many readers are not there yet.
    goal: Cell<u64>,
    late: Cell<usize>,
    reached: Notify,
}

impl Pace {
    /// Of this many readers.
    pub(crate) fn new(readers: usize) -> Self {
        let (read, goal) = (RefCell::new(vec![0; readers]), Cell::new(0));
        Self(Rc::new(Inner { read, goal, late: Cell::new(0), reached: Notify::new() }))
    }

    /// A reader has read so many.
    pub(crate) fn read(&self, reader: usize, count: u64) {
        let before = std::mem::replace(&mut self.0.read.borrow_mut()[reader], count);
        if before < self.0.goal.get() && self.0.goal.get() <= count {
            self.0.late.set(self.0.late.get() - 1);
            if self.0.late.get() == 0 {
                self.0.reached.notify_one();
            }
        }
    }

    /// Waits until all have read so many. One may wait at a time.
    pub(crate) async fn wait(&self, goal: u64) {
        let late = self.0.read.borrow().iter().filter(|read| **read < goal).count();
        self.0.goal.set(goal);
        self.0.late.set(late);
        if late > 0 {
            self.0.reached.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn it_waits_for_the_slowest() {
        let pace = Pace::new(2);
        pace.wait(0).await;
        let waiting = pace.wait(5);
        tokio::pin!(waiting);
        for (reader, count) in [(0, 9), (1, 4)] {
            pace.read(reader, count);
            tokio::select! { biased; () = &mut waiting => panic!("too early"), () = yield_now() => {} }
        }
        pace.read(1, 5);
        waiting.await;
    }
}

//! Faults of the links between services and Redis. Delays and stops end by themselves; a link that swallows or mutes
//! stays so: the service has to find out and make another.

use std::{sync::Arc, time::Duration};

use tidings_testing::{Direction, Flow, How, Links};
use tokio::time::sleep;

use super::{Faults, Kind, fault};
use crate::{history::Fault, wire::Wire, world::World};

const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToClient];

impl Faults {
    /// Troubles one service's links, or those of all.
    pub(super) fn bend(&mut self, world: &World, kind: Kind) -> Fault {
        let all = self.rng.u8(..4) == 0;
        let one = self.rng.usize(..world.links.len());
        let which = if all { 0..world.links.len() } else { one..one + 1 };
        let who = if all { "all".to_owned() } else { format!("service {}", one + 1) };
        let links = [Links::All, Links::PubSub, Links::Commands][self.rng.usize(..3)];
        let how = if self.rng.bool() { How::Reset } else { How::Close };
        let direction = self.rng.usize(..2);
        let direction = &BOTH[direction..=direction];
        let time = Duration::from_millis(100) + self.short(2_000);
        let delay = Duration::from_millis(5) + self.short(400);
        for link in &world.links[which] {
            match kind {
                Kind::Delay => self.for_a_while(link, links, &BOTH, Flow::Delay(delay), time),
                Kind::Hold => self.for_a_while(link, links, direction, Flow::Hold, time),
                Kind::Swallow => link.bend(links, direction, Flow::Swallow),
                Kind::Mute => link.bend(Links::PubSub, &[Direction::ToClient], Flow::Mute),
                Kind::Refuse => self.refuse(link, time),
                _ => link.cut(links, how),
            }
        }
        match kind {
            Kind::Delay => fault(format!("links of {who}: {links:?} late by {delay:?}, for {time:?}")),
            Kind::Hold => fault(format!("links of {who}: {links:?} {direction:?} stop for {time:?}")),
            Kind::Swallow => fault(format!("links of {who}: {links:?} {direction:?} lead nowhere")),
            Kind::Mute => fault(format!("links of {who}: no pushes any more")),
            Kind::Refuse => fault(format!("links of {who}: refused for {time:?}")),
            _ => fault(format!("links of {who}: {links:?} cut by {how:?}")),
        }
    }

    fn for_a_while(
        &mut self,
        link: &Arc<Wire>,
        links: Links,
        directions: &'static [Direction],
        flow: Flow,
        time: Duration,
    ) {
        link.bend(links, directions, flow);
        let link = Arc::clone(link);
        self.healing.spawn(async move {
            sleep(time).await;
            link.bend(links, directions, Flow::Pass);
        });
    }

    fn refuse(&mut self, link: &Arc<Wire>, time: Duration) {
        let link = Arc::clone(link);
        self.healing.spawn(async move {
            link.refuse(true).await;
            link.cut(Links::All, How::Reset);
            sleep(time).await;
            link.refuse(false).await;
        });
    }
}

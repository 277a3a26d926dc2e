//! What is done to servers, their routes and their connections, and how all of it ends.

use crate::{
    schedule::{CHANNELS, Setup, Step},
    world::World,
};

/// Makes a fault. False where it can't be made.
pub(crate) fn make(setup: &Setup, world: &mut World, step: Step) -> bool {
    match step {
        Step::Kill { server } => {
            if std::mem::replace(&mut world.servers[server].is_down, true) {
                return false;
            }
            world.servers[server].is_stopped = false;
            world.cut(|connection| connection.server == server);
        }
        Step::Start { server, back } => {
            if !world.servers[server].is_down {
                return false;
            }
            let of = &mut world.servers[server];
            of.is_down = false;
            of.keys = of.copy(back);
            of.scripts.clear();
            of.applied = Default::default();
            if of.is_primary() {
                of.lead();
            }
            world.replicate();
        }
        Step::Stop { server } => {
            if world.servers[server].is_down || world.servers[server].is_stopped {
                return false;
            }
            world.servers[server].is_stopped = true;
        }
        Step::Wake { server } => {
            if !world.servers[server].is_stopped {
                return false;
            }
            world.wake(server);
        }
        Step::Promote { server } => {
            let of = &mut world.servers[server];
            if of.is_primary() || of.is_down || of.is_stopped {
                return false;
            }
            of.lead();
        }
        Step::Demote { server, of } => {
            let is_in_line = world.servers[of].is_primary() && server != of;
            if !is_in_line || world.servers[server].is_down || !world.servers[server].is_primary() {
                return false;
            }
            world.servers[server].replica_of = Some(of);
            world.servers[server].applied = Default::default();
            world.replicate();
        }
        Step::Lag { server, lags } => {
            if std::mem::replace(&mut world.servers[server].lags, lags) == lags {
                return false;
            }
            world.replicate();
        }
        Step::Route { client, server, cuts } => {
            let client = setup.client(client);
            world.routes.insert(client.clone(), server);
            if cuts {
                world.cut(|connection| connection.client == client && connection.server != server);
            }
        }
        Step::Cut { client, live } => {
            let client = setup.client(client);
            world.cut(|connection| connection.client == client && connection.is_live() == live);
        }
        Step::Hold { client, live, commands } => {
            let client = setup.client(client);
            let connections = world.connections.values_mut();
            for connection in
                connections.filter(|connection| connection.client == client && connection.is_live() == live)
            {
                match commands {
                    true => connection.holds_commands = true,
                    false => connection.holds_replies = true,
                }
            }
        }
        Step::Release { client } => {
            let client = setup.client(client);
            world.release(|connection| connection.client == client);
        }
        Step::Flush { server } => {
            if world.servers[server].is_down || !world.servers[server].is_primary() {
                return false;
            }
            world.servers[server].keys.clear();
            world.servers[server].step(Vec::new());
            world.replicate();
        }
        Step::Restore { server, channel, back, ids } => {
            let of = &mut world.servers[server];
            if of.is_down || !of.is_primary() || of.versions.len() <= back {
                return false;
            }
            let copy = of.copy(back);
            let of_channel = format!("{{{}}}:", CHANNELS[channel]);
            let names: Vec<Vec<u8>> = of.keys.names().chain(copy.names()).map(<[u8]>::to_vec).collect();
            for name in names {
                let text = String::from_utf8_lossy(&name);
                if text.contains(&of_channel) && (ids || !text.contains(":ids:")) {
                    of.keys.restore(&name, &copy);
                }
            }
            of.step(Vec::new());
            world.replicate();
        }
        Step::DropRegistry { server } => {
            let of = &mut world.servers[server];
            if of.is_down || !of.is_primary() || !of.keys.remove(b"tidings:channels") {
                return false;
            }
            of.step(Vec::new());
            world.replicate();
        }
        Step::Clock { server, ms } => world.servers[server].clock_ms = ms,
        _ => return false,
    }
    true
}

/// Ends all of them: every server is there, and one is everybody's primary.
pub(crate) fn end_all(world: &mut World) {
    world.truth.note(|| "all faults end".to_owned());
    for index in 0..world.servers.len() {
        if std::mem::take(&mut world.servers[index].is_down) {
            let of = &mut world.servers[index];
            of.keys = of.copy(0);
            of.scripts.clear();
            of.applied = Default::default();
            if of.is_primary() {
                of.lead();
            }
        }
        world.wake(index);
    }
    // Most follow it: it is the primary from here on.
    let mut votes = vec![0; world.servers.len()];
    world.routes.values().for_each(|server| votes[*server] += 1);
    let alive = (0..votes.len()).filter(|index| world.servers[*index].is_primary());
    let primary = alive.max_by_key(|index| (votes[*index], usize::MAX - index)).unwrap_or(0);
    if !world.servers[primary].is_primary() {
        world.servers[primary].lead();
    }
    for index in 0..world.servers.len() {
        world.servers[index].lags = false;
        if index != primary {
            world.servers[index].replica_of = Some(primary);
            world.servers[index].applied = Default::default();
        }
    }
    world.routes.values_mut().for_each(|server| *server = primary);
    world.release(|_| true);
    world.cut(|connection| connection.server != primary);
    world.replicate();
    world.truth.note(|| format!("S{primary} is the primary"));
}

//! What only the Redis broker has: keys, epochs that follow Redis's own fate, replicas, and a server that goes away.

mod away;
mod epochs;
mod keys;
mod live;
mod refusals;
mod replicas;
mod support;

//! The Redis broker against a real Redis: what is on it byte for byte, and what happens when it is restarted, full,
//! too slow, a replica or away. What both brokers promise is in the conformance suite.

mod adopt;
mod bulk;
mod connection;
mod damaged;
mod durability;
mod epochs;
mod fixture;
mod globs;
mod keys;
mod live;
mod losses;
mod notices;
mod optimistic;
mod publish_connection;
mod refusals;
mod registry;
mod replicas;
mod sentinels;
mod sign_in;
mod subscriptions;
mod tls;

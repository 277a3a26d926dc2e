//! The load generator: clients that read and write bytes themselves, all on one thread. It must stay cheap, or it would
//! be what is measured, and it checks every delivery all the same: count, order and bytes.

pub(crate) mod amqp;
pub(crate) mod caller;
pub(crate) mod consuming;
pub(crate) mod frames;
pub(crate) mod grpc;
pub(crate) mod http;
mod http2;
pub(crate) mod nats;
pub(crate) mod pace;
pub(crate) mod publishing;
pub(crate) mod resp;
pub(crate) mod streams;
pub(crate) mod target;
pub(crate) mod text;

/// The first words of an HTTP/2 client.
pub(crate) fn greeting() -> Vec<u8> {
    let mut out = Vec::new();
    http2::greet(&mut out);
    out
}

/// Reads one subscription to its end.
pub(crate) trait Reader {
    /// Waits for more, compares it, and answers how many messages have come in all.
    async fn more(&mut self) -> anyhow::Result<u64>;

    /// How many subscriptions it reads; each gets all messages.
    fn streams(&self) -> u64 {
        1
    }

    /// The counters of what came since this was asked last, as far as it can't be derived from their number: messages
    /// of several callers may overtake each other.
    fn shuffled(&mut self) -> Option<Vec<u64>> {
        None
    }
}

/// Publishes messages whose counter goes up by one each.
pub(crate) trait Feeder {
    /// Publishes so many, and waits only where too many are unanswered.
    async fn send(&mut self, count: usize) -> anyhow::Result<()>;

    /// Waits until all are answered, and says how many there were.
    async fn settle(&mut self) -> anyhow::Result<u64>;
}

//! All probes.

use super::{
    Begins, Plan, Sample, calls, cost, fanout, latency, memory, other_streams, peers, publishing, replay, security,
    start, subscriptions,
};
use crate::stage::{
    Access,
    Disk::{EverySecond, None as NoDisk, Tls},
    History, Service,
};

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Probe {
    Unary,
    UnaryWithoutHistory,
    Echo,
    StreamWithoutHistory,
    BatchWithoutHistory,
    RawPublish,
    StreamOnDisk,
    JetStream,
    RabbitMq,
    NodePost,
    Fanout(usize),
    FanoutByStream(usize),
    NatsFanout(usize),
    RedisFanout(usize),
    OneByOne(usize),
    NatsOneByOne(usize),
    Latency,
    RedisLatency,
    NodeLatency,
    Replay,
    Xrange,
    Memory(usize),
    OtherStreams(usize),
    Stalled(usize),
    NoneStalled(usize),
    Cost(usize),
    StartPublisher,
    StartSubscriber,
    Consume(usize),
    JetStreamConsume,
    RabbitMqConsume,
    PublishAndConsume,
    ConsumeLatency,
    ConsumeRedisTime(usize),
    SubscriptionsAtRest,
    UnaryBy(Access),
    TokenOnceBy(Access),
    PublishStreamBy(Access),
    FanoutBy(Access, usize),
    UnaryOverTls,
    PublishStreamOverTls,
    FanoutOverTls(usize),
    Connect(Begins),
    Callers(usize),
    NewTokens,
}

impl Probe {
    /// Measures once.
    pub(crate) async fn run(self, plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
        let publisher = |history| Service::Publisher(NoDisk, history);
        match self {
            Self::Unary => calls::unary(plan, publisher(History::Default)).await,
            Self::UnaryWithoutHistory => calls::unary(plan, publisher(History::None)).await,
            Self::Echo => calls::unary(plan, Service::Echo).await,
            Self::StreamWithoutHistory => publishing::streams(plan, publisher(History::None)).await,
            Self::BatchWithoutHistory => calls::batches(plan, publisher(History::None)).await,
            Self::RawPublish => publishing::bare(plan).await,
            Self::StreamOnDisk => publishing::streams(plan, Service::Publisher(EverySecond, History::Default)).await,
            Self::JetStream => peers::jetstream(plan).await,
            Self::RabbitMq => peers::rabbitmq(plan).await,
            Self::NodePost => peers::node_post(plan).await,
            Self::NodeLatency => peers::node_latency(plan).await,
            Self::Fanout(streams) => fanout::plain(plan, streams, fanout::SATURATED).await,
            Self::FanoutByStream(streams) | Self::NoneStalled(streams) => fanout::numbered(plan, streams).await,
            Self::RedisFanout(streams) => fanout::bare(plan, streams).await,
            Self::NatsFanout(streams) => peers::nats_fanout(plan, streams, fanout::SATURATED).await,
            Self::OneByOne(streams) => fanout::plain(plan, streams, fanout::ONE_BY_ONE).await,
            Self::NatsOneByOne(streams) => peers::nats_fanout(plan, streams, fanout::ONE_BY_ONE).await,
            Self::Latency => latency::tidings(plan).await,
            Self::RedisLatency => latency::bare(plan).await,
            Self::Replay => replay::tidings(plan).await,
            Self::Xrange => replay::bare(plan).await,
            Self::Memory(each) => memory::idle(plan, each).await,
            Self::OtherStreams(streams) => other_streams::other_streams(plan, streams).await,
            Self::Stalled(streams) => fanout::stalled(plan, streams).await,
            Self::Cost(streams) => cost::delivery(plan, streams).await,
            Self::StartPublisher => start::first_answer(plan, publisher(History::Default)).await,
            Self::StartSubscriber => start::first_answer(plan, Service::Subscriber(NoDisk)).await,
            Self::Consume(consumers) => subscriptions::backlog(plan, consumers).await,
            Self::JetStreamConsume => subscriptions::jetstream(plan).await,
            Self::RabbitMqConsume => subscriptions::rabbitmq(plan).await,
            Self::PublishAndConsume => subscriptions::through(plan).await,
            Self::ConsumeLatency => subscriptions::delays(plan).await,
            Self::ConsumeRedisTime(batch) => subscriptions::redis_time(plan, batch).await,
            Self::SubscriptionsAtRest => subscriptions::at_rest(plan).await,
            Self::UnaryBy(access) => calls::unary(plan, access.publisher()).await,
            Self::TokenOnceBy(access) => calls::token_once(plan, access.publisher()).await,
            Self::PublishStreamBy(access) => publishing::streams(plan, access.publisher()).await,
            Self::FanoutBy(access, streams) => security::fan_out(plan, access, streams).await,
            Self::UnaryOverTls => calls::unary(plan, Service::Publisher(Tls, History::Default)).await,
            Self::PublishStreamOverTls => publishing::streams(plan, Service::Publisher(Tls, History::Default)).await,
            Self::FanoutOverTls(streams) => {
                fanout::by(plan, Service::Subscriber(Tls), streams, fanout::SATURATED).await
            }
            Self::Connect(begins) => security::connect(plan, begins).await,
            Self::Callers(callers) => calls::by_callers(plan, Access::Token.publisher(), callers).await,
            Self::NewTokens => security::new_tokens(plan).await,
        }
    }
}

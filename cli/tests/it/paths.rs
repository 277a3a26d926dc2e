//! Methods of both services by their paths, for tests that write requests by hand.

pub(crate) const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
pub(crate) const BATCH: &str = "/tidings.v1.PublisherService/PublishBatch";
pub(crate) const PUBLISH_STREAM: &str = "/tidings.v1.PublisherService/PublishStream";
pub(crate) const LIST: &str = "/tidings.v1.SubscriberService/ListMessages";
pub(crate) const CHANNELS: &str = "/tidings.v1.SubscriberService/ListChannels";
pub(crate) const FOLLOW: &str = "/tidings.v1.SubscriberService/StreamMessages";

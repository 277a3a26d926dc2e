//! Requests about durable subscriptions, checked. Every refusal names its field.

pub(super) mod consuming;
pub(super) mod subscription;

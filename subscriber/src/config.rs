//! Flags of the subscriber.

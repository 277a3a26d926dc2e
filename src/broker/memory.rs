//! The embedded broker: the semantics of the Redis broker, in this process's memory, gone when it exits.

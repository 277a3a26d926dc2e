//! The reasons of `google.rpc.ErrorInfo`: what a program may branch on. Part of the contract: never renamed.

/// A field is not as it must be; its description says how.
pub const INVALID_FIELD: &str = "INVALID_FIELD";
/// A channel's name breaks the rules, or is missing where there is no default channel.
pub const INVALID_CHANNEL: &str = "INVALID_CHANNEL";
/// A pattern breaks the rules.
pub const INVALID_PATTERN: &str = "INVALID_PATTERN";
/// A cursor was changed, is of another kind, or belongs to another stream.
pub const INVALID_CURSOR: &str = "INVALID_CURSOR";
/// A page token was changed, or belongs to another list.
pub const INVALID_PAGE_TOKEN: &str = "INVALID_PAGE_TOKEN";
/// No payload was set, or a stream's request holds no message.
pub const MESSAGE_MISSING: &str = "MESSAGE_MISSING";
/// Empty text, or empty JSON.
pub const MESSAGE_EMPTY: &str = "MESSAGE_EMPTY";
/// Not one JSON text.
pub const INVALID_JSON: &str = "INVALID_JSON";
/// Not a UUID.
pub const INVALID_MESSAGE_ID: &str = "INVALID_MESSAGE_ID";
/// An attribute's key is empty, or has control characters.
pub const INVALID_ATTRIBUTE: &str = "INVALID_ATTRIBUTE";
/// An attribute's key begins with `tidings-`, in whatever case.
pub const RESERVED_ATTRIBUTE: &str = "RESERVED_ATTRIBUTE";
/// `min_replicas` is negative, or more than may be asked for.
pub const INVALID_MIN_REPLICAS: &str = "INVALID_MIN_REPLICAS";
/// A request of a batch names another channel than the batch.
pub const CHANNELS_DIFFER: &str = "CHANNELS_DIFFER";
/// A batch without messages.
pub const BATCH_EMPTY: &str = "BATCH_EMPTY";
/// More than one start of a stream.
pub const SEVERAL_STARTS: &str = "SEVERAL_STARTS";
/// A method that takes one request was sent none, or several.
pub const NOT_ONE_REQUEST: &str = "NOT_ONE_REQUEST";

/// More attributes than a message may have.
pub const TOO_MANY_ATTRIBUTES: &str = "TOO_MANY_ATTRIBUTES";
/// The JSON of a message is too large.
pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// A batch has too many messages or too many bytes.
pub const BATCH_TOO_LARGE: &str = "BATCH_TOO_LARGE";
/// An attribute's key or value is too long.
pub const ATTRIBUTE_TOO_LONG: &str = "ATTRIBUTE_TOO_LONG";
/// More cursors in `after` than a stream may resume after.
pub const TOO_MANY_CURSORS: &str = "TOO_MANY_CURSORS";
/// The ordering key is too long.
pub const ORDERING_KEY_TOO_LONG: &str = "ORDERING_KEY_TOO_LONG";
/// The request is too large to be decoded.
pub const REQUEST_TOO_LARGE: &str = "REQUEST_TOO_LARGE";
/// The requests under way on this connection are too large together.
pub const CONNECTION_LIMIT: &str = "CONNECTION_LIMIT";
/// The caller's address or subject has used up what it may have; the message names the flag.
pub const CALLER_LIMIT: &str = "CALLER_LIMIT";
/// A pattern matches more channels than a stream may follow.
pub const PATTERN_TOO_WIDE: &str = "PATTERN_TOO_WIDE";
/// The server is at a limit of its own.
pub const SERVER_LIMIT: &str = "SERVER_LIMIT";
/// Redis, or the embedded broker, has no memory left; nothing was published, and nothing else done.
pub const OUT_OF_MEMORY: &str = "OUT_OF_MEMORY";
/// No more ids can be remembered in this deduplication window; nothing was published.
pub const TOO_MANY_IDS: &str = "TOO_MANY_IDS";

/// Nothing was published.
pub const NOT_PUBLISHED: &str = "NOT_PUBLISHED";
/// The message may have been published; a repeat with the same `message_id` is safe. Or a call about a subscription may
/// have been carried out, and the same one can be made again.
pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
/// It was published, and fewer replicas than asked for confirmed it in time.
pub const REPLICAS_NOT_REACHED: &str = "REPLICAS_NOT_REACHED";
/// The broker has no replicas.
pub const NO_REPLICAS: &str = "NO_REPLICAS";
/// The broker can't be read now; or it can't be asked about a subscription, and nothing was done.
pub const BROKER_UNAVAILABLE: &str = "BROKER_UNAVAILABLE";
/// The server is stopping.
pub const DRAINING: &str = "DRAINING";
/// The connection has reached its maximum age: the same server serves a new one.
pub const CONNECTION_AGED: &str = "CONNECTION_AGED";
/// The request did not come whole in time; nothing was done.
pub const REQUEST_TOO_SLOW: &str = "REQUEST_TOO_SLOW";
/// The call's deadline has passed.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";

/// The caller has not signed in, or not with what this server takes.
pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The caller's token was good, and its time is over.
pub const TOKEN_EXPIRED: &str = "TOKEN_EXPIRED";
/// The certificate with which the caller connected was good, and its time is over.
pub const CERTIFICATE_EXPIRED: &str = "CERTIFICATE_EXPIRED";
/// The caller may not do this with this channel or subscription.
pub const PERMISSION_DENIED: &str = "PERMISSION_DENIED";
/// The server can't identify the caller: it has no keys yet.
pub const NO_KEYS: &str = "NO_KEYS";

/// A subscription's name breaks the rules.
pub const INVALID_SUBSCRIPTION: &str = "INVALID_SUBSCRIPTION";
/// A filter can't be read; its description says where and why.
pub const INVALID_FILTER: &str = "INVALID_FILTER";
/// More deliveries, or dead letters, than can be named in one request.
pub const TOO_MANY_DELIVERIES: &str = "TOO_MANY_DELIVERIES";
/// More labels than a subscription may have.
pub const TOO_MANY_LABELS: &str = "TOO_MANY_LABELS";
/// There is no such subscription.
pub const SUBSCRIPTION_NOT_FOUND: &str = "SUBSCRIPTION_NOT_FOUND";
/// There is a subscription of this name.
pub const SUBSCRIPTION_EXISTS: &str = "SUBSCRIPTION_EXISTS";
/// The name is being given to a subscription of another channel at this moment.
pub const SUBSCRIPTION_BUSY: &str = "SUBSCRIPTION_BUSY";
/// The channel, or the broker, has as many subscriptions as it may.
pub const SUBSCRIPTION_LIMIT: &str = "SUBSCRIPTION_LIMIT";
/// The etag is not that of the present settings.
pub const ETAG_DIFFERS: &str = "ETAG_DIFFERS";
/// The server keeps no history, from which subscriptions deliver.
pub const NO_HISTORY: &str = "NO_HISTORY";

/// Messages after the position have been trimmed.
pub const TRIMMED: &str = "TRIMMED";
/// The position's history is gone: Redis lost writes or was flushed.
pub const EPOCH_CHANGED: &str = "EPOCH_CHANGED";
/// The channel keeps no history.
pub const NOT_RETAINED: &str = "NOT_RETAINED";

/// The service is served elsewhere; the message says where.
pub const OTHER_SERVICE: &str = "OTHER_SERVICE";
/// Nobody serves this method.
pub const UNKNOWN_METHOD: &str = "UNKNOWN_METHOD";
/// The request's content type is that of methods of another kind; its description names the right ones.
pub const WRONG_CONTENT_TYPE: &str = "WRONG_CONTENT_TYPE";
/// Requests are not taken compressed.
pub const COMPRESSED: &str = "COMPRESSED";
/// A bug.
pub const INTERNAL: &str = "INTERNAL";

//! Limits of durable subscriptions.

use std::time::Duration;

/// Bytes of a subscription's name: it is part of keys, of grants and of log lines.
pub const SUBSCRIPTION_NAME_BYTES: usize = 100;
/// Subscriptions of a channel: each of them is looked through where a publisher trims.
pub const CHANNEL_SUBSCRIPTIONS: usize = 100;
/// Subscriptions on a broker: their names are one key, and each holds a part of a log.
pub const SUBSCRIPTIONS: usize = 10_000;
/// Labels of a subscription: as many as a message has attributes.
pub const LABELS: usize = 64;
/// Bytes of a subscription's settings as they are kept: labels of the largest size would fill a page of a list.
pub const SETTINGS_BYTES: usize = 16 << 10;
/// The shortest ack deadline: under it a slow network has leases end on their way.
pub const ACK_DEADLINE_MIN: Duration = Duration::from_secs(1);
/// The ack deadline of a subscription that sets none.
pub const ACK_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest ack deadline: a worker that needs longer extends it, so that one that died is noticed.
pub const ACK_DEADLINE_MAX: Duration = Duration::from_secs(600);
/// Attempts of a subscription that sets no limit.
pub const ATTEMPTS_DEFAULT: i32 = 10;
/// The greatest limit of attempts that can be set; without limit is a choice of its own.
pub const ATTEMPTS_MAX: i32 = 1_000;
/// The first delay between attempts of a subscription that sets none.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest delay of a subscription that sets none.
pub const BACKOFF_LONGEST: Duration = Duration::from_secs(300);
/// The longest delay that can be set: what waits holds the log.
pub const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
/// When a subscription that nobody uses is deleted, where it does not say.
pub const EXPIRE_DEFAULT: Duration = Duration::from_secs(31 * 24 * 3600);
/// The shortest time that can be set for it: a deployment may take some minutes.
pub const EXPIRE_MIN: Duration = Duration::from_secs(3600);
/// The longest: ten years, which is longer than a log lives.
pub const EXPIRE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Messages of a subscription that are out at once: what a sweep looks through in one call, some ms of Redis's thread.
pub const OUTSTANDING: usize = 10_000;
/// Messages that are out on one stream, or that one pull takes: acknowledged in one call, that is one script.
pub const CONSUMER_MESSAGES: usize = 1_000;
/// The credit of a consumer that names none.
pub const CONSUMER_MESSAGES_DEFAULT: usize = 100;
/// Bytes of messages that are out on one stream.
pub const CONSUMER_BYTES: usize = 16 << 20;
/// Messages that a pull takes that names no number.
pub const PULL_MESSAGES_DEFAULT: usize = 10;
/// The longest that a pull waits: proxies end calls that are silent for longer.
pub const PULL_WAIT_MAX: Duration = Duration::from_secs(60);
/// Messages of one block: its bits are compared and written as a whole.
pub const BLOCK_MESSAGES: usize = 256;
/// Messages that are claimed in one call, so that a consumer elsewhere has a chance between two.
pub const CLAIM_MESSAGES: usize = 512;
/// Deliveries settled in one request: a script call has that many arguments several times over.
pub const SETTLED: usize = 1_000;
/// Bytes of a rejection's reason: a line for people.
pub const REASON_BYTES: usize = 1 << 10;
/// Bytes of an ack id as it is given out; what is longer is none.
pub const ACK_ID_BYTES: usize = 96;
/// How long a message that is leased may wait until its consumer's stream takes it. Then it is given back, unsent: its
/// ack deadline begins only when it is sent, and ends that much later on the broker.
pub const UNSENT: Duration = Duration::from_secs(2);
/// How long after its end a lease that is not its own is given back by a replica: more than the clocks of two brokers,
/// one of which takes over from the other, should be apart.
pub const LEASE_GRACE: Duration = Duration::from_millis(1_500);
/// How long a pull that waits for nothing waits until it is known that there is nothing.
pub const PULL_GRACE: Duration = Duration::from_secs(1);
/// How often decisions are tried on blocks that others change meanwhile; then their outcome is unknown.
pub const SETTLE_ROUNDS: usize = 5;
/// Decisions about deliveries that are taken in for one call of the broker, but for those of its last request:
/// some milliseconds of Redis's thread at most.
pub const DISPATCH_ROUND: usize = 1_000;
/// How long a stream's settlements wait for a claim that goes to the broker in the same call, where claims follow each
/// other as closely and nobody waits for the credit: a message does not wait behind a call that only settles others.
pub const SETTLE_WAIT: Duration = Duration::from_millis(1);
/// How long a replica that stops gives back what its streams had; then the leases end by themselves.
pub const DISPATCH_FINISH: Duration = Duration::from_secs(2);
/// How often a replica with consumers looks at a subscription: at leases that are over and at messages that are due.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a replica with consumers renews what a subscription holds of the log: so much longer a log may keep what
/// is settled, and a subscription at rest writes nothing else.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(10);
/// How often a replica counts the channels that have subscriptions, which share what all may hold.
pub const HOLDS_INTERVAL: Duration = Duration::from_secs(60);
/// How long it counts what a replica has said of its consumers: it says it again with each renewal.
pub const CONSUMERS_KEPT: Duration = Duration::from_secs(30);
/// How long a replica keeps what it knows of a subscription without a consumer and without leases of its own.
pub const SUBSCRIPTION_IDLE: Duration = Duration::from_secs(10);
/// How long nothing is claimed where as many messages are out as may be, unless some are settled here.
pub const FULL_PAUSE: Duration = Duration::from_millis(100);
/// Leases that are over and are looked at in one call.
pub const SWEPT_BLOCKS: usize = 100;
/// Messages due for a retry that are taken in one call.
pub const DUE_MESSAGES: usize = 100;
/// Bytes of a subscription's dead letters: the oldest go.
pub const DEAD_BYTES: usize = 64 << 20;
/// The age of a dead letter: one that nobody has looked at for a month is of no use to anybody.
pub const DEAD_AGE: Duration = Duration::from_secs(31 * 24 * 3600);
/// Dead letters that are removed in one call, as too old or too many: a fraction of a millisecond of Redis's thread.
pub const DEAD_REMOVED: usize = 100;
/// Dead letters that are put back in one call of a script.
pub const REDRIVEN: usize = 100;
/// Dead letters that are published in one call, and no more bytes than a page has.
pub const OUTBOX_LETTERS: usize = 32;
/// How long a dead letter may be published without looking whether it was already: a repeat within this time is known
/// by its id. Half of the default of `--dedup-window`, so that a call's time and clocks that differ do not matter.
/// Whoever sets a shorter window risks a second copy where a subscriber dies between two calls.
pub const OUTBOX_FRESH: Duration = Duration::from_secs(60);
/// Pages of the log that are looked through for older ones, at most.
pub const OUTBOX_SEARCH_PAGES: usize = 16;
/// The first pause after dead letters could not be published, and the longest: what refuses them may need a human.
pub const OUTBOX_BACKOFF_MIN: Duration = Duration::from_millis(250);
/// See there.
pub const OUTBOX_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How often a message may be published as a dead letter of a dead letter: where subscriptions of dead-letter channels
/// send to each other's, it has an end.
pub const DEAD_LETTER_HOPS: u32 = 5;
/// How long a name is reserved for a subscription that was not created after all, on another channel.
pub const RESERVATION: Duration = Duration::from_secs(60);
/// How long after its reservation a subscription may still be created: half of it, so that clocks may differ.
pub const RESERVED: Duration = Duration::from_secs(30);
/// Requests of consumers that wait for a subscription's task.
pub const DISPATCH_REQUESTS: usize = 1_024;
/// Messages of one subscription that wait for their ordering keys: where there are as many, one that is next and would
/// have to wait too holds up all behind it.
pub const PARKED_MESSAGES: u64 = 10_000;
/// Messages read ahead of their lease by a replica, and their bytes.
pub const AHEAD_MESSAGES: usize = 2_000;
/// See [`AHEAD_MESSAGES`].
pub const AHEAD_BYTES: usize = 4 << 20;
/// How long messages that are not acknowledged hold the log, where a subscription does not say: a week-end, and more.
pub const HOLD_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The shortest time that can be set for it.
pub const HOLD_AGE_MIN: Duration = Duration::from_secs(600);
/// The longest.
pub const HOLD_AGE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How many times as many messages as the history keeps can be held.
pub const HOLD_MESSAGES_FACTOR: u64 = 10;
/// How often subscriptions are read that an operator has named.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(15);
/// How many may be named.
pub const WATCHED_SUBSCRIPTIONS: usize = 100;
/// Losses of a subscription that are kept one by one until a consumer is told of them.
pub const LOSSES: usize = 1_000;
/// How long a subscription's claims may be refused, though nothing shows why, until its channel is read again and the
/// log says so.
pub const CLAIMS_REFUSED: Duration = Duration::from_secs(10);
/// Books that a list looks into at once: the connection to Redis takes them together.
pub const LOOKS_AT_ONCE: usize = 32;
/// How often a replica looks for subscriptions that nobody uses: far below the shortest time after which they go.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);
/// Bytes of deliveries that go to a stream together: two frames, after which others get their turn.
pub const DELIVERIES_BYTES: usize = 32 << 10;
/// Decisions of one stream that are under way: beyond it no request is read. It is as many as can be out, so that those
/// who settle each message by itself wait for nothing.
pub const SETTLEMENTS: usize = 1_000;
/// How long a stream goes on taking settlements when its server stops.
pub const DRAIN_SETTLEMENTS: Duration = Duration::from_secs(5);

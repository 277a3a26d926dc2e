//! The users with the smallest rights, one for each kind of service. `docs/security.md` explains them, and the
//! conformance suite runs as they are.

/// What a publisher needs.
const PUBLISHER: &str = "+select +info +ping +script|load +evalsha +wait +time +publish +xadd +xrange +xtrim \
                         +xinfo|stream +hget +hmget +hset +hlen +hvals +pttl +pexpire +set +exists +zadd +zrange \
                         +zscore +zrem";
/// What a subscriber needs that writes nothing.
const SUBSCRIBER: &str = "+select +info +ping +script|load +evalsha +time +subscribe +unsubscribe +psubscribe \
                          +punsubscribe +xrange +xrevrange +xinfo|stream +hget +hmget +get +exists +zrange +zscan \
                          +zcard";
/// What a subscriber needs that captures what plain programs publish, or keeps durable subscriptions.
const CAPTURE: &str = "+select +info +ping +script|load +evalsha +time +subscribe +unsubscribe +psubscribe \
                       +punsubscribe +xadd +xrange +xrevrange +xtrim +xinfo|stream +hget +hmget +hgetall +hvals +hset \
                       +hdel +hlen +hexists +hstrlen +hincrby +pttl +pexpire +get +set +exists +unlink +zadd +zrem \
                       +zrange +zscan +zcard +zscore +zcount";

/// Commands for Redis that make these users, for keys that begin so: of a publisher, of a subscriber without capture
/// and durable subscriptions, and of one with them. Their passwords are to be replaced.
pub fn users(key_prefix: &str) -> [String; 3] {
    let line = |name: &str, commands: &str, selector: &str| {
        let user = format!("ACL SETUSER tidings-{name} reset on >{name}-secret ~{key_prefix}:* &* -@all {commands}");
        if selector.is_empty() { user } else { format!("{user} (+publish {selector})") }
    };
    [
        line("publisher", PUBLISHER, ""),
        line("subscriber", SUBSCRIBER, &format!("&{key_prefix}:probe:*")),
        line("capture", CAPTURE, &format!("&{key_prefix}:* &dead-letter.*")),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn they_are_those_of_the_page_that_the_conformance_suite_runs_as() {
        let page = include_str!("../../../docs/security.md");
        for user in super::users("tidings") {
            assert!(page.lines().any(|line| line == user), "{user}");
        }
        assert!(super::users("news").iter().all(|user| user.contains(" ~news:* ") && !user.contains("tidings:")));
    }
}

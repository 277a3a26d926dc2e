//! Whether a server is the primary: what a replica answers, or a server that was demoted, is not believed.

/// What people read where the server of --redis-url is none.
pub(super) const NO_PRIMARY: &str = "it is a read-only replica; point --redis-url at the primary";
/// What they read where it refuses a call.
pub(super) const READ_ONLY: &str = "Redis is a read-only replica; point --redis-url at the primary";

/// By the role as `HELLO`, `INFO replication` and our scripts name it.
pub(super) fn is_primary(role: &str) -> bool {
    role == "master"
}

/// The role in an answer to `INFO replication`; empty where there is none.
pub(super) fn of_info(info: &str) -> &str {
    info.lines().find_map(|line| line.strip_prefix("role:")).unwrap_or_default()
}

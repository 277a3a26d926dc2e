//! Redis's limit for what waits to be sent to a client.

/// The hard limit for ordinary clients, or the soft one where that is lower, in what `CONFIG GET
/// client-output-buffer-limit` says; 0 where there is none.
pub(super) fn read(setting: &str) -> usize {
    let mut words = setting.split_ascii_whitespace();
    let normal = words.by_ref().find(|word| *word == "normal");
    let mut number = || words.next().and_then(|word| word.parse().ok()).filter(|bytes| *bytes > 0);
    normal.and_then(|_| [number(), number()].into_iter().flatten().min()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read() {
        for (setting, bytes) in [
            ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", 0),
            ("normal 1048576 0 0 slave 1 1 60", 1 << 20),
            ("slave 1 1 60 normal 2000 1000 5", 1000),
            ("normal 0 700 5", 700),
            ("", 0),
            ("normal x", 0),
        ] {
            assert_eq!(read(setting), bytes, "{setting}");
        }
    }
}

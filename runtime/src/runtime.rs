//! The threads that serve.

use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

/// One thread for so many processors, when nobody says how many: it leaves some to Redis and to clients on the same
/// machine.
const SHARE: usize = 2;

/// A runtime of so many threads; by default one for every two processors.
///
/// A single one is a runtime without other threads: a task that wakes another costs no hand-over between them.
///
/// # Errors
///
/// Where the system gives no threads.
pub fn runtime(threads: Option<usize>) -> io::Result<Runtime> {
    let threads = threads.map_or_else(
        || thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(SHARE)),
        |threads| threads.max(1),
    );
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}

#[cfg(test)]
mod tests {
    use tokio::runtime::RuntimeFlavor;

    use super::*;

    #[test]
    fn one_thread_is_no_pool() {
        for (threads, flavor) in [(Some(1), RuntimeFlavor::CurrentThread), (Some(3), RuntimeFlavor::MultiThread)] {
            let runtime = runtime(threads).expect("threads");
            assert_eq!(runtime.handle().runtime_flavor(), flavor);
            assert_eq!(runtime.metrics().num_workers(), threads.unwrap_or_default());
        }
    }
}

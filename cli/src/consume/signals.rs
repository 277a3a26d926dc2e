//! The signals that stop a consumer: the first lets it finish, the second does not.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What was signalled so far.
pub(crate) struct Signals {
    stop: CancellationToken,
    end: CancellationToken,
}

impl Signals {
    /// Listens to SIGINT and SIGTERM from now on. The task that does lives as long as the process.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [stop.clone(), end.clone()];
        tokio::spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { stop, end })
    }

    /// Waits for the first.
    pub(crate) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits for the second.
    pub(crate) async fn ending(&self) {
        self.end.cancelled().await;
    }
}

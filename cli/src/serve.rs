//! `tidings serve`: both services in one process.
use crate::{error::Error, output::Out};
use clap::Args;
use tokio_util::sync::CancellationToken;
/// Run publisher and subscriber in one process.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where the publisher listens.
    #[arg(long, env = "TIDINGS_PUBLISHER_LISTEN", default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    publisher_listen: String,
}
impl Serve {
    pub(crate) async fn run(self, _out: &mut Out, _stop: CancellationToken) -> Result<(), Error> {
        Err(Error::Serve(self.publisher_listen))
    }
}

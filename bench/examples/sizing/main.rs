//! `make sizing`: what messages cost Redis, and what streams and channels cost the services, in bytes. The tables of
//! `docs/sizing.md` are what it prints.
//!
//! It starts `redis-server`s of its own, and the services' own optimised binaries, whose memory the system reports.

mod history;
mod memory;

use std::io::{self, Write as _};

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let text = runtime.block_on(async {
        let history = history::measure().await?;
        let memory = memory::measure().await?;
        anyhow::Ok(format!("{history}\n{memory}"))
    })?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

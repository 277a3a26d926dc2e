//! Where operators look.

use tidings::metrics::Part;
use tidings_transport::admin::{self, AdminServer, InvalidHost};

use super::{Common, Error, listen};

const FLAG: &str = "--admin-listen";

/// Reads a name by which it may be asked.
pub(super) fn host(text: &str) -> Result<String, InvalidHost> {
    admin::parse_host(text)
}

impl Common {
    /// Binds the admin listener, if one is asked for, and begins to count what a process of these parts does: for a
    /// `main.rs`, before it starts anything that counts.
    pub async fn bind_admin(&self, parts: &[Part]) -> Result<Option<AdminServer>, Error> {
        let Some(address) = self.admin_listen else { return Ok(None) };
        let listener = listen(address, FLAG, self.allow_anonymous).await.map_err(|error| match error {
            Error::Exposed { address, .. } => Error::AdminExposed { flag: FLAG, address },
            error => error,
        })?;
        let server = AdminServer::new(listener, admin::install(parts)?, parts);
        Ok(Some(server.with_hosts(&self.admin_allow_host)))
    }
}

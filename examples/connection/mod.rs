//! How the examples connect: in plain text to `http://`, with TLS to `https://`. For that there are three variables,
//! each with the name of a file in PEM: `TIDINGS_CA`, the authorities that the service's certificate is checked against
//! (without it the system's), and `TIDINGS_CERT` and `TIDINGS_KEY`, for services that ask for a client certificate.

use std::{env, error::Error, fs, time::Duration};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

pub(crate) fn to(address: String) -> Result<Endpoint, Box<dyn Error>> {
    let is_tls = address.starts_with("https://");
    // The pings notice a connection that is dead or whose server is frozen, and end it.
    let endpoint = Endpoint::from_shared(address)?
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(3));
    if !is_tls {
        return Ok(endpoint);
    }
    let file = |variable: &str| env::var_os(variable).map(fs::read).transpose();
    let mut tls = match file("TIDINGS_CA")? {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let (Some(cert), Some(key)) = (file("TIDINGS_CERT")?, file("TIDINGS_KEY")?) {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    Ok(endpoint.tls_config(tls)?)
}

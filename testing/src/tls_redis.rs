//! A Redis that also listens with TLS.

use crate::{
    RedisServer,
    certificates::{Authority, Files},
    free_port,
};

/// A server with a plain port, for the test itself, and one with TLS, for what is tested.
#[derive(Debug)]
pub struct TlsRedis {
    /// The server, asked over its plain port.
    pub server: RedisServer,
    /// Who signed its certificate, and may sign clients'.
    pub authority: Authority,
    /// `ca.pem` and `server.pem`, `server.key`; tests put their own there as well.
    pub files: Files,
    port: u16,
}

impl TlsRedis {
    /// With a certificate for these names; clients need one of the same authority where that is asked for.
    pub fn start(names: &[&str], wants_client: bool) -> Self {
        Self::start_with(names, wants_client, &["--save", "", "--appendonly", "no"])
    }

    /// The same with arguments of its own.
    pub fn start_with(names: &[&str], wants_client: bool, arguments: &[&str]) -> Self {
        let (authority, files, port) = (Authority::new(), Files::new(), free_port());
        let pair = authority.sign(names);
        files.write("ca.pem", authority.pem());
        files.write("server.pem", &pair.cert);
        files.write("server.key", &pair.key);
        let path = |name: &str| files.path(name).to_string_lossy().into_owned();
        let (port_text, clients) = (port.to_string(), if wants_client { "yes" } else { "no" });
        let (ca, cert, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
        let tls = ["--tls-port", &port_text, "--tls-auth-clients", clients, "--tls-ca-cert-file", &ca];
        let own = ["--tls-cert-file", &cert, "--tls-key-file", &key];
        let server = RedisServer::start_with(&[&tls[..], &own[..], arguments].concat());
        Self { server, authority, files, port }
    }

    /// The port with TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of that port, with a user (and perhaps `:password`) and a host.
    pub fn url(&self, user: &str, host: &str) -> String {
        match user {
            "" => format!("rediss://{host}:{}", self.port),
            user => format!("rediss://{user}@{host}:{}", self.port),
        }
    }

    /// The names of the connections that a client has on the port with TLS, and of those on the plain one.
    pub fn connections(&self) -> (Vec<String>, Vec<String>) {
        let clients = self.server.command(&["CLIENT", "LIST"]);
        let named = clients.lines().filter_map(|line| {
            let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
            Some((field("name=").filter(|name| !name.is_empty())?.to_owned(), field("laddr=")?.to_owned()))
        });
        let end = format!(":{}", self.port);
        let (with, without): (Vec<_>, Vec<_>) = named.partition(|(_, at)| at.ends_with(&end));
        let names = |named: Vec<(String, String)>| named.into_iter().map(|(name, _)| name).collect();
        (names(with), names(without))
    }
}

//! What guarded services and their clients have: a certificate, keys for tokens, and tokens, as `tidings token` makes
//! them: signed with Ed25519.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use http::HeaderValue;
use tidings::access::{Grant, Verb};
use tidings_auth::{SigningKey, Wanted};
use tidings_testing::certificates::{Authority, Files};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::Access;
use crate::load::target::Target;

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "tidings";

/// Made once for a run.
pub(crate) struct Credentials {
    files: Files,
    key: SigningKey,
    roots: Arc<RootCertStore>,
}

impl Credentials {
    /// Of an authority and a key of their own.
    pub(super) fn new() -> anyhow::Result<Self> {
        let (authority, files) = (Authority::new(), Files::new());
        let pair = authority.sign(&["127.0.0.1"]);
        let (key, jwks) = SigningKey::generate()?;
        files.write("cert.pem", &pair.cert);
        files.write("key.pem", &pair.key);
        files.write("jwks.json", &jwks);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
        Ok(Self { files, key: SigningKey::read(key.as_bytes())?, roots: Arc::new(roots) })
    }

    /// Has a service ask for tokens.
    pub(super) fn token_flags(&self) -> Vec<String> {
        self.flags(&[("--auth-jwks", "jwks.json")], &["--auth-issuer", ISSUER, "--auth-audience", AUDIENCE])
    }

    /// Has it speak TLS.
    pub(super) fn tls_flags(&self) -> Vec<String> {
        self.flags(&[("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")], &[])
    }

    fn flags(&self, files: &[(&str, &str)], texts: &[&str]) -> Vec<String> {
        let path = |name: &&str| Path::display(&self.files.path(name)).to_string();
        let files = files.iter().flat_map(|(flag, name)| [(*flag).to_owned(), path(name)]);
        files.chain(texts.iter().map(|text| (*text).to_owned())).collect()
    }

    /// The header of a token that allows its subject everything.
    pub(crate) fn token(&self, subject: &str) -> anyhow::Result<HeaderValue> {
        let everything = Grant::Prefix(String::new());
        let wanted = Wanted {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            subject: subject.to_owned(),
            grants: vec![(Verb::Publish, everything.clone()), (Verb::Subscribe, everything)],
            lifetime: Duration::from_secs(24 * 3_600),
            ..Wanted::default()
        };
        Ok(format!("Bearer {}", self.key.mint(&wanted)?).parse()?)
    }

    /// How TLS is used, resuming an earlier session where wanted.
    pub(crate) fn client(&self, resumes: bool) -> anyhow::Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(Arc::clone(&self.roots));
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }

    /// A service as its clients come to it.
    pub(super) fn target(&self, address: SocketAddr, access: Access) -> anyhow::Result<Target> {
        let tls = match access {
            Access::TlsAndToken => Some(self.client(false)?),
            Access::Plain | Access::Token => None,
        };
        let token = if access == Access::Plain { None } else { Some(self.token("bench")?) };
        Ok(Target { tls, token, ..Target::from(address) })
    }
}

//! Certificates, and who signs them.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// What a certificate is to say.
pub(crate) struct Wanted {
    params: CertificateParams,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for hosts or addresses.
    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign_wanted(Wanted { params: CertificateParams::new(names).expect("names") })
    }

    /// A certificate with just these names, such as `dns:a.example` or `uri:spiffe://a/b`.
    pub(crate) fn named(&self, names: &[&str]) -> Pair {
        self.sign_wanted(Wanted::named(names))
    }

    pub(crate) fn sign_wanted(&self, wanted: Wanted) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = wanted.params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

impl Wanted {
    /// Its common name is `admin`, which must count for nothing.
    pub(crate) fn named(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "admin");
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        Self { params }
    }

    /// Good until so many seconds from now, which may be over.
    pub(crate) fn until(mut self, seconds: i64) -> Self {
        self.params.not_after = from_now(seconds).into();
        self
    }

    /// Good from so many seconds from now.
    pub(crate) fn since(mut self, seconds: i64) -> Self {
        self.params.not_before = from_now(seconds).into();
        self
    }

    /// For servers alone.
    pub(crate) fn of_a_server(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// Signed by itself.
    pub(crate) fn self_signed(self) -> Pair {
        let key = KeyPair::generate().expect("a key");
        Pair { cert: self.params.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
    }
}

fn from_now(seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
}

fn san(name: &str) -> SanType {
    let (kind, name) = name.split_once(':').expect("a kind");
    match kind {
        "dns" => SanType::DnsName(name.try_into().expect("ASCII")),
        "uri" => SanType::URI(name.try_into().expect("ASCII")),
        "mail" => SanType::Rfc822Name(name.try_into().expect("ASCII")),
        "ip" => SanType::IpAddress(name.parse().expect("an address")),
        _ => panic!("{kind} is no kind of name"),
    }
}

/// How a client speaks TLS to a service that is believed by this authority.
pub(crate) fn client_config(ca: &str, own: Option<&Pair>) -> ClientTlsConfig {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    match own {
        Some(own) => config.identity(Identity::from_pem(&own.cert, &own.key)),
        None => config,
    }
}

//! Who a client's certificate says it is. TLS has checked its signatures and its time by then; here its names are read.
//!
//! A name is exactly one `spiffe://` URI ([SPIFFE X509-SVID], section 2), or else exactly one DNS name, among the
//! certificate's subject alternative names. Never the first of several, and never the common name: whoever signs
//! certificates may let others choose further names in them.
//!
//! [SPIFFE X509-SVID]: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md

use std::time::SystemTime;

use tidings::limits::SUBJECT_BYTES;
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

const SPIFFE: &str = "spiffe://";
/// RFC 1035, section 2.3.4, without the dot at its end.
const DNS_BYTES: usize = 253;
const DNS_LABEL_BYTES: usize = 63;
const _: () = assert!(DNS_BYTES <= SUBJECT_BYTES);

/// A client's certificate: who has it, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    name: String,
    expiry: SystemTime,
    hash: blake3::Hash,
}

/// Why a certificate says of nobody that it is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// It can't be read.
    #[error("it can't be read")]
    Unreadable,
    /// It has no name that can be one.
    #[error("it has neither a spiffe:// URI nor a DNS name")]
    Nobody,
    /// It has several.
    #[error("it has several names and identifies no one")]
    Several,
    /// A name that can't be one, such as a wildcard.
    #[error("its name is no SPIFFE ID of a workload and no host name")]
    Odd,
}

impl ClientCertificate {
    /// Reads a certificate in DER, which must have been verified.
    ///
    /// # Errors
    ///
    /// It names nobody, or several.
    pub fn read(der: &[u8]) -> Result<Self, Unnamed> {
        let certificate = Certificate::from_der(der).map_err(|_| Unnamed::Unreadable)?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>().map_err(|_| Unnamed::Unreadable)?;
        let (_, SubjectAltName(names)) = names.ok_or(Unnamed::Nobody)?;
        let expiry = certificate.validity().not_after.to_unix_duration();
        let expiry = SystemTime::UNIX_EPOCH.checked_add(expiry).ok_or(Unnamed::Unreadable)?;
        Ok(Self { name: only(&names)?, expiry, hash: blake3::hash(der) })
    }

    /// Its SPIFFE ID, or its DNS name in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `notAfter`.
    pub fn expiry(&self) -> SystemTime {
        self.expiry
    }

    /// That of its bytes.
    pub(crate) fn hash(&self) -> &blake3::Hash {
        &self.hash
    }
}

/// The one name among all.
fn only(names: &[GeneralName]) -> Result<String, Unnamed> {
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let (mut spiffe, mut other_uris) = (Vec::new(), 0);
    for uri in uris {
        match uri.get(..SPIFFE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE)) {
            true => spiffe.push(uri),
            false => other_uris += 1,
        }
    }
    match (&spiffe[..], other_uris) {
        ([], _) => {}
        ([id], 0) if is_spiffe_id(id) => return Ok((*id).to_owned()),
        ([_], 0) => return Err(Unnamed::Odd),
        // A certificate of SPIFFE has one URI, whatever the others are.
        _ => return Err(Unnamed::Several),
    }
    let mut hosts = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(host) => Some(host.as_str()),
        _ => None,
    });
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host_name(host) => Ok(host.to_ascii_lowercase()),
        (Some(_), None) => Err(Unnamed::Odd),
        (None, _) => Err(Unnamed::Nobody),
        (Some(_), Some(_)) => Err(Unnamed::Several),
    }
}

/// Whether a text is the SPIFFE ID of a workload: a trust domain and a path ([SPIFFE-ID], section 2).
///
/// [SPIFFE-ID]: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
pub(crate) fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text.strip_prefix(SPIFFE).and_then(|rest| rest.split_once('/')) else { return false };
    let segment = |segment: &str| {
        let is_text = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        is_text && !["", ".", ".."].contains(&segment)
    };
    text.len() <= SUBJECT_BYTES && is_trust_domain(domain) && path.split('/').all(segment)
}

fn is_trust_domain(text: &str) -> bool {
    let is_text = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    !text.is_empty() && text.bytes().all(is_text)
}

/// Whether a text is the beginning of SPIFFE IDs, as policies write it before a `*`: whole parts, the trust domain at
/// least.
pub(crate) fn is_spiffe_prefix(text: &str) -> bool {
    text.ends_with('/') && is_spiffe_id(&format!("{text}a"))
}

/// Whether a text is a host's name, RFC 1123; no wildcard, no address.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let is_text = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        is_text
            && !label.is_empty()
            && label.len() <= DNS_LABEL_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DNS_BYTES && text.split('.').all(label)
}

#[cfg(test)]
mod tests;

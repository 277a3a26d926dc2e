//! From what a call and its connection bring to their caller.

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tidings::{
    access::{Grant, Rights, Verb},
    limits::TOKEN_LEEWAY,
    metrics,
    printable::chain,
    status,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Caller, ClientCertificate, Identity, KeySource, Unnamed,
    caller::{Expiry, Reason},
    credentials,
    key_ring::KeyRing,
    keys::{self, Claims, Expected, InvalidKeys, Keys},
    known::{self, KnownCallers},
    policy::{Current, InvalidPolicy, Policy},
    quota::Accounts,
    recent::Recent,
    watched::{self, Watched},
};

/// Whom to believe.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The keys that tokens are signed with; `None` where certificates alone make callers.
    pub keys: Option<KeySource>,
    /// The `iss` that a token must have.
    pub issuer: String,
    /// The `aud` that it must have, alone or among others.
    pub audience: String,
    /// The claim with the groups of its subject, a list of texts or one.
    pub groups_claim: String,
    /// The policy file. Without one tokens say by themselves what they allow; and where there are no keys for tokens,
    /// each certificate may do everything.
    pub policy: Option<PathBuf>,
    /// What subjects have taken.
    pub accounts: Arc<Accounts>,
}

/// Why calls can't be identified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Invalid keys.
    #[error("{path}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidKeys,
    },
    /// Invalid policy.
    #[error("{path}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidPolicy,
    },
}

/// What a connection says of its client: `None` where clients need no certificate.
pub type Peer = Option<Result<Arc<ClientCertificate>, Unnamed>>;

/// Makes callers of tokens and certificates.
#[derive(Debug)]
pub struct Authenticator {
    tokens: Option<Tokens>,
    /// Callers by certificates alone.
    certificates: KnownCallers,
    /// The keys of ours that certificates are checked with.
    nothing: Arc<Keys>,
    policy: Option<PolicyFile>,
    accounts: Arc<Accounts>,
}

/// What tokens are checked with.
#[derive(Debug)]
struct Tokens {
    keys: Arc<KeyRing>,
    expected: Expected,
    groups_claim: String,
    known: KnownCallers,
}

#[derive(Debug)]
struct PolicyFile {
    current: Current,
    file: Mutex<Watched>,
}

/// Who calls, or how to find out.
pub enum Authentication {
    /// It is known.
    Done(Result<Caller, Status>),
    /// A key server is asked for the token's key, for [`JWKS_TIMEOUT`](tidings::limits::JWKS_TIMEOUT) at most.
    Waiting(Pin<Box<dyn Future<Output = Result<Caller, Status>> + Send>>),
}

/// Why nobody is believed to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Untrusted,
    Expired,
    UnknownKey,
    NoKeys,
    Certificate,
    CertificateExpired,
}

impl Authenticator {
    /// Reads keys and policy. A key server is asked by [`keep_current`](Self::keep_current).
    ///
    /// # Errors
    ///
    /// A file can't be read: nothing is served then.
    pub fn open(settings: Settings) -> Result<Arc<Self>, Error> {
        let Settings { keys, issuer, audience, groups_claim, policy, accounts } = settings;
        let tokens = keys.map(|source| {
            let (keys, expected) = (Arc::new(KeyRing::open(source)?), Expected { issuer, audience });
            Ok(Tokens { keys, expected, groups_claim, known: KnownCallers::new() })
        });
        let tokens = tokens.transpose()?;
        let policy = policy.map(|path| {
            let mut file = Watched::new(path);
            let current = Current::new(read_policy(&mut file)?.unwrap_or_default());
            Ok(PolicyFile { current, file: Mutex::new(file) })
        });
        let (certificates, nothing) = (KnownCallers::new(), Arc::default());
        Ok(Arc::new(Self { tokens, certificates, nothing, policy: policy.transpose()?, accounts }))
    }

    /// Who calls, by the values of all its `authorization` headers and by its connection: who that is, and what it
    /// remembers.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED: it brings nothing and nobody may do anything so, it has several tokens, or something that is
    /// not believed. UNAVAILABLE: its token can't be checked now.
    pub fn authenticate<'a>(
        self: &Arc<Self>,
        mut headers: impl Iterator<Item = &'a [u8]>,
        peer: &Peer,
        recent: &Recent,
    ) -> Authentication {
        let headers = [headers.next(), headers.next()];
        let keys = self.tokens.as_ref().and_then(|tokens| tokens.keys.load());
        // Several headers are nobody's, whatever the first one is.
        let lone = if let ([Some(header), None], Some(keys)) = (headers, &keys) { Some((header, keys)) } else { None };
        if let Some(caller) = lone.and_then(|(header, keys)| recent.get(header, keys)) {
            return Authentication::Done(Ok(caller));
        }
        let token =
            credentials::token(headers.into_iter().flatten()).map_err(|credentials::NoToken| Refused::Untrusted);
        let refused = match token.and_then(|token| self.believe(token, peer)) {
            Ok(caller) => {
                if let Some((header, keys)) = lone {
                    recent.put(header, keys, &caller);
                }
                return Authentication::Done(Ok(caller));
            }
            Err(refused) => refused,
        };
        let waiting = (refused == Refused::UnknownKey).then(|| self.tokens.as_ref()?.keys.ask()).flatten();
        match (token, waiting) {
            (Ok(Some(token)), Some(waiting)) => {
                let (this, token, peer) = (Arc::clone(self), token.to_owned(), peer.clone());
                Authentication::Waiting(Box::pin(async move {
                    waiting.await;
                    this.believe(Some(&token), &peer).map_err(Refused::status)
                }))
            }
            _ => Authentication::Done(Err(refused.status())),
        }
    }

    /// Why tokens can't be checked now, as it changes; `None` where that can't happen.
    pub fn lack_of_keys(&self) -> Option<watch::Receiver<Option<String>>> {
        self.tokens.as_ref().map(|tokens| tokens.keys.lack())
    }

    fn believe(&self, token: Option<&str>, peer: &Peer) -> Result<Caller, Refused> {
        let certificate = match peer {
            None => None,
            Some(Ok(certificate)) => Some(&**certificate),
            Some(Err(_)) => return Err(Refused::Certificate),
        };
        if certificate.is_some_and(|certificate| SystemTime::now() >= certificate.expiry()) {
            return Err(Refused::CertificateExpired);
        }
        match (token, certificate) {
            (None, None) => self.anonymous(),
            (None, Some(certificate)) => self.of_certificate(certificate),
            (Some(token), certificate) => self.of_token(token, certificate),
        }
    }

    fn anonymous(&self) -> Result<Caller, Refused> {
        let policy = self.policy.as_ref().filter(|policy| policy.current.load().policy.has_anonymous());
        let policy = policy.ok_or(Refused::Untrusted)?;
        Ok(Caller::of_policy(Identity::default(), policy.current.clone(), None))
    }

    fn of_certificate(&self, certificate: &ClientCertificate) -> Result<Caller, Refused> {
        if let Some(caller) = self.certificates.get(certificate.hash(), &self.nothing) {
            return Ok(caller);
        }
        let identity = Identity { certificate: Some(certificate.name().to_owned()), ..Identity::default() };
        let expiry = Some(Expiry { at: certificate.expiry(), reason: Reason::Certificate });
        let caller = match (&self.policy, &self.tokens) {
            (Some(policy), _) => Caller::of_policy(identity, policy.current.clone(), expiry),
            // Who is let in is who may: there is nothing else that could say so.
            (None, None) => Caller::fixed(identity, Rights::all(), expiry),
            // What may be done stands in tokens.
            (None, Some(_)) => return Err(Refused::Untrusted),
        };
        let caller = caller.with_account(self.accounts.of_subject(certificate.name()));
        self.certificates.put(*certificate.hash(), &self.nothing, caller.clone());
        Ok(caller)
    }

    fn of_token(&self, token: &str, certificate: Option<&ClientCertificate>) -> Result<Caller, Refused> {
        let tokens = self.tokens.as_ref().ok_or(Refused::Untrusted)?;
        let keys = tokens.keys.load().ok_or(Refused::NoKeys)?;
        let hash = known::hash(token, certificate);
        if let Some(caller) = tokens.known.get(&hash, &keys) {
            return if caller.has_expired() { Err(Refused::Expired) } else { Ok(caller) };
        }
        let claims = keys.check(token, &tokens.expected)?;
        let caller = self.caller(&claims, tokens.groups(&claims), certificate)?;
        tokens.known.put(hash, &keys, caller.clone());
        Ok(caller)
    }

    fn caller(
        &self,
        claims: &Claims,
        groups: Vec<String>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Caller, Refused> {
        // Times beyond what a clock can have are never.
        let expiry = Duration::try_from_secs_f64(claims.exp).ok();
        let expiry = expiry.and_then(|expiry| SystemTime::UNIX_EPOCH.checked_add(expiry)?.checked_add(TOKEN_LEEWAY));
        let expiries = [
            expiry.map(|at| Expiry { at, reason: Reason::Token }),
            certificate.map(|certificate| Expiry { at: certificate.expiry(), reason: Reason::Certificate }),
        ];
        let expiry = expiries.into_iter().flatten().min_by_key(|expiry| expiry.at);
        let identity = Identity {
            subject: Some(claims.sub.clone()),
            groups,
            certificate: certificate.map(|certificate| certificate.name().to_owned()),
        };
        let account = self.accounts.of_subject(&claims.sub);
        let caller = match &self.policy {
            Some(policy) => Caller::of_policy(identity, policy.current.clone(), expiry),
            None => Caller::fixed(identity, rights(claims)?, expiry),
        };
        Ok(caller.with_account(account))
    }

    /// Looks for other keys and another policy whenever it is time, until the token is cancelled.
    pub async fn keep_current(self: Arc<Self>, shutdown: CancellationToken) {
        let keys = async {
            if let Some(tokens) = &self.tokens {
                Arc::clone(&tokens.keys).keep_current(shutdown.clone()).await;
            }
        };
        let this = Arc::clone(&self);
        let policy = async {
            if self.policy.is_some() {
                watched::regularly(shutdown.clone(), move || this.reload_policy()).await;
            }
        };
        tokio::join!(keys, policy);
    }

    /// Reads the files again. What can't be read leaves what there was.
    #[cfg(test)]
    fn reload(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.keys.reload();
        }
        self.reload_policy();
    }

    fn reload_policy(&self) {
        let Some(policy) = &self.policy else { return };
        let mut file = policy.file.lock().unwrap_or_else(PoisonError::into_inner);
        match read_policy(&mut file) {
            Ok(None) => {}
            Ok(Some(changed)) => {
                tracing::info!("the policy for callers has changed");
                metrics::read_again(metrics::File::Policy, true);
                policy.current.replace(changed);
            }
            Err(error) => {
                metrics::read_again(metrics::File::Policy, false);
                tracing::warn!(error = chain(&error), "the policy can't be read again; the old one stays")
            }
        }
    }
}

impl Tokens {
    fn groups(&self, claims: &Claims) -> Vec<String> {
        match claims.others.get(&self.groups_claim) {
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}

impl Refused {
    fn status(self) -> Status {
        use metrics::Refused as Counted;
        let (counted, status) = match self {
            // That a key is not known is nobody's business.
            Self::Untrusted | Self::UnknownKey => (Counted::Unauthenticated, status::unauthenticated()),
            Self::Certificate => (Counted::Certificate, status::unauthenticated()),
            Self::Expired => (Counted::Expired, status::token_expired()),
            Self::CertificateExpired => (Counted::Expired, status::certificate_expired()),
            Self::NoKeys => (Counted::NoKeys, status::no_keys()),
        };
        metrics::refused(counted);
        status
    }
}

impl From<keys::Refused> for Refused {
    fn from(refused: keys::Refused) -> Self {
        match refused {
            keys::Refused::Untrusted => Self::Untrusted,
            keys::Refused::Expired => Self::Expired,
            keys::Refused::UnknownKey => Self::UnknownKey,
        }
    }
}

/// The policy, unless it is what it was.
fn read_policy(file: &mut Watched) -> Result<Option<Policy>, Error> {
    let path = file.path().clone();
    let content = file.read().map_err(|source| Error::File { path: path.clone(), source })?;
    let Some(content) = content else { return Ok(None) };
    let text = String::from_utf8(content)
        .map_err(|error| Error::File { path: path.clone(), source: io::Error::other(error) })?;
    Policy::parse(&text).map(Some).map_err(|source| Error::Policy { path, source })
}

/// What a token grants by itself. One with an invalid grant is not believed at all: its author meant
/// something else.
fn rights(claims: &Claims) -> Result<Rights, Refused> {
    let mut rights = Rights::default();
    for verb in Verb::ALL {
        for text in claims.grants(verb) {
            let added = Grant::parse(text).and_then(|grant| rights.add(verb, grant));
            added.map_err(|error| {
                tracing::warn!(subject = claims.sub, %verb, grant = text, %error, "a token is refused for what it grants");
                Refused::Untrusted
            })?;
        }
    }
    Ok(rights)
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Waiting(_) => f.write_str("Waiting"),
        }
    }
}

#[cfg(test)]
mod tests;

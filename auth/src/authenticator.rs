//! From a call's `authorization` to its caller.

use std::{
    fmt, io,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use lru::LruCache;
use serde_json::Value;
use tidings::{
    access::{Grant, Rights, Verb},
    limits::{AUTH_RELOAD_INTERVAL, KNOWN_TOKENS, TOKEN_LEEWAY},
    metrics,
    printable::chain,
    status,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Caller,
    keys::{Claims, Expected, InvalidKeys, KeySource, Keys, Refused},
    policy::{Current, InvalidPolicy, Named, Policy},
    quota::Accounts,
    watched::Watched,
};

/// Whom to believe.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The keys that tokens are signed with.
    pub keys: KeySource,
    /// The `iss` that a token must have.
    pub issuer: String,
    /// The `aud` that it must have, alone or among others.
    pub audience: String,
    /// The claim with the groups of its subject, a list of texts or one.
    pub groups_claim: String,
    /// The policy file; without one, tokens say by themselves what they allow.
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
    /// The keys are none.
    #[error("{path}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidKeys,
    },
    /// The policy is none.
    #[error("{path}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidPolicy,
    },
}

/// Makes callers of tokens.
pub struct Authenticator {
    keys: ArcSwap<Keys>,
    expected: Expected,
    groups_claim: String,
    policy: Option<Current>,
    /// Callers whose tokens were found good, by a hash of these: to check a signature costs a hundred times as much.
    /// Nothing is remembered of tokens that were not.
    known: Mutex<LruCache<blake3::Hash, Caller>>,
    accounts: Arc<Accounts>,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    source: KeySource,
    keys: Watched,
    policy: Option<Watched>,
}

impl Authenticator {
    /// Reads keys and policy.
    ///
    /// # Errors
    ///
    /// One of them can't be read: nothing is served then.
    pub fn open(settings: Settings) -> Result<Arc<Self>, Error> {
        let Settings { keys: source, issuer, audience, groups_claim, policy, accounts } = settings;
        let mut files = Files { keys: Watched::new(source.path().clone()), source, policy: policy.map(Watched::new) };
        let keys = files.read_keys()?.unwrap_or_default();
        let policy = files.read_policy()?.map(Current::new);
        let known = LruCache::new(NonZeroUsize::new(KNOWN_TOKENS).unwrap_or(NonZeroUsize::MIN));
        Ok(Arc::new(Self {
            keys: ArcSwap::from_pointee(keys),
            expected: Expected { issuer, audience },
            groups_claim,
            policy,
            known: Mutex::new(known),
            accounts,
            files: Mutex::new(files),
        }))
    }

    /// Who calls, by the values of all its `authorization` headers.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED: there is none and nobody may do anything without, there are several, or it is no token to be
    /// believed.
    pub fn authenticate<'a>(&self, headers: impl Iterator<Item = &'a [u8]>) -> Result<Caller, Status> {
        self.believe(headers).map_err(|refused| match refused {
            Refused::Untrusted => {
                metrics::refused(metrics::Refused::Unauthenticated);
                status::unauthenticated()
            }
            Refused::Expired => {
                metrics::refused(metrics::Refused::Expired);
                status::token_expired()
            }
        })
    }

    fn believe<'a>(&self, mut headers: impl Iterator<Item = &'a [u8]>) -> Result<Caller, Refused> {
        let Some(header) = headers.next() else { return self.anonymous() };
        if headers.next().is_some() {
            return Err(Refused::Untrusted);
        }
        let token = bearer(header).ok_or(Refused::Untrusted)?;
        let hash = blake3::hash(token.as_bytes());
        if let Some(caller) = self.known().get(&hash) {
            return if has_expired(caller) { Err(Refused::Expired) } else { Ok(caller.clone()) };
        }
        let keys = self.keys.load();
        let claims = keys.check(token, &self.expected)?;
        let caller = self.caller(&claims)?;
        let mut known = self.known();
        // What was checked with keys that were replaced meanwhile is not remembered.
        if Arc::ptr_eq(&keys, &self.keys.load()) {
            known.put(hash, caller.clone());
        }
        Ok(caller)
    }

    fn anonymous(&self) -> Result<Caller, Refused> {
        let policy = self.policy.as_ref().filter(|policy| policy.load().policy.has_anonymous());
        let policy = policy.ok_or(Refused::Untrusted)?;
        Ok(Caller::of_policy(Named::default(), policy.clone(), None))
    }

    fn caller(&self, claims: &Claims) -> Result<Caller, Refused> {
        // Times beyond what a clock can have are never.
        let expiry = Duration::try_from_secs_f64(claims.exp).ok();
        let expiry = expiry.and_then(|expiry| SystemTime::UNIX_EPOCH.checked_add(expiry)?.checked_add(TOKEN_LEEWAY));
        let groups = match claims.others.get(&self.groups_claim) {
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let named = Named { subject: Some(claims.sub.clone()), groups };
        let caller = match &self.policy {
            Some(policy) => Caller::of_policy(named, policy.clone(), expiry),
            None => Caller::fixed(named, rights(claims)?, expiry),
        };
        Ok(caller.with_account(self.accounts.of_subject(&claims.sub)))
    }

    /// Reads the files again whenever they change, until the token is cancelled.
    pub async fn keep_current(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(sleep(AUTH_RELOAD_INTERVAL)).await.is_some() {
            let this = Arc::clone(&self);
            // Files may be on a network.
            let _ = tokio::task::spawn_blocking(move || this.reload()).await;
        }
    }

    /// Reads the files again. What can't be read leaves what there was.
    pub fn reload(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.read_keys() {
            Ok(None) => {}
            Ok(Some(keys)) => {
                tracing::info!(?keys, path = %files.keys.path().display(), "the keys for tokens have changed");
                metrics::read_again(metrics::File::Keys, true);
                self.keys.store(Arc::new(keys));
                // A key may have been taken away.
                self.known().clear();
            }
            Err(error) => {
                metrics::read_again(metrics::File::Keys, false);
                tracing::warn!(error = chain(&error), "the keys for tokens can't be read again; the old ones stay")
            }
        }
        match (files.read_policy(), &self.policy) {
            (Ok(Some(policy)), Some(current)) => {
                tracing::info!("the policy for callers has changed");
                metrics::read_again(metrics::File::Policy, true);
                current.replace(policy);
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                metrics::read_again(metrics::File::Policy, false);
                tracing::warn!(error = chain(&error), "the policy can't be read again; the old one stays")
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, LruCache<blake3::Hash, Caller>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// The keys, unless they are what they were.
    fn read_keys(&mut self) -> Result<Option<Keys>, Error> {
        let path = self.keys.path().clone();
        let content = self.keys.read().map_err(|source| Error::File { path: path.clone(), source })?;
        content.map(|bytes| self.source.read(&bytes)).transpose().map_err(|source| Error::Keys { path, source })
    }

    fn read_policy(&mut self) -> Result<Option<Policy>, Error> {
        let Some(file) = &mut self.policy else { return Ok(None) };
        let path = file.path().clone();
        let content = file.read().map_err(|source| Error::File { path: path.clone(), source })?;
        let Some(content) = content else { return Ok(None) };
        let text = String::from_utf8(content)
            .map_err(|error| Error::File { path: path.clone(), source: io::Error::other(error) })?;
        Policy::parse(&text).map(Some).map_err(|source| Error::Policy { path, source })
    }
}

/// The token of an `authorization` header, RFC 6750: the scheme in any case, one space or more, and no white space in
/// the token.
pub(crate) fn bearer(header: &[u8]) -> Option<&str> {
    let header = std::str::from_utf8(header).ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

fn has_expired(caller: &Caller) -> bool {
    caller.expiry().is_some_and(|expiry| SystemTime::now() >= expiry)
}

/// What a token grants by itself. One with a grant that is none is not believed at all: its author meant
/// something else.
fn rights(claims: &Claims) -> Result<Rights, Refused> {
    let mut rights = Rights::default();
    for (verb, grants) in Verb::ALL.into_iter().zip([&claims.publish, &claims.subscribe, &claims.manage]) {
        for text in grants {
            let added = Grant::parse(text).and_then(|grant| rights.add(verb, grant));
            added.map_err(|error| {
                tracing::warn!(subject = claims.sub, %verb, grant = text, %error, "a token is refused for what it grants");
                Refused::Untrusted
            })?;
        }
    }
    Ok(rights)
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("expected", &self.expected).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

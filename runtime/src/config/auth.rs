//! Who may call.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use clap::{ArgGroup, Args, builder::BoolishValueParser};
use tidings_auth::{Accounts, Authenticator, FetchKeys, KeySource, Settings};
use tidings_transport::{Auth, KeyClient, KeyUrl};

use super::Error;

/// How callers sign in, and what they may do. Without keys for tokens, and certificates for clients, nobody has to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
#[group(skip)]
#[command(group = ArgGroup::new("auth_keys").multiple(false))]
// The client certificates of --tls-client-ca are of it too.
#[command(group = ArgGroup::new("signing_in").multiple(true))]
pub struct AuthFlags {
    /// Public keys (JSON Web Key Set): callers sign in with tokens (JWT) that one of them has signed. A file, which is
    /// read again when it changes, or an address such as https://login.example/jwks (http:// on the loopback only),
    /// which is asked every five minutes and when a token names a key that is new [default: nobody has to sign in]
    #[arg(
        long,
        env = "TIDINGS_AUTH_JWKS",
        hide_env_values = true,
        value_name = "FILE-OR-URL",
        groups = ["auth_keys", "signing_in"],
        requires = "auth_issuer",
        requires = "auth_audience"
    )]
    pub auth_jwks: Option<KeySet>,
    /// A file with the authorities (PEM) that the certificate of the server at --auth-jwks https://… is checked against
    /// [default: those of the system]
    #[arg(long, env = "TIDINGS_AUTH_JWKS_CA", value_name = "FILE", requires = "auth_jwks")]
    pub auth_jwks_ca: Option<PathBuf>,
    /// A file with a secret of 32 bytes or more: callers sign in with tokens (JWT) that are signed with it (HS256,
    /// HS384 or HS512) [default: none]
    #[arg(
        long,
        env = "TIDINGS_AUTH_SECRET_FILE",
        value_name = "FILE",
        groups = ["auth_keys", "signing_in"],
        requires = "auth_issuer",
        requires = "auth_audience"
    )]
    pub auth_secret_file: Option<PathBuf>,
    /// The issuer: the `iss` claim that each token must have [default: none]
    #[arg(long, env = "TIDINGS_AUTH_ISSUER", value_name = "TEXT", requires = "auth_keys")]
    pub auth_issuer: Option<String>,
    /// The audience: the `aud` claim that each token must have [default: none]
    #[arg(long, env = "TIDINGS_AUTH_AUDIENCE", value_name = "TEXT", requires = "auth_keys")]
    pub auth_audience: Option<String>,
    /// A file that says who may do what with which channels and subscriptions (docs/security.md). Without it a token's
    /// own claims `publish`, `subscribe`, `consume` and `manage` do; and where callers have certificates alone, each
    /// may do everything. Read again when it changes [default: none]
    #[arg(long, env = "TIDINGS_AUTH_POLICY", value_name = "FILE", requires = "signing_in")]
    pub auth_policy: Option<PathBuf>,
    /// The claim of a token that names the groups of its subject, which a policy gives roles
    #[arg(long, env = "TIDINGS_AUTH_GROUPS_CLAIM", value_name = "NAME", default_value = "groups")]
    pub auth_groups_claim: String,
    /// Require sign-in for health and reflection too, even if a policy allows anonymous callers [default:
    /// false]
    #[arg(long, env = "TIDINGS_AUTH_CLOSED", value_parser = BoolishValueParser::new(), requires = "signing_in")]
    pub auth_closed: bool,
}

/// Where public keys are. An address may hold a password, with which it is refused, so it is not shown before.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySet {
    /// In a file.
    File(PathBuf),
    /// On a server: its address, which is checked in [`AuthFlags::open`].
    Server(String),
}

impl FromStr for KeySet {
    type Err = std::convert::Infallible;

    // Checked only later: clap would show a value that it refuses.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text.contains("://") { Self::Server(text.to_owned()) } else { Self::File(text.into()) })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Server(_) => f.write_str("Server(…)"),
        }
    }
}

impl AuthFlags {
    /// Whether callers have to sign in with tokens.
    pub fn is_on(&self) -> bool {
        self.auth_jwks.is_some() || self.auth_secret_file.is_some()
    }

    fn keys(&self) -> Result<Option<KeySource>, Error> {
        Ok(match (&self.auth_jwks, &self.auth_secret_file) {
            (Some(KeySet::File(path)), _) => Some(KeySource::Jwks(path.clone())),
            (Some(KeySet::Server(url)), _) => {
                let url: KeyUrl = url.parse().map_err(Error::KeyUrl)?;
                let client: Arc<dyn FetchKeys> = KeyClient::open(url, self.auth_jwks_ca.as_deref())?;
                Some(KeySource::Server(client))
            }
            (None, Some(path)) => Some(KeySource::Secret(path.clone())),
            (None, None) => None,
        })
    }

    /// Reads keys and policy, where there are any. `with_certificates`: clients must have certificates. What callers
    /// take is counted in `accounts`.
    ///
    /// # Errors
    ///
    /// A file can't be read: then nothing is served.
    pub fn open(&self, with_certificates: bool, accounts: &Arc<Accounts>) -> Result<Option<Auth>, Error> {
        if !self.is_on() && !with_certificates {
            return Ok(None);
        }
        let settings = Settings {
            keys: self.keys()?,
            issuer: self.auth_issuer.clone().unwrap_or_default(),
            audience: self.auth_audience.clone().unwrap_or_default(),
            groups_claim: self.auth_groups_claim.clone(),
            policy: self.auth_policy.clone(),
            accounts: Arc::clone(accounts),
        };
        Ok(Some(Auth { authenticator: Authenticator::open(settings)?, closed: self.auth_closed }))
    }
}

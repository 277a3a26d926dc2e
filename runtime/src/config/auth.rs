//! Who may call.

use std::{path::PathBuf, sync::Arc};

use clap::{ArgGroup, Args, builder::BoolishValueParser};
use tidings_auth::{Accounts, Authenticator, KeySource, Settings};
use tidings_transport::Auth;

use super::Error;

/// How callers sign in, and what they may do. Without a file of keys nobody has to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
#[group(skip)]
#[command(group = ArgGroup::new("auth_keys").multiple(false))]
pub struct AuthFlags {
    /// A file with public keys (JSON Web Key Set): callers sign in with tokens (JWT) that one of them has signed. Read
    /// again when it changes [default: nobody has to sign in]
    #[arg(
        long,
        env = "TIDINGS_AUTH_JWKS",
        value_name = "FILE",
        group = "auth_keys",
        requires = "auth_issuer",
        requires = "auth_audience"
    )]
    pub auth_jwks: Option<PathBuf>,
    /// A file with a secret of 32 bytes or more: the same with tokens that it has signed (HS256) [default: none]
    #[arg(
        long,
        env = "TIDINGS_AUTH_SECRET_FILE",
        value_name = "FILE",
        group = "auth_keys",
        requires = "auth_issuer",
        requires = "auth_audience"
    )]
    pub auth_secret_file: Option<PathBuf>,
    /// Who issues tokens: the `iss` that each must have [default: none]
    #[arg(long, env = "TIDINGS_AUTH_ISSUER", value_name = "TEXT", requires = "auth_keys")]
    pub auth_issuer: Option<String>,
    /// For whom tokens are: the `aud` that each must have [default: none]
    #[arg(long, env = "TIDINGS_AUTH_AUDIENCE", value_name = "TEXT", requires = "auth_keys")]
    pub auth_audience: Option<String>,
    /// A file that says who may publish and subscribe where (docs/security.md); without it a token's own claims
    /// `publish`, `subscribe` and `manage` do. Read again when it changes [default: none]
    #[arg(long, env = "TIDINGS_AUTH_POLICY", value_name = "FILE", requires = "auth_keys")]
    pub auth_policy: Option<PathBuf>,
    /// The claim of a token that names the groups of its subject, which a policy gives roles
    #[arg(long, env = "TIDINGS_AUTH_GROUPS_CLAIM", value_name = "NAME", default_value = "groups")]
    pub auth_groups_claim: String,
    /// Have callers sign in for health and reflection as well [default: false]
    #[arg(long, env = "TIDINGS_AUTH_CLOSED", value_parser = BoolishValueParser::new(), requires = "auth_keys")]
    pub auth_closed: bool,
}

impl AuthFlags {
    /// Whether callers have to sign in.
    pub fn is_on(&self) -> bool {
        self.keys().is_some()
    }

    fn keys(&self) -> Option<KeySource> {
        let jwks = self.auth_jwks.clone().map(KeySource::Jwks);
        jwks.or_else(|| self.auth_secret_file.clone().map(KeySource::Secret))
    }

    /// Reads keys and policy, where there are any. What callers take is counted there.
    ///
    /// # Errors
    ///
    /// A file can't be read: then nothing is served.
    pub fn open(&self, accounts: &Arc<Accounts>) -> Result<Option<Auth>, Error> {
        let Some(keys) = self.keys() else { return Ok(None) };
        let settings = Settings {
            keys,
            issuer: self.auth_issuer.clone().unwrap_or_default(),
            audience: self.auth_audience.clone().unwrap_or_default(),
            groups_claim: self.auth_groups_claim.clone(),
            policy: self.auth_policy.clone(),
            accounts: Arc::clone(accounts),
        };
        Ok(Some(Auth { authenticator: Authenticator::open(settings)?, closed: self.auth_closed }))
    }
}

//! Commands about who may do what: tokens and keys for development, and what a policy says.

use std::{fs, io, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use tidings::{
    access::{Grant, Verb},
    limits::COMMAND_TOKEN_LIFETIME,
};
use tidings_auth::{Allowing, Decision, Identity, Policy, SigningKey, Wanted};

use crate::{
    error::Error,
    output::{Out, OutputOrJson},
    render::to_json,
};

/// Make keys and tokens for development
///
/// Where people sign in, an identity provider makes tokens; these are for a first try, for tests, and for programs of
/// one's own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings token key dev                          writes dev.key, to sign with, and dev.jwks.json for --auth-jwks
  tidings token mint --key dev.key --issuer dev --audience tidings --subject alice --publish 'orders.*' > alice.token
  tidings publish orders.eu hello --token-file alice.token")]
pub(crate) struct Token {
    #[command(subcommand)]
    what: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a key: NAME.key, which signs, and NAME.jwks.json, which services check with
    Key {
        /// How the files are to be called
        name: PathBuf,
    },
    /// Sign a token, and print it: the token alone, on one line, so it has no --output
    Mint(Box<Mint>),
}

#[derive(Debug, Args)]
struct Mint {
    /// What to sign with: a file of `tidings token key`, or that of a service's --auth-secret-file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The issuer (`iss`): a service's --auth-issuer
    #[arg(long, env = "TIDINGS_AUTH_ISSUER", value_name = "TEXT")]
    issuer: String,
    /// The audience (`aud`): a service's --auth-audience
    #[arg(long, env = "TIDINGS_AUTH_AUDIENCE", value_name = "TEXT")]
    audience: String,
    /// The subject (`sub`): whose token it is
    #[arg(long, value_name = "TEXT")]
    subject: String,
    /// A group of the subject; repeatable
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// A channel, or a prefix of names followed by *, on which the subject may publish; repeatable
    #[arg(long, value_name = "GRANT", value_parser = Grant::parse)]
    publish: Vec<Grant>,
    /// A channel, or a prefix of names followed by *, to which the subject may subscribe; repeatable
    #[arg(long, value_name = "GRANT", value_parser = Grant::parse)]
    subscribe: Vec<Grant>,
    /// A subscription, or a prefix of names followed by *, whose messages the subject may take and settle; repeatable
    #[arg(long, value_name = "GRANT", value_parser = Grant::parse)]
    consume: Vec<Grant>,
    /// A subscription, or a prefix of names followed by *, that the subject may create, change, seek, delete and
    /// redrive; repeatable
    #[arg(long, value_name = "GRANT", value_parser = Grant::parse)]
    manage: Vec<Grant>,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value_t = humantime::Duration::from(COMMAND_TOKEN_LIFETIME))]
    lifetime: humantime::Duration,
}

impl Token {
    /// Makes what was asked for.
    pub(crate) fn run(self, out: &mut Out) -> Result<(), Error> {
        match self.what {
            TokenCommand::Key { name } => {
                let (private, public) = SigningKey::generate().map_err(Error::access)?;
                let [private_path, public_path] = ["key", "jwks.json"].map(|end| {
                    let mut path = name.clone().into_os_string();
                    path.push(".");
                    path.push(end);
                    PathBuf::from(path)
                });
                write_new(&private_path, &private, 0o600)?;
                write_new(&public_path, &public, 0o644)?;
                out.line(format_args!("{}  signs: keep it to yourself", private_path.display()))?;
                out.line(format_args!("{}  is for --auth-jwks", public_path.display())).map_err(Error::Output)
            }
            TokenCommand::Mint(mint) => out.line(format_args!("{}", mint.token()?)).map_err(Error::Output),
        }
    }
}

impl Mint {
    fn token(self) -> Result<String, Error> {
        let key = SigningKey::read(&read(&self.key)?)
            .map_err(|error| Error::access(io::Error::other(format!("{}: {error}", self.key.display()))))?;
        let grants = [
            (Verb::Publish, self.publish),
            (Verb::Subscribe, self.subscribe),
            (Verb::Consume, self.consume),
            (Verb::Manage, self.manage),
        ];
        let wanted = Wanted {
            issuer: self.issuer,
            audience: self.audience,
            subject: self.subject,
            groups: self.group,
            grants: grants
                .into_iter()
                .flat_map(|(verb, grants)| grants.into_iter().map(move |grant| (verb, grant)))
                .collect(),
            lifetime: Duration::from(self.lifetime),
        };
        key.mint(&wanted).map_err(Error::access)
    }
}

/// Ask a policy file who may do what
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings auth check --policy policy.toml --subject alice publish orders.eu
  tidings auth check --policy policy.toml --subject bob --group sales subscribe orders.eu
  tidings auth check --policy policy.toml --certificate spiffe://prod.example/ns/shop/orders publish orders.eu
  tidings auth check --policy policy.toml --subject mailer consume orders.mail      for a durable subscription
  tidings auth check --policy policy.toml publish orders.eu      for callers who have not signed in
  tidings auth check --policy policy.toml --subject bob publish orders.eu --json | jq .allowed")]
pub(crate) struct Auth {
    #[command(subcommand)]
    what: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Say yes or no, and which line decides; exits with 1 for no
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// The policy
    #[arg(long, env = "TIDINGS_AUTH_POLICY", value_name = "FILE")]
    policy: PathBuf,
    /// The caller's subject; anonymous if omitted
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// A group of theirs; repeatable
    #[arg(long, value_name = "NAME", requires = "subject")]
    group: Vec<String>,
    /// The name of their client certificate: its SPIFFE ID, or its DNS name. With a subject as well, both must be
    /// allowed
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
    #[command(flatten)]
    output: OutputOrJson,
    /// publish, subscribe, consume or manage
    #[arg(value_parser = verb)]
    verb: Verb,
    /// The channel; to consume and to manage, the subscription
    name: String,
}

#[derive(Serialize)]
struct JsonDecision {
    allowed: bool,
    /// What allows it: to the token, and to the certificate where there is one as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by: Vec<JsonAllowing>,
    /// Which of the two is not allowed it, and the roles that this one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<JsonDenied>,
}

#[derive(Serialize)]
struct JsonAllowing {
    of: String,
    line: usize,
    role: String,
    grant: String,
}

#[derive(Serialize)]
struct JsonDenied {
    of: String,
    roles: Vec<String>,
    /// Whether these grant more than is looked at.
    too_many_grants: bool,
}

impl From<&Decision> for JsonDecision {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Yes(all) => {
                let by = all.iter().map(|Allowing { of, line, role, grant }| JsonAllowing {
                    of: of.to_string(),
                    line: *line,
                    role: role.clone(),
                    grant: grant.to_string(),
                });
                Self { allowed: true, by: by.collect(), denied: None }
            }
            Decision::No { of, roles, is_cut } => {
                let denied = JsonDenied { of: of.to_string(), roles: roles.clone(), too_many_grants: *is_cut };
                Self { allowed: false, by: Vec::new(), denied: Some(denied) }
            }
        }
    }
}

fn verb(text: &str) -> Result<Verb, String> {
    let known = Verb::ALL.into_iter().find(|verb| verb.as_str() == text);
    known.ok_or_else(|| "it is none of publish, subscribe, consume and manage".to_owned())
}

impl Auth {
    /// Answers.
    pub(crate) fn run(self, out: &mut Out) -> Result<(), Error> {
        let AuthCommand::Check(check) = self.what;
        let text = String::from_utf8_lossy(&read(&check.policy)?).into_owned();
        let policy = Policy::parse(&text)
            .map_err(|error| Error::access(io::Error::other(format!("{}: {error}", check.policy.display()))))?;
        // As it is read from a certificate.
        let certificate = check.certificate.map(|name| match name.starts_with("spiffe://") {
            true => name,
            false => name.to_ascii_lowercase(),
        });
        let identity = Identity { subject: check.subject, groups: check.group, certificate };
        let decision = policy.decide(&identity, check.verb, &check.name);
        if check.output.is_json() {
            out.line(to_json(&JsonDecision::from(&decision)))?;
        } else {
            out.line(format_args!("{decision}"))?;
        }
        match decision {
            Decision::Yes(_) => Ok(()),
            Decision::No { .. } => Err(Error::No),
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|cause| Error::Input { name: path.display().to_string(), cause })
}

/// Writes a file that there is not: a key that is written over is gone.
fn write_new(path: &PathBuf, text: &str, mode: u32) -> Result<(), Error> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|cause| Error::access(io::Error::other(format!("cannot write {}: {cause}", path.display()))))
}

//! The files that services check tokens with, and what signs these.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Signer, key_set, seconds_from_now};

pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const AUDIENCE: &str = "tidings";

pub(super) struct Keys {
    folder: TempDir,
    pub(super) signer: Signer,
}

impl Keys {
    pub(super) fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().expect("a folder"), signer: Signer::new("one") };
        keys.publish(&[&keys.signer]);
        keys
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        // As whole as a file that is renamed: a service reads it at any time.
        fs::write(self.path("new"), text).expect("a file");
        fs::rename(self.path("new"), self.path(name)).expect("a file");
    }

    /// These keys are the ones to believe from now on.
    pub(super) fn publish(&self, signers: &[&Signer]) {
        self.write("keys.json", &key_set(signers));
    }

    pub(super) fn args(&self, more: &[&str]) -> Vec<String> {
        self.args_with(&format!("--auth-jwks={}", self.path("keys.json").display()), more)
    }

    /// The same with keys from elsewhere.
    pub(super) fn args_with(&self, jwks: &str, more: &[&str]) -> Vec<String> {
        let mut args = vec![jwks.to_owned(), format!("--auth-issuer={ISSUER}"), format!("--auth-audience={AUDIENCE}")];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    }

    /// A policy, as an argument.
    pub(super) fn policy(&self, text: &str) -> String {
        self.write("policy.toml", text);
        format!("--auth-policy={}", self.path("policy.toml").display())
    }

    pub(super) fn token(&self, subject: &str, publish: &[&str], subscribe: &[&str]) -> String {
        self.signer.sign(&claims(subject, publish, subscribe))
    }

    /// A token that ended so many seconds ago. Clocks may differ by 30 s: within these it is good.
    pub(super) fn late_token(&self, subject: &str, seconds: i64) -> String {
        self.signer.sign(&with(claims(subject, &["*"], &["*"]), "exp", json!(seconds_from_now(-seconds))))
    }
}

/// What a good token says.
pub(super) fn claims(subject: &str, publish: &[&str], subscribe: &[&str]) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": seconds_from_now(600),
        "publish": publish, "subscribe": subscribe, "consume": subscribe, "manage": subscribe,
    })
}

pub(super) fn with(mut json: Value, name: &str, value: Value) -> Value {
    json[name] = value;
    json
}

pub(super) fn without(mut json: Value, name: &str) -> Value {
    json.as_object_mut().expect("an object").remove(name);
    json
}

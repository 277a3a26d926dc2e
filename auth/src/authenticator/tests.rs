use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

/// A pair of keys, for signing.
struct Signer {
    id: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).expect("a key");
        Self { id, key: EncodingKey::from_ed_der(pkcs8.as_ref()) }
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::EdDSA).expect("a key");
        jwk.common.key_id = Some(self.id.to_owned());
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &self.key).expect("a token")
    }
}

fn claims(subject: &str, seconds: i64) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let exp = i64::try_from(now).expect("it is not that late") + seconds;
    json!({"sub": subject, "iss": "issuer", "aud": "tidings", "exp": exp, "groups": ["sales"], "publish": ["orders.*"]})
}

/// Files in a folder of their own.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(signers: &[&Signer]) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.write_keys(signers);
        files
    }

    fn write_keys(&self, signers: &[&Signer]) {
        let keys = JwkSet { keys: signers.iter().map(|signer| signer.public()).collect() };
        self.write("keys.json", &serde_json::to_string(&keys).expect("JSON"));
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    fn settings(&self, policy: bool) -> Settings {
        Settings {
            keys: Some(KeySource::Jwks(self.folder.path().join("keys.json"))),
            issuer: "issuer".to_owned(),
            audience: "tidings".to_owned(),
            groups_claim: "groups".to_owned(),
            policy: policy.then(|| self.folder.path().join("policy.toml")),
            accounts: crate::Accounts::new(crate::Quotas::UNLIMITED),
        }
    }

    fn open(&self, policy: bool) -> Arc<Authenticator> {
        Authenticator::open(self.settings(policy)).expect("readable files")
    }
}

fn ask(authenticator: &Arc<Authenticator>, headers: &[&str], peer: &Peer) -> Result<Caller, Status> {
    ask_on(authenticator, headers, peer, &Recent::default())
}

/// The same on a connection that has carried calls before.
fn ask_on(
    authenticator: &Arc<Authenticator>,
    headers: &[&str],
    peer: &Peer,
    recent: &Recent,
) -> Result<Caller, Status> {
    match authenticator.authenticate(headers.iter().map(|header| header.as_bytes()), peer, recent) {
        Authentication::Done(done) => done,
        Authentication::Waiting(_) => panic!("there is nobody to wait for"),
    }
}

fn told(status: Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().expect("a reason").reason)
}

fn call(authenticator: &Arc<Authenticator>, headers: &[&str]) -> Result<Caller, (Code, String)> {
    ask(authenticator, headers, &None).map_err(told)
}

/// A certificate of this name, which is good for so many seconds.
fn certificate(name: &str, seconds: i64) -> Peer {
    let name = match name.starts_with("spiffe://") {
        true => rcgen::SanType::URI(name.try_into().expect("ASCII")),
        false => rcgen::SanType::DnsName(name.try_into().expect("ASCII")),
    };
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![name];
    let by = Duration::from_secs(seconds.unsigned_abs());
    let until = if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by };
    params.not_after = until.into();
    let key = rcgen::KeyPair::generate().expect("a key");
    Some(ClientCertificate::read(params.self_signed(&key).expect("a certificate").der()).map(Arc::new))
}

fn refused(reason: &str) -> Option<(Code, String)> {
    Some((Code::Unauthenticated, reason.to_owned()))
}

#[test]
fn what_a_connection_remembers_lets_in_nobody_else_and_nothing_longer() {
    let (one, other) = (Signer::new("one"), Signer::new("other"));
    let files = Files::new(&[&one]);
    let (authenticator, recent) = (files.open(false), Recent::default());
    let bearer = |claims: &Value| format!("Bearer {}", one.sign(claims));
    let ask = |headers: &[&str]| ask_on(&authenticator, headers, &None, &recent).map_err(told);
    let keys = || authenticator.tokens.as_ref().and_then(|tokens| tokens.keys.load()).expect("keys");
    let alice = bearer(&claims("alice", 600));
    assert!(recent.get(alice.as_bytes(), &keys()).is_none());
    ask(&[&alice]).expect("believed");
    let remembered = recent.get(alice.as_bytes(), &keys()).expect("it is remembered");
    assert_eq!(remembered.subject(), Some("alice"));
    assert_eq!(ask(&[&alice]).expect("again").subject(), Some("alice"));

    // Nothing but the header as it was, alone.
    let bent = format!("{}{}", &alice[..alice.len() - 2], if alice.ends_with("AA") { "BA" } else { "AA" });
    for headers in [&[&*bent][..], &[&alice[..alice.len() - 1]], &[&alice, &alice], &[&alice, ""], &["", &alice], &[]] {
        assert_eq!(ask(headers).err(), refused("UNAUTHENTICATED"), "{headers:?}");
    }
    // Those who take turns.
    let bob = bearer(&claims("bob", 600));
    for _ in 0..3 {
        assert_eq!(ask(&[&bob]).expect("believed").subject(), Some("bob"));
        assert_eq!(ask(&[&alice]).expect("believed").subject(), Some("alice"));
    }
    // Until its end, and no longer than its key is there.
    let brief = bearer(&claims("carol", 1 - TOKEN_LEEWAY.as_secs() as i64));
    ask(&[&brief]).expect("it has a second left, or two");
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(ask(&[&brief]).err(), refused("TOKEN_EXPIRED"));
    ask(&[&alice]).expect("believed");
    files.write_keys(&[&other]);
    authenticator.reload();
    assert_eq!(ask(&[&alice]).err(), refused("UNAUTHENTICATED"));
}

#[test]
fn a_token_names_the_caller_and_its_permissions() {
    let signer = Signer::new("one");
    let authenticator = Files::new(&[&signer]).open(false);
    let token = signer.sign(&claims("alice", 600));
    for _ in 0..2 {
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let caller = call(&authenticator, &[&format!("{scheme} {token}")]).expect("believed");
            assert_eq!(caller.subject(), Some("alice"));
            assert!(
                caller.rights().covers(Verb::Publish, "orders.eu")
                    && !caller.rights().covers(Verb::Subscribe, "orders.eu")
            );
            assert!(caller.expiry().is_some_and(|expiry| expiry.at > SystemTime::now()));
        }
    }
}

#[test]
fn a_token_grants_each_verb_by_its_own_claim() {
    let signer = Signer::new("one");
    let authenticator = Files::new(&[&signer]).open(false);
    for granted in Verb::ALL {
        let mut claims = claims("alice", 600);
        claims["publish"] = json!([]);
        claims[granted.as_str()] = json!(["mail.*"]);
        let caller = call(&authenticator, &[&format!("Bearer {}", signer.sign(&claims))]).expect("believed");
        for verb in Verb::ALL {
            assert_eq!(caller.rights().covers(verb, "mail.eu"), verb == granted, "{granted} {verb}");
            assert!(!caller.rights().covers(verb, "mail"), "{granted} {verb}");
        }
        // One that can't be a grant makes nobody of its caller, whatever it is to allow.
        claims[granted.as_str()] = json!(["mail.*.eu"]);
        let reaching = format!("Bearer {}", signer.sign(&claims));
        assert_eq!(call(&authenticator, &[&reaching]).err(), refused("UNAUTHENTICATED"), "{granted}");
    }
}

#[test]
fn what_is_minted_is_what_is_granted() {
    let files = Files::new(&[]);
    let (private, public) = crate::SigningKey::generate().expect("a key");
    files.write("keys.json", &public);
    let (authenticator, key) = (files.open(false), crate::SigningKey::read(private.as_bytes()).expect("a key"));
    let minted = |grants: Vec<(Verb, Grant)>| {
        let wanted = crate::Wanted {
            issuer: "issuer".to_owned(),
            audience: "tidings".to_owned(),
            subject: "alice".to_owned(),
            grants,
            lifetime: Duration::from_secs(600),
            ..crate::Wanted::default()
        };
        let token = key.mint(&wanted).expect("a token");
        call(&authenticator, &[&format!("Bearer {token}")]).expect("believed").rights()
    };
    assert!(minted(Vec::new()).is_empty());
    for granted in Verb::ALL {
        let rights = minted(vec![(granted, Grant::Exact("mail".to_owned()))]);
        for verb in Verb::ALL {
            assert_eq!(rights.covers(verb, "mail"), verb == granted, "{granted} {verb}");
        }
    }
}

#[test]
fn callers_without_a_good_token_are_refused_in_one_text() {
    let (signer, stranger) = (Signer::new("one"), Signer::new("one"));
    let authenticator = Files::new(&[&signer]).open(false);
    let good = format!("Bearer {}", signer.sign(&claims("alice", 600)));
    let forged = format!("Bearer {}", stranger.sign(&claims("alice", 600)));
    let late = format!("Bearer {}", stranger.sign(&claims("alice", -600)));
    let mut reaching = claims("alice", 600);
    reaching["publish"] = json!(["orders.*.eu"]);
    let reaching = format!("Bearer {}", signer.sign(&reaching));
    let mut texts = Vec::new();
    for headers in [
        &[][..],
        &[""],
        &["Bearer"],
        &["Bearer "],
        &["Basic YTpi"],
        &[&good[7..]],
        &[&good, &good],
        &[&format!("{good} x")],
        &[&format!("{good},{good}")],
        &[&forged],
        &[&late],
        &[&reaching],
        &["Bearer \u{fc}"],
    ] {
        assert_eq!(call(&authenticator, headers).err(), refused("UNAUTHENTICATED"), "{headers:?}");
        let status = ask(&authenticator, headers, &None).expect_err("refused");
        texts.push(status.message().to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    let expired = format!("Bearer {}", signer.sign(&claims("alice", -31)));
    assert_eq!(call(&authenticator, &[&expired]).err(), refused("TOKEN_EXPIRED"));
}

#[test]
fn keys_are_rotated_and_taken_away() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let files = Files::new(&[&old]);
    let authenticator = files.open(false);
    let [by_old, by_new] = [&old, &new].map(|signer| format!("Bearer {}", signer.sign(&claims("alice", 600))));
    call(&authenticator, &[&by_old]).expect("believed");
    assert_eq!(call(&authenticator, &[&by_new]).err(), refused("UNAUTHENTICATED"));
    files.write_keys(&[&old, &new]);
    authenticator.reload();
    for token in [&by_old, &by_new] {
        call(&authenticator, &[token]).expect("believed");
    }
    // What is no key set leaves what there was.
    files.write("keys.json", "{");
    authenticator.reload();
    call(&authenticator, &[&by_old]).expect("believed");
    files.write_keys(&[&new]);
    authenticator.reload();
    assert_eq!(call(&authenticator, &[&by_old]).err(), refused("UNAUTHENTICATED"), "it is remembered no longer");
    call(&authenticator, &[&by_new]).expect("believed");
}

#[test]
fn a_policy_decides_alone_and_at_once() {
    let signer = Signer::new("one");
    let files = Files::new(&[&signer]);
    files.write("policy.toml", "anonymous = [\"a\"]\n[roles.a]\nsubscribe = [\"news.*\"]\n[groups]\nsales = [\"a\"]");
    let authenticator = files.open(true);
    let token = format!("Bearer {}", signer.sign(&claims("alice", 600)));
    let alice = call(&authenticator, &[&token]).expect("believed");
    // What its token grants by itself counts for nothing.
    assert!(alice.rights().covers(Verb::Subscribe, "news.eu") && !alice.rights().covers(Verb::Publish, "orders.eu"));
    let anonymous = call(&authenticator, &[]).expect("anyone may do something");
    assert!(anonymous.subject().is_none() && anonymous.rights().covers(Verb::Subscribe, "news.eu"));
    // A bad token is not nobody's.
    assert_eq!(call(&authenticator, &["Bearer x"]).err(), refused("UNAUTHENTICATED"));
    files.write("policy.toml", "anonymous = [");
    authenticator.reload();
    assert!(alice.rights().covers(Verb::Subscribe, "news.eu"), "what is no policy leaves what there was");
    files.write("policy.toml", "");
    authenticator.reload();
    assert!(alice.rights().is_empty());
    assert_eq!(call(&authenticator, &[]).err(), refused("UNAUTHENTICATED"));
}

#[test]
fn what_can_not_be_read_ends_the_start() {
    let files = Files::new(&[&Signer::new("one")]);
    for (name, text, words) in [
        ("policy.toml", "[roles.a]\npublish = [\"a*b\"]", "policy.toml: line 2"),
        ("keys.json", "{}", "keys.json: it is no JSON Web Key Set"),
    ] {
        files.write("policy.toml", "");
        files.write(name, text);
        let error = Authenticator::open(files.settings(true)).expect_err("unreadable");
        let error = chain(&error);
        assert!(error.contains(words), "{error}");
    }
    let gone = Settings { keys: Some(KeySource::Secret("/nowhere/at/all".into())), ..files.settings(false) };
    assert!(matches!(Authenticator::open(gone), Err(Error::File { .. })));
    std::fs::write(files.folder.path().join("big"), vec![b'a'; (256 << 10) + 1]).expect("a file");
    let big = Settings { keys: Some(KeySource::Secret(files.folder.path().join("big"))), ..files.settings(false) };
    assert!(chain(&Authenticator::open(big).expect_err("too much")).contains("more than 262144 bytes"));
}

#[tokio::test(start_paused = true)]
async fn files_are_read_again_by_themselves() {
    let signer = Signer::new("one");
    let files = Files::new(&[&signer]);
    files.write("policy.toml", "");
    let authenticator = files.open(true);
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn(Arc::clone(&authenticator).keep_current(shutdown.clone()));
    let token = format!("Bearer {}", signer.sign(&claims("alice", 600)));
    let alice = call(&authenticator, &[&token]).expect("believed");
    files.write("policy.toml", "[roles.a]\nmanage = [\"*\"]\n[subjects]\nalice = [\"a\"]");
    let mut changes = alice.changes().expect("a policy can change");
    changes.changed().await.expect("open");
    assert!(alice.rights().covers(Verb::Manage, "anything"));
    shutdown.cancel();
    keeping.await.expect("no panic");
}

#[test]
fn a_certificate_alone_makes_a_caller() {
    let files = Files::new(&[]);
    files.write("policy.toml", "[roles.a]\npublish = [\"orders.*\"]\n[certificates]\n\"a.example\" = [\"a\"]");
    let alone = Settings { keys: None, ..files.settings(true) };
    let authenticator = Authenticator::open(alone.clone()).expect("readable files");
    let caller = ask(&authenticator, &[], &certificate("A.example", 600)).expect("believed");
    assert_eq!(caller.subject(), Some("a.example"));
    assert!(
        caller.rights().covers(Verb::Publish, "orders.eu") && !caller.rights().covers(Verb::Subscribe, "orders.eu")
    );
    assert!(ask(&authenticator, &[], &certificate("b.example", 600)).expect("believed").rights().is_empty());
    // Nobody can check it.
    assert_eq!(
        ask(&authenticator, &["Bearer a.b.c"], &certificate("a.example", 600)).map_err(told).err(),
        refused("UNAUTHENTICATED")
    );
    assert_eq!(ask(&authenticator, &[], &Some(Err(Unnamed::Nobody))).map_err(told).err(), refused("UNAUTHENTICATED"));
    assert_eq!(
        ask(&authenticator, &[], &certificate("a.example", -1)).map_err(told).err(),
        refused("CERTIFICATE_EXPIRED")
    );
    // Where nothing says what a certificate may do, those who sign them do.
    let authenticator = Authenticator::open(Settings { policy: None, ..alone }).expect("nothing to read");
    let caller = ask(&authenticator, &[], &certificate("spiffe://a/b", 600)).expect("believed");
    assert!(caller.rights().covers(Verb::Manage, "anything") && caller.subject() == Some("spiffe://a/b"));
    assert_eq!(ask(&authenticator, &[], &Some(Err(Unnamed::Several))).map_err(told).err(), refused("UNAUTHENTICATED"));
}

#[test]
fn a_token_over_a_certificate_may_do_what_both_may_until_the_first_of_them_ends() {
    let signer = Signer::new("one");
    let files = Files::new(&[&signer]);
    let (a, b) = (certificate("a.example", 60), certificate("b.example", 6_000));
    let alice = format!("Bearer {}", signer.sign(&claims("alice", 600)));
    // Without a policy a certificate grants nothing, and takes nothing.
    let authenticator = files.open(false);
    let caller = ask(&authenticator, &[&alice], &a).expect("believed");
    assert!(
        caller.rights().covers(Verb::Publish, "orders.eu") && !caller.rights().covers(Verb::Subscribe, "orders.eu")
    );
    assert_eq!(ask(&authenticator, &[], &a).map_err(told).err(), refused("UNAUTHENTICATED"));
    files.write(
        "policy.toml",
        "[roles.all]\npublish = [\"*\"]\n[roles.eu]\npublish = [\"orders.eu\"]\n[subjects]\nalice = [\"all\"]\n\
         [certificates]\n\"a.example\" = [\"eu\"]",
    );
    let authenticator = files.open(true);
    for _ in 0..2 {
        let over_a = ask(&authenticator, &[&alice], &a).expect("believed");
        let rights = over_a.rights();
        assert!(rights.covers(Verb::Publish, "orders.eu") && !rights.covers(Verb::Publish, "orders.us"));
        assert_eq!((over_a.subject(), over_a.identity().certificate.as_deref()), (Some("alice"), Some("a.example")));
        assert_eq!(over_a.expiry().map(|expiry| expiry.reason), Some(Reason::Certificate));
        // The same token over another certificate is somebody else, though it is remembered.
        let over_b = ask(&authenticator, &[&alice], &b).expect("believed");
        assert!(over_b.rights().is_empty());
        assert_eq!(over_b.expiry().map(|expiry| expiry.reason), Some(Reason::Token));
        let without = ask(&authenticator, &[&alice], &None).expect("believed");
        assert!(without.rights().covers(Verb::Publish, "orders.us"));
    }
    assert_eq!(ask(&authenticator, &["Bearer x"], &a).map_err(told).err(), refused("UNAUTHENTICATED"));
    assert_eq!(
        ask(&authenticator, &[&alice], &Some(Err(Unnamed::Several))).map_err(told).err(),
        refused("UNAUTHENTICATED")
    );
    assert_eq!(
        ask(&authenticator, &[&alice], &certificate("a.example", -1)).map_err(told).err(),
        refused("CERTIFICATE_EXPIRED")
    );
}

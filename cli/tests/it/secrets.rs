//! Secrets stay where they are: both services log everything that they and their libraries can, every kind of failure
//! is made, and nothing that anybody can read of them afterwards has a password, a token, or a key.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tidings::{
    access::{Grant, Verb},
    pb::{
        PublishRequest, publisher_service_client::PublisherServiceClient,
        subscriber_service_client::SubscriberServiceClient,
    },
};
use tidings_auth::{SigningKey, Wanted};
use tidings_testing::{
    TlsRedis,
    certificates::{Authority, Files},
    free_port,
};
use tokio::time::sleep;
use tonic::{
    Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::harness::{Admin, Process, TEST_TIMEOUT, binary, channel, text};

const PASSWORD: &str = "zq-redis-password-7f3a91";
const NEXT_PASSWORD: &str = "zq-redis-password-c04e55";
const SECRET: &str = "zq-hs256-secret-3b9d-0123456789-abcdefghijklmnop";
const SHORT: &str = "zq-short-secret";
const STRAY: &str = "zq-stray-secret-of-another-file";

/// What was said, and where.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn note(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn status<T: std::fmt::Debug>(&mut self, place: &str, answer: Result<T, Status>) {
        self.note(place, format!("{answer:?} {}", answer.as_ref().err().map(ToString::to_string).unwrap_or_default()));
    }

    /// Nothing of it has one of these.
    fn assert_free_of(&self, secrets: &[String]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                let around = text.find(secret.as_str()).map(|at| {
                    let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                    text[from..].chars().take(600).collect::<String>()
                });
                assert_eq!(around, None, "{place} has {secret:?}");
            }
        }
    }
}

/// The lines of a key that are the key, and the parts of a token that nobody may have.
fn parts(secret: &str) -> Vec<String> {
    let lines = secret.lines().filter(|line| !line.starts_with("-----"));
    lines.flat_map(|line| line.split('.').skip(usize::from(line.contains('.')))).map(str::to_owned).collect()
}

fn token(key: &SigningKey, subject: &str, lifetime: Duration) -> String {
    let grant = |verb| (verb, Grant::parse("orders").expect("a grant"));
    let wanted = Wanted {
        issuer: "issuer".to_owned(),
        audience: "tidings".to_owned(),
        subject: subject.to_owned(),
        groups: Vec::new(),
        grants: vec![grant(Verb::Publish), grant(Verb::Subscribe)],
        lifetime,
    };
    key.mint(&wanted).expect("a token")
}

fn with<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    request
}

/// Both services on a Redis with TLS, a user and a password, with all files that they can have.
struct House {
    redis: TlsRedis,
    files: Files,
    publisher: (Process, SocketAddr, Admin),
    subscriber: (Process, SocketAddr, Admin),
    ca: String,
}

impl House {
    fn start() -> Self {
        let redis = TlsRedis::start(&["127.0.0.1"], true);
        let (files, authority) = (Files::new(), Authority::new());
        let (own, client) = (authority.sign(&["localhost", "127.0.0.1"]), redis.authority.sign(&["tidings.test"]));
        files.write("password", PASSWORD);
        files.write("secret", SECRET);
        files.write(
            "policy.toml",
            "[roles.clerk]\npublish = [\"orders\"]\nsubscribe = [\"orders\"]\n[subjects]\nalice = [\"clerk\"]\n",
        );
        for (name, pair) in [("own", &own), ("client", &client)] {
            files.write(&format!("{name}.pem"), &pair.cert);
            files.write(&format!("{name}.key"), &pair.key);
        }
        set_password(&redis, PASSWORD);
        let flag = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        let mut args = vec![
            format!("--redis-url={}", redis.url("bob", "127.0.0.1")),
            "--redis-timeout=1s".to_owned(),
            "--log-filter=trace,tidings=trace".to_owned(),
            "--auth-issuer=issuer".to_owned(),
            "--auth-audience=tidings".to_owned(),
            flag("redis-ca", redis.files.path("ca.pem")),
        ];
        for (name, file) in [
            ("redis-password-file", "password"),
            ("redis-cert", "client.pem"),
            ("redis-key", "client.key"),
            ("auth-secret-file", "secret"),
            ("auth-policy", "policy.toml"),
        ] {
            args.push(flag(name, files.path(file)));
        }
        let tls = [flag("tls-cert", files.path("own.pem")), flag("tls-key", files.path("own.key"))];
        let start = |program: &str, more: &[String]| {
            let (address, admin) = (SocketAddr::from(([127, 0, 0, 1], free_port())), Admin::choose());
            let own = [format!("--listen={address}"), admin.flag()];
            (Process::start(program, &[&args[..], &own, more].concat()), address, admin)
        };
        let publisher = start("tidings-publisher", &tls);
        let subscriber = start("tidings-subscriber", &[]);
        Self { redis, files, publisher, subscriber, ca: authority.pem().to_owned() }
    }

    async fn publisher(&self) -> PublisherServiceClient<Channel> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.publisher.1)).expect("an address");
        let endpoint = endpoint.tls_config(tls).expect("certificates");
        PublisherServiceClient::new(endpoint.connect().await.expect("it listens"))
    }

    async fn subscriber(&self) -> SubscriberServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.subscriber.1)).expect("an address");
        SubscriberServiceClient::new(endpoint.connect().await.expect("it listens"))
    }

    /// Waits until both have said this.
    fn wait_for(&self, words: &str) {
        for process in [&self.publisher.0, &self.subscriber.0] {
            let deadline = Instant::now() + TEST_TIMEOUT;
            while !process.output().contains(words) {
                assert!(Instant::now() < deadline, "nobody says {words:?}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    async fn are_ready(&self) {
        for (_, _, admin) in [&self.publisher, &self.subscriber] {
            admin.listens().await;
            admin.becomes("/readyz", 200).await;
        }
    }

    fn note_all(&self, said: &mut Said) {
        for (name, (process, _, admin)) in [("publisher", &self.publisher), ("subscriber", &self.subscriber)] {
            let about = |what: &str| format!("{name}: {what}");
            said.note(&about("logs"), process.output());
            for path in ["/metrics", "/readyz", "/livez", "/else"] {
                said.note(&about(path), format!("{:?}", admin.get(path)));
            }
            for file in ["cmdline", "environ"] {
                let content = std::fs::read(format!("/proc/{}/{file}", process.id())).expect("it runs");
                said.note(&about(file), String::from_utf8_lossy(&content));
            }
        }
    }
}

fn set_password(redis: &TlsRedis, password: &str) {
    let password = format!(">{password}");
    redis.server.command(&["ACL", "SETUSER", "bob", "reset", "on", &password, "~*", "&*", "+@all"]);
    redis.server.command(&["CLIENT", "KILL", "USER", "bob"]);
}

/// What answers a few bytes by hand.
fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a time");
    stream.write_all(bytes.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_services_say_has_a_secret_whatever_fails() {
    let house = House::start();
    let mut said = Said::default();
    let (key, other) = (SigningKey::read(SECRET.as_bytes()).expect("a key"), "zq-another-secret-0123456789-0123456789");
    let stranger = SigningKey::read(other.as_bytes()).expect("a key");
    let hour = Duration::from_secs(3_600);
    let good = token(&key, "alice", hour);
    let tokens = [
        good.clone(),
        token(&key, "alice", Duration::from_secs(1)),
        token(&key, "nobody-of-the-policy", hour),
        token(&stranger, "alice", hour),
        format!("{STRAY}.{STRAY}.{STRAY}"),
        STRAY.to_owned(),
    ];
    let mut secrets: Vec<String> = [PASSWORD, NEXT_PASSWORD, SECRET, SHORT, STRAY, other].map(str::to_owned).to_vec();
    secrets.extend(tokens.iter().flat_map(|token| parts(token)));
    for name in ["own.key", "client.key"] {
        secrets.extend(parts(&std::fs::read_to_string(house.files.path(name)).expect("a key")));
    }

    // Calls of all kinds: good ones, refused ones, and bytes that are none.
    house.are_ready().await;
    let (mut publisher, mut subscriber) = (house.publisher().await, house.subscriber().await);
    publisher.publish(with(text("orders", "x"), &good)).await.expect("published");
    let mut open =
        subscriber.stream_messages(with(channel("orders"), &tokens[1])).await.expect("good until it expires");
    sleep(Duration::from_secs(1)).await;
    for (n, token) in tokens.iter().enumerate() {
        for name in ["orders", "other", "a b", ""] {
            let place = format!("token {n} on {name:?}");
            said.status(&place, publisher.publish(with(text(name, "x"), token)).await);
            said.status(&place, subscriber.stream_messages(with(channel(name), token)).await.map(|_| ()));
        }
        let empty = PublishRequest { channel: "orders".to_owned(), ..PublishRequest::default() };
        said.status("no payload", publisher.publish(with(empty, token)).await);
        for target in ["tidings.v1.SubscriberService/ListMessages", "no.such.Service/Call"] {
            let head = format!(
                "POST /{target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\nauthorization: Bearer {token}\r\n\r\n\0\0\0\0\0"
            );
            said.note("an answer", raw(house.subscriber.1, &head));
            said.note("no TLS", raw(house.publisher.1, &head));
        }
        said.note("no HTTP", raw(house.subscriber.1, &format!("AUTH {token}\r\n\r\n")));
    }

    // Redis: another password, no file, none at all, another authority's certificate; then all is well again.
    set_password(&house.redis, NEXT_PASSWORD);
    house.wait_for("refuses the user or password");
    said.status("a wrong password", publisher.publish(with(text("orders", "x"), &good)).await);
    house.files.write("password", &format!("{NEXT_PASSWORD}\n{STRAY}\n"));
    house.wait_for("holds no password");
    said.status("a broken file", publisher.publish(with(text("orders", "x"), &good)).await);
    house.files.write("password", &format!("{NEXT_PASSWORD}\n"));
    house.are_ready().await;
    let ca = std::fs::read_to_string(house.redis.files.path("ca.pem")).expect("a file");
    for (broken, words) in [
        (Authority::new().pem().to_owned(), "not signed by anyone trusted"),
        (format!("{STRAY}\n"), "no certificate in PEM"),
    ] {
        house.redis.files.write("ca.pem", &broken);
        house.redis.server.command(&["CLIENT", "KILL", "USER", "bob"]);
        house.wait_for(words);
        said.status("no TLS to Redis", publisher.publish(with(text("orders", "x"), &good)).await);
    }
    house.redis.files.write("ca.pem", &ca);
    let client_key = std::fs::read_to_string(house.files.path("client.key")).expect("a file");
    house.files.write("client.key", &client_key.replace("PRIVATE KEY", "ZQ KEY"));
    house.redis.server.command(&["CLIENT", "KILL", "USER", "bob"]);
    house.wait_for("no private key in PEM");
    house.files.write("client.key", &client_key);
    house.are_ready().await;

    // Files for callers that can't be used any more.
    house.files.write("secret", SHORT);
    house.files.write("policy.toml", &format!("{STRAY} = [\n"));
    let own_key = std::fs::read_to_string(house.files.path("own.key")).expect("a file");
    house.files.write("own.key", &own_key.replace("PRIVATE KEY", "ZQ KEY"));
    for words in ["the secret has 15 bytes", "policy.toml"] {
        house.wait_for(words);
    }
    house.publisher.0.wait_for_output("the certificate can't be read again");
    said.status("still with the old ones", publisher.publish(with(text("orders", "x"), &good)).await);
    loop {
        match open.get_mut().message().await {
            Ok(Some(event)) => said.note("an event", format!("{event:?}")),
            Ok(None) => break,
            Err(status) => {
                said.note("an expired stream", format!("{status:?}"));
                break;
            }
        }
    }
    house.note_all(&mut said);
    said.assert_free_of(&secrets);
}

/// What a program writes that does not start, or only helps.
fn written(program: &str, variables: &[(&str, &str)], args: &[String]) -> String {
    let output = Command::new("timeout")
        .args(["5"])
        .arg(binary(program))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the program runs");
    [output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}

#[test]
fn help_and_what_ends_a_program_have_no_secret() {
    let files = Files::new();
    let pair = Authority::new().sign(&["a.test"]);
    let (stray, key) = (files.write("stray", &format!("{STRAY}\n")), files.write("key.pem", &pair.key));
    let field = files.write("field.toml", &format!("'{STRAY}' = 1\n"));
    let listed = files.write("listed.toml", &format!("roles = \"{STRAY}\"\n"));
    let json = |name: &str, text: String| files.write(name, &text);
    let jwks = [
        json("a.json", format!("{{\"keys\":\"{STRAY}\"}}")),
        json("b.json", format!("{{\"keys\":[{{\"kty\":\"{STRAY}\"}}]}}")),
        json("c.json", format!("{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{STRAY}\"}}]}}")),
        json("d.json", format!("{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{STRAY}\"}}]}}")),
        stray.clone(),
        key.clone(),
    ];
    let mut secrets = vec![STRAY.to_owned(), PASSWORD.to_owned()];
    secrets.extend(parts(&pair.key));
    let mut said = Said::default();
    let url = format!("redis://bob:{PASSWORD}@127.0.0.1:1/0");
    let keys_url = format!("https://u:{PASSWORD}@127.0.0.1:1/x");
    let flag = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
    let signed = ["--auth-issuer=i".to_owned(), "--auth-audience=a".to_owned()];
    for program in ["tidings-publisher", "tidings-subscriber", "tidings"] {
        let mut note = |args: Vec<String>, variables: &[(&str, &str)]| {
            let text = written(program, variables, &args);
            assert!(!text.is_empty(), "{program} {args:?}");
            said.note(&format!("{program} {args:?}"), text);
        };
        for help in ["--help", "-h"] {
            let variables = [("TIDINGS_REDIS_URL", url.as_str()), ("TIDINGS_REDIS_PASSWORD_FILE", "/run/x")];
            note(vec![help.to_owned()], &variables);
            // Whatever may be an address may have a password in it.
            for name in ["TIDINGS_AUTH_JWKS", "TIDINGS_PUBLISHER", "TIDINGS_SUBSCRIBER"] {
                note(vec![help.to_owned()], &[(name, keys_url.as_str())]);
            }
        }
        for bad in ["https://u:{}@h/x", "http://u:{}@h/x", "ftp://u:{}@h", "https://u:{}@[/x", "http://h/{}", "://{}"] {
            let url = bad.replace("{}", PASSWORD);
            note([vec![format!("--auth-jwks={url}")], signed.to_vec()].concat(), &[]);
            note(signed.to_vec(), &[("TIDINGS_AUTH_JWKS", url.as_str())]);
        }
        for bad in [
            "redis://bob:{}@host:port",
            "rediss://bob:{}@h/#insecure",
            "redis+cluster://bob:{}@h",
            "redis+sentinel://bob:{}@h",
            "redis+sentinel://bob:{}@h,c@d/m",
            "rediss+sentinel://bob:{}@h:x/m",
            "redis://bob:{}@a,b",
            "bob:{}@h",
            "redis://bob:{}@h/x",
        ] {
            note(vec![format!("--redis-url={}", bad.replace("{}", PASSWORD))], &[]);
            note(Vec::new(), &[("TIDINGS_REDIS_URL", bad.replace("{}", PASSWORD).as_str())]);
        }
        note(vec![format!("--redis-url={url}"), flag("redis-password-file", &stray)], &[]);
        let of_redis = |more: String| vec!["--redis-url=rediss://h".to_owned(), more];
        note(of_redis(flag("redis-ca", &stray)), &[]);
        note(of_redis(flag("redis-password-file", &key)), &[]);
        note(vec!["--redis-url=redis+sentinel://h/m".to_owned(), flag("sentinel-password-file", &key)], &[]);
        note([of_redis(flag("redis-cert", &key)), vec![flag("redis-key", &stray)]].concat(), &[]);
        note(vec![flag("tls-cert", &key), flag("tls-key", &stray)], &[]);
        for jwks in &jwks {
            note([vec![flag("auth-jwks", jwks)], signed.to_vec()].concat(), &[]);
        }
        for policy in [&stray, &key, &listed, &field] {
            let args = vec![flag("auth-jwks", &jwks[0]), flag("auth-policy", policy)];
            note([args, signed.to_vec()].concat(), &[]);
        }
        note(
            vec![flag("auth-secret-file", &files.write("short", "zq-stray")), signed[0].clone(), signed[1].clone()],
            &[],
        );
    }
    for policy in [&stray, &key, &listed, &field] {
        let args = ["auth", "check", "--policy", &policy.to_string_lossy(), "--subject", "s", "publish", "c"];
        said.note("auth check", written("tidings", &[], &args.map(str::to_owned)));
    }
    for (flag, name, command) in [
        ("--publisher", "TIDINGS_PUBLISHER", &["publish", "c", "x"][..]),
        ("--subscriber", "TIDINGS_SUBSCRIBER", &["channels"]),
        ("--subscriber", "TIDINGS_SUBSCRIBER", &["list", "c"]),
        ("--subscriber", "TIDINGS_SUBSCRIBER", &["tail", "c"]),
        ("--publisher", "TIDINGS_PUBLISHER", &["healthcheck"]),
    ] {
        let args = |more: &[&str]| [command, more].concat().iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        for bad in [keys_url.clone(), format!("u:{PASSWORD}@127.0.0.1:1"), format!("ftp://u:{PASSWORD}@h")] {
            said.note(&format!("{command:?} {flag}"), written("tidings", &[], &args(&[flag, &bad])));
            said.note(&format!("{command:?} {name}"), written("tidings", &[(name, &bad)], &args(&[])));
            said.note(&format!("{command:?} --help {name}"), written("tidings", &[(name, &bad)], &args(&["--help"])));
        }
    }
    said.note("healthcheck", written("tidings", &[], &["healthcheck".to_owned(), keys_url.clone()]));
    for token in [&stray, &key] {
        let file = token.to_string_lossy().into_owned();
        let args = ["publish", "c", "x", "--token-file", &file, "--publisher", "127.0.0.1:1", "--timeout", "1s"];
        said.note("publish", written("tidings", &[], &args.map(str::to_owned)));
    }
    secrets.push("zq-stray".to_owned());
    said.assert_free_of(&secrets);
}

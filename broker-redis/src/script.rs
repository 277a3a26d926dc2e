//! The Lua scripts. They are called by hash; a server that has forgotten one is given it again.
//!
//! Each file of `scripts/` is a whole script, and each of `scripts/parts/` a whole chunk. Where a line says `--@ name`,
//! the part of that name is inserted, or, where it is capitals, the constants of those names. Parts are text,
//! not functions: closures cost a publish of one message 4 % of Redis's time.

use std::{fmt::Write as _, sync::OnceLock};

use redis::{Cmd, RedisResult, Script as Hashed, Value};
use tidings::{
    limits::{
        CHANNEL_SUBSCRIPTIONS, CONSUMERS_KEPT, DEAD_AGE, DEAD_BYTES, DEAD_REMOVED, EXPIRE_MAX, HEAD_EPOCHS,
        HEAD_FORMAT, HEAD_LINGER, HEAD_WRITERS, HEARSAY_RUNS, HOLD_MESSAGES_FACTOR, OPTIMISTIC_CLOCKS_APART,
        READ_STEP_RUNS, RESERVATION, RESERVED, SUBSCRIPTIONS, TRIMMED_RUNS,
    },
    message::MAX_SEQUENCE,
};

use crate::{Role, multiplexed::MultiplexedConnection};

/// One script.
pub(super) struct Script {
    source: &'static str,
    whole: OnceLock<Whole>,
}

/// As Redis has it.
struct Whole {
    code: String,
    hash: String,
}

macro_rules! script {
    ($name:literal) => {
        Script::new(include_str!(concat!("../scripts/", $name, ".lua")))
    };
}

macro_rules! parts {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!("../scripts/parts/", $name, ".lua")))),+]
    };
}

/// What `--@ name` is replaced with.
const PARTS: [(&str, &str); 20] = parts!(
    "tools",
    "date",
    "begin",
    "number",
    "append",
    "write",
    "trim",
    "lives",
    "leave",
    "head_of",
    "subscription",
    "channel_end",
    "is_present",
    "out_between",
    "first_kept",
    "start_of",
    "remove_letters",
    "hold_of",
    "held_together",
    "hold"
);
/// The format of a subscription's books.
const SUBSCRIPTION_FORMAT: i64 = 1;
/// The format of a head of which no subscription holds anything, which earlier versions know as well.
const HEAD_FORMAT_UNHELD: i64 = 1;
/// What `--@ NAME` is replaced with.
const CONSTANTS: [(&str, &dyn std::fmt::Display); 23] = [
    ("FORMAT", &HEAD_FORMAT),
    ("FORMAT_TEXT", &Quoted(HEAD_FORMAT)),
    ("CLOCKS_APART_MS", &OPTIMISTIC_CLOCKS_APART.as_millis()),
    ("READ_STEP_RUNS", &READ_STEP_RUNS),
    ("TRIMMED_RUNS", &TRIMMED_RUNS),
    ("EPOCHS", &HEAD_EPOCHS),
    ("HEARSAY_RUNS", &HEARSAY_RUNS),
    ("WRITERS", &HEAD_WRITERS),
    ("NO_END", &MAX_SEQUENCE),
    ("FORMAT_UNHELD", &HEAD_FORMAT_UNHELD),
    ("FORMAT_UNHELD_TEXT", &Quoted(HEAD_FORMAT_UNHELD)),
    ("HEAD_HELD_MS", &EXPIRE_MAX.as_millis()),
    ("HOLD_MESSAGES_FACTOR", &HOLD_MESSAGES_FACTOR),
    ("HEAD_LINGER_MS", &HEAD_LINGER.as_millis()),
    ("SUBSCRIPTION_FORMAT", &Quoted(SUBSCRIPTION_FORMAT)),
    ("SUBSCRIPTIONS", &SUBSCRIPTIONS),
    ("CHANNEL_SUBSCRIPTIONS", &CHANNEL_SUBSCRIPTIONS),
    ("RESERVATION_MS", &RESERVATION.as_millis()),
    ("RESERVED_MS", &RESERVED.as_millis()),
    ("CONSUMERS_KEPT_MS", &CONSUMERS_KEPT.as_millis()),
    ("DEAD_AGE_MS", &DEAD_AGE.as_millis()),
    ("DEAD_BYTES", &DEAD_BYTES),
    ("DEAD_REMOVED", &DEAD_REMOVED),
];

/// As Redis answers it.
struct Quoted(i64);

impl std::fmt::Display for Quoted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}'", self.0)
    }
}

pub(super) static PUBLISH: Script = script!("publish");
pub(super) static REPORT: Script = script!("report");
pub(super) static ADOPT: Script = script!("adopt");
pub(super) static OPTIMISTIC: Script = script!("optimistic");
pub(super) static HEAD: Script = script!("head");
// One script, not two in a MULTI: there a Redis without memory refuses reads as well.
pub(super) static READ: Script = script!("read");
pub(super) static SINCE: Script = script!("since");
/// Asked over live connections only.
pub(super) static RECENT: Script = script!("recent");
pub(super) static REGISTER: Script = script!("register");
pub(super) static UNREGISTER: Script = script!("unregister");
pub(super) static SUBSCRIPTION_APPLY: Script = script!("subscription_apply");
pub(super) static SUBSCRIPTION_LOOK: Script = script!("subscription_look");
pub(super) static SUBSCRIPTION_RENEW: Script = script!("subscription_renew");
pub(super) static SUBSCRIPTION_CREATE: Script = script!("subscription_create");
pub(super) static SUBSCRIPTION_SET: Script = script!("subscription_set");
pub(super) static SUBSCRIPTION_DELETE: Script = script!("subscription_delete");
pub(super) static SUBSCRIPTION_SEEK: Script = script!("subscription_seek");
pub(super) static SUBSCRIPTION_FATES: Script = script!("subscription_fates");
pub(super) static SUBSCRIPTION_DUE: Script = script!("subscription_due");
pub(super) static SUBSCRIPTION_LETTERS: Script = script!("subscription_letters");
pub(super) static SUBSCRIPTION_REDRIVE: Script = script!("subscription_redrive");
pub(super) static SUBSCRIPTION_SENT: Script = script!("subscription_sent");
pub(super) static SUBSCRIPTION_RESERVE: Script = script!("subscription_reserve");
pub(super) static SUBSCRIPTION_RELEASE: Script = script!("subscription_release");
pub(super) static SUBSCRIPTION_NAMES: Script = script!("subscription_names");
/// The scripts of subscriptions. A server is given them at first, like the others; see [`load`].
const OF_SUBSCRIPTIONS: [&Script; 15] = [
    &SUBSCRIPTION_APPLY,
    &SUBSCRIPTION_LOOK,
    &SUBSCRIPTION_RENEW,
    &SUBSCRIPTION_CREATE,
    &SUBSCRIPTION_SET,
    &SUBSCRIPTION_DELETE,
    &SUBSCRIPTION_SEEK,
    &SUBSCRIPTION_FATES,
    &SUBSCRIPTION_DUE,
    &SUBSCRIPTION_LETTERS,
    &SUBSCRIPTION_REDRIVE,
    &SUBSCRIPTION_SENT,
    &SUBSCRIPTION_RESERVE,
    &SUBSCRIPTION_RELEASE,
    &SUBSCRIPTION_NAMES,
];
static CAPABLE: Script = script!("capable");
/// The commands that the scripts use, beside INFO.
const COMMANDS: &str = "TIME EXISTS GET SET HMGET HGET HSET HLEN HDEL PTTL PEXPIRE PUBLISH XADD XRANGE XREVRANGE XTRIM XINFO|STREAM ZADD \
                        ZRANGE ZCARD ZSCORE ZREM ZCOUNT HVALS HGETALL HINCRBY HSTRLEN HEXISTS UNLINK";
/// Those that a publisher's user must have, and whose absence the scripts do not name by themselves.
const PUBLISHER_COMMANDS: &str = "TIME HMGET HGET HLEN PTTL XINFO|STREAM";
/// The same of a subscriber's user, with what receives messages.
const SUBSCRIBER_COMMANDS: &str = "TIME HMGET HGET GET EXISTS XRANGE XREVRANGE XINFO|STREAM ZRANGE ZCARD \
                                   SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE";

/// Inserts parts and constants.
fn assemble(source: &str) -> String {
    let mut code = String::with_capacity(4 * source.len());
    for line in source.lines() {
        match line.trim_start().strip_prefix("--@ ") {
            None => code.extend([line, "\n"]),
            Some(names) if names.starts_with(|first: char| first.is_ascii_uppercase()) => {
                for name in names.split(' ') {
                    let (_, value) = CONSTANTS.iter().find(|(known, _)| *known == name).expect("a constant");
                    writeln!(code, "local {name} = {value}").expect("a string has room");
                }
            }
            Some(name) => {
                let (_, part) = PARTS.iter().find(|(known, _)| *known == name).expect("a part");
                code.push_str(&assemble(part));
            }
        }
    }
    code
}

impl Script {
    const fn new(source: &'static str) -> Self {
        Self { source, whole: OnceLock::new() }
    }

    fn whole(&self) -> &Whole {
        self.whole.get_or_init(|| {
            let code = assemble(self.source);
            Whole { hash: Hashed::new(&code).get_hash().to_owned(), code }
        })
    }

    /// The beginning of a call; the number of keys, the keys and the arguments follow.
    pub(super) fn call(&self) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.hash());
        call
    }

    /// Sends a call. NOSCRIPT means that it was not carried out: the script is loaded and the call sent again.
    pub(super) async fn send(&self, call: &Cmd, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match connection.send_packed_command(call).await.and_then(Value::extract_error) {
            Err(error) if is_missing(&error) => {
                self.load(connection).await?;
                connection.send_packed_command(call).await.and_then(Value::extract_error)
            }
            answer => answer,
        }
    }

    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        redis::cmd("SCRIPT").arg("LOAD").arg(self.code()).query_async(connection).await
    }

    pub(super) fn hash(&self) -> &str {
        &self.whole().hash
    }

    pub(super) fn code(&self) -> &str {
        &self.whole().code
    }
}

pub(super) fn is_missing(error: &redis::RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Gives a server all scripts.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let scripts = [&PUBLISH, &OPTIMISTIC, &REPORT, &ADOPT, &HEAD, &READ, &SINCE, &REGISTER, &UNREGISTER];
    for script in scripts.into_iter().chain(OF_SUBSCRIPTIONS) {
        script.load(connection).await?;
    }
    Ok(())
}

/// Finds out which command of the scripts a server lacks, or which right of this role its user lacks. Answers in words,
/// with '' for nothing.
pub(super) async fn lacks(connection: &mut MultiplexedConnection, role: Role) -> RedisResult<String> {
    CAPABLE.load(connection).await?;
    let needed = match role {
        Role::Publisher => PUBLISHER_COMMANDS.to_owned(),
        Role::Subscriber => SUBSCRIBER_COMMANDS.to_owned(),
        Role::Both => format!("{PUBLISHER_COMMANDS} {SUBSCRIBER_COMMANDS}"),
    };
    let mut call = CAPABLE.call();
    call.arg(0).arg(COMMANDS).arg(needed);
    call.query_async(connection).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_testing::RedisServer;

    use super::*;
    use crate::server::Steps;

    const ALL: [(&str, &Script); 26] = [
        ("publish", &PUBLISH),
        ("optimistic", &OPTIMISTIC),
        ("report", &REPORT),
        ("adopt", &ADOPT),
        ("head", &HEAD),
        ("read", &READ),
        ("since", &SINCE),
        ("recent", &RECENT),
        ("register", &REGISTER),
        ("unregister", &UNREGISTER),
        ("subscription_apply", &SUBSCRIPTION_APPLY),
        ("subscription_look", &SUBSCRIPTION_LOOK),
        ("subscription_renew", &SUBSCRIPTION_RENEW),
        ("subscription_create", &SUBSCRIPTION_CREATE),
        ("subscription_set", &SUBSCRIPTION_SET),
        ("subscription_delete", &SUBSCRIPTION_DELETE),
        ("subscription_seek", &SUBSCRIPTION_SEEK),
        ("subscription_fates", &SUBSCRIPTION_FATES),
        ("subscription_due", &SUBSCRIPTION_DUE),
        ("subscription_letters", &SUBSCRIPTION_LETTERS),
        ("subscription_redrive", &SUBSCRIPTION_REDRIVE),
        ("subscription_sent", &SUBSCRIPTION_SENT),
        ("subscription_reserve", &SUBSCRIPTION_RESERVE),
        ("subscription_release", &SUBSCRIPTION_RELEASE),
        ("subscription_names", &SUBSCRIPTION_NAMES),
        ("capable", &CAPABLE),
    ];

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        let named = |code: &str, before: &str| -> Vec<String> {
            let calls = code.split(before).skip(1);
            calls.filter_map(|rest| rest.split('\'').next().map(str::to_owned)).collect()
        };
        let mut seen = 0;
        for (_, script) in ALL.iter().filter(|(name, _)| *name != "capable") {
            for before in ["call('", "pcall('", "check_cmd('", "may('"] {
                for command in named(script.code(), before).iter().filter(|command| *command != "INFO") {
                    let mut known = COMMANDS.split(' ').map(|known| known.trim_end_matches("|STREAM"));
                    assert!(known.any(|known| known == command), "{command}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 30, "{seen}");
    }

    /// Asked for SET without a key, servers look for it beyond the arguments, where a user has some keys only.
    #[tokio::test]
    async fn a_server_is_asked_for_no_set_without_a_key() {
        let server = RedisServer::start();
        let asks = "local function asks(command, ...)
            if command == 'SET' and select('#', ...) == 0 then error('SET has no key') end
            return redis.acl_check_cmd(command, ...)
        end";
        let (first, rest) = CAPABLE.code().split_once('\n').expect("lines");
        let code = format!("{first}\n{asks}\n{}", rest.replace("redis.acl_check_cmd", "asks"));
        assert_eq!(code.matches("(asks, ").count(), 2, "{code}");
        let needed = format!("{PUBLISHER_COMMANDS} {SUBSCRIBER_COMMANDS}");
        assert_eq!(server.command(&["EVAL", &code, "0", COMMANDS, &needed]), "$0");
    }

    /// Redis compiles each file, part and whole script, and none of the whole ones reads or writes a global but Redis's
    /// and Lua's own.
    #[tokio::test]
    async fn scripts_are_whole_and_have_no_globals() {
        let server = RedisServer::start();
        let (address, timeout) = (crate::ServerUrl::parse(&server.url()).expect("an address"), Duration::from_secs(20));
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(timeout));
        let opened = MultiplexedConnection::open(&address.into(), &Steps::default(), "test", config, timeout).await;
        let mut connection = opened.expect("it listens");
        for (name, source) in ALL.iter().map(|(name, script)| (*name, script.source)).chain(PARTS) {
            let loaded: RedisResult<String> =
                redis::cmd("SCRIPT").arg("LOAD").arg(source).query_async(&mut connection).await;
            loaded.unwrap_or_else(|error| panic!("{name}.lua is no chunk: {error}"));
        }
        const KNOWN: [&str; 14] = [
            "redis", "KEYS", "ARGV", "string", "math", "table", "tonumber", "type", "ipairs", "pairs", "unpack",
            "select", "pcall", "next",
        ];
        for (name, script) in ALL {
            script.load(&mut connection).await.unwrap_or_else(|error| panic!("{name} is no script: {error}"));
            // The first line is no Lua.
            let code = script.code().replacen("#!", "--", 1);
            let dump = "return string.dump(loadstring(ARGV[1]))";
            let bytecode: Vec<u8> =
                redis::cmd("EVAL").arg(dump).arg(0).arg(code).query_async(&mut connection).await.expect("bytecode");
            let globals = bytecode::globals(&bytecode);
            assert!(globals.iter().any(|global| global == "redis"), "{name}: {globals:?}");
            for global in globals {
                assert!(KNOWN.contains(&global.as_str()), "{name} has the global {global}");
            }
        }
    }

    #[test]
    fn constants_are_those_of_the_limits() {
        let code = PUBLISH.code();
        for line in ["local FORMAT = 2\n", "local EPOCHS = 16\n", "local HEARSAY_RUNS = 64\n", "local WRITERS = 16\n"] {
            assert!(code.contains(line), "{line}");
        }
        assert!(!code.contains("--@"));
    }

    /// Reads what Lua 5.1 compiles chunks to.
    mod bytecode {
        /// The globals that a chunk and its functions read or write.
        pub(super) fn globals(dump: &[u8]) -> Vec<String> {
            // The signature and version, a format, and the sizes of numbers here.
            assert_eq!(dump[..12], *b"\x1bLuaQ\0\x01\x04\x08\x04\x08\0", "Lua 5.1 on 64 bits");
            let mut reader = Reader { rest: &dump[12..], globals: Vec::new() };
            reader.function();
            assert!(reader.rest.is_empty());
            reader.globals
        }

        struct Reader<'a> {
            rest: &'a [u8],
            globals: Vec<String>,
        }

        impl Reader<'_> {
            fn take<const N: usize>(&mut self) -> [u8; N] {
                let (taken, rest) = self.rest.split_first_chunk().expect("more bytecode");
                self.rest = rest;
                *taken
            }

            fn number(&mut self) -> usize {
                u32::from_le_bytes(self.take()) as usize
            }

            fn text(&mut self) -> String {
                let length = u64::from_le_bytes(self.take()) as usize;
                let (text, rest) = self.rest.split_at(length);
                self.rest = rest;
                String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or_default()).into_owned()
            }

            fn function(&mut self) {
                const GET_GLOBAL: u32 = 5;
                const SET_GLOBAL: u32 = 7;
                self.text();
                // Lines, and four counts of a byte.
                self.number();
                self.number();
                self.take::<4>();
                let code: Vec<u32> = (0..self.number()).map(|_| u32::from_le_bytes(self.take())).collect();
                let constants: Vec<String> = (0..self.number()).map(|_| self.constant()).collect();
                (0..self.number()).for_each(|_| self.function());
                for _ in 0..self.number() {
                    self.number();
                }
                for _ in 0..self.number() {
                    self.text();
                    self.number();
                    self.number();
                }
                (0..self.number()).for_each(|_| drop(self.text()));
                let is_global = |instruction: &&u32| matches!(**instruction & 0x3f, GET_GLOBAL | SET_GLOBAL);
                let named =
                    code.iter().filter(is_global).map(|instruction| constants[(instruction >> 14) as usize].clone());
                self.globals.extend(named);
            }

            fn constant(&mut self) -> String {
                match self.take::<1>()[0] {
                    0 => String::new(),
                    1 => format!("{:?}", self.take::<1>()),
                    3 => f64::from_le_bytes(self.take()).to_string(),
                    4 => self.text(),
                    kind => panic!("a constant of kind {kind}"),
                }
            }
        }
    }
}

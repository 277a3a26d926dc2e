//! The Lua scripts. They are called by hash; a server that has forgotten one is given it again.

use std::sync::LazyLock;

use redis::{Cmd, RedisResult, Script as Hashed, Value, aio::MultiplexedConnection};

/// One script.
pub(super) struct Script {
    code: &'static str,
    hash: LazyLock<String>,
}

macro_rules! script {
    ($($part:expr),+) => {
        Script {
            code: concat!($($part),+),
            hash: LazyLock::new(|| Hashed::new(concat!($($part),+)).get_hash().to_owned()),
        }
    };
}

/// A script that writes without knowing anything beforehand: what it does before, and behind what all of them do.
macro_rules! writing {
    ($before:literal; $behind:literal) => {
        script!(
            "#!lua\n",
            include_str!("../scripts/tools.lua"),
            include_str!("../scripts/date.lua"),
            include_str!("../scripts/begin.lua"),
            include_str!(concat!("../scripts/", $before)),
            include_str!("../scripts/number.lua"),
            include_str!("../scripts/append.lua"),
            include_str!("../scripts/write.lua"),
            include_str!("../scripts/trim.lua"),
            include_str!("../scripts/leave.lua"),
            include_str!(concat!("../scripts/", $behind))
        )
    };
}

pub(super) static PUBLISH: Script = writing!("publish.lua"; "published.lua");
pub(super) static REPORT: Script = script!(
    "#!lua\n",
    include_str!("../scripts/tools.lua"),
    include_str!("../scripts/begin.lua"),
    include_str!("../scripts/report.lua")
);
pub(super) static ADOPT: Script = writing!("adopt.lua"; "adopted.lua");
// In the middle its parts are indented: they stand within a condition.
pub(super) static OPTIMISTIC: Script = script!(
    "#!lua\n",
    include_str!("../scripts/optimistic.lua"),
    include_str!("../scripts/tools.lua"),
    include_str!("../scripts/append.lua"),
    include_str!("../scripts/appended.lua"),
    include_str!("../scripts/tools.lua"),
    include_str!("../scripts/trim.lua"),
    include_str!("../scripts/pushed.lua")
);
pub(super) static HEAD: Script = script!(
    "#!lua flags=no-writes\n",
    include_str!("../scripts/head.lua"),
    "return head_of(KEYS[1], KEYS[2], KEYS[3])\n"
);
// One script, not two in a MULTI: there a Redis without memory refuses reads as well.
pub(super) static READ: Script =
    script!("#!lua flags=no-writes\n", include_str!("../scripts/head.lua"), include_str!("../scripts/read.lua"));
pub(super) static SINCE: Script = script!(include_str!("../scripts/since.lua"));
/// Asked over live connections only.
pub(super) static RECENT: Script = script!(include_str!("../scripts/recent.lua"));
pub(super) static REGISTER: Script = script!(include_str!("../scripts/register.lua"));
pub(super) static UNREGISTER: Script = script!(include_str!("../scripts/unregister.lua"));
static CAPABLE: Script = script!(include_str!("../scripts/capable.lua"));
/// The commands that the scripts use, beside INFO.
const COMMANDS: &str = "TIME EXISTS GET SET HMGET HGET HSET HLEN HDEL PTTL PEXPIRE PUBLISH XADD XRANGE XREVRANGE XTRIM XINFO ZADD ZRANGE \
                        ZCARD ZSCORE ZREM";

impl Script {
    /// The beginning of a call; the number of keys, the keys and the arguments follow.
    pub(super) fn call(&self) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.hash.as_str());
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
        redis::cmd("SCRIPT").arg("LOAD").arg(self.code).query_async(connection).await
    }

    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

pub(super) fn is_missing(error: &redis::RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Gives a server all scripts.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    for script in [&PUBLISH, &OPTIMISTIC, &REPORT, &ADOPT, &HEAD, &READ, &SINCE, &REGISTER, &UNREGISTER] {
        script.load(connection).await?;
    }
    Ok(())
}

/// Finds out what a server lacks of what the scripts need; answers it in words, '' for nothing.
/// `listens`: messages are to be received as well.
pub(super) async fn lacks(connection: &mut MultiplexedConnection, listens: bool) -> RedisResult<String> {
    CAPABLE.load(connection).await?;
    let mut call = CAPABLE.call();
    call.arg(0).arg(COMMANDS).arg(i32::from(listens));
    call.query_async(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        let all = [&PUBLISH, &OPTIMISTIC, &REPORT, &ADOPT, &HEAD, &READ, &SINCE, &RECENT, &REGISTER, &UNREGISTER];
        let named = |code: &str, before: &str| -> Vec<String> {
            let calls = code.split(before).skip(1);
            calls.filter_map(|rest| rest.split('\'').next().map(str::to_owned)).collect()
        };
        let mut seen = 0;
        for script in all {
            for before in ["call('", "pcall('", "check_cmd('", "may('"] {
                for command in named(script.code, before).iter().filter(|command| *command != "INFO") {
                    assert!(COMMANDS.split(' ').any(|known| known == command), "{command}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 30, "{seen}");
    }
}

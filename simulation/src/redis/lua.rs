//! Lua 5.1 as Redis has it: the scripts run as they are, over [`Context`].

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value};

use super::{commands::Context, reply::Reply};

thread_local! {
    /// What the script that runs now looks at.
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// What `begin.lua` asks before it compares its caller's receipts with the history that is there.
const COMPARES_RECEIPTS: &str = "if seen_epoch ~= '' and (seen_epoch ~= epoch or seen > last) then";

static FORGETS_RECEIPTS: AtomicBool = AtomicBool::new(false);

/// From now on scripts are compiled without that comparison.
pub(crate) fn forget_receipts() {
    FORGETS_RECEIPTS.store(true, Ordering::Relaxed);
}

/// All scripts, compiled once. It outlives schedules: scripts keep no state.
pub(crate) struct Engine {
    lua: Lua,
    /// A dozen, so that to compare is less than to hash.
    by_code: Vec<(Vec<u8>, String)>,
    scripts: HashMap<String, Script>,
}

struct Script {
    function: Function,
    pub(crate) is_reading: bool,
}

impl Engine {
    pub(crate) fn new() -> mlua::Result<Self> {
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::default())?;
        let redis = lua.create_table()?;
        redis.set("call", lua.create_function(|lua, words: MultiValue| call(lua, words, true))?)?;
        redis.set("pcall", lua.create_function(|lua, words: MultiValue| call(lua, words, false))?)?;
        redis.set("acl_check_cmd", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
        redis.set("log", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
        redis.set("error_reply", lua.create_function(|lua, text: mlua::String| named(lua, "err", &text))?)?;
        redis.set("status_reply", lua.create_function(|lua, text: mlua::String| named(lua, "ok", &text))?)?;
        redis.set("sha1hex", lua.create_function(|_, text: mlua::String| Ok(sha1(&text.as_bytes())))?)?;
        lua.globals().set("redis", redis)?;
        Ok(Self { lua, by_code: Vec::new(), scripts: HashMap::new() })
    }

    /// Compiles a script; answers its hash.
    pub(crate) fn load(&mut self, code: &[u8]) -> String {
        if let Some((_, hash)) = self.by_code.iter().find(|(known, _)| known == code) {
            return hash.clone();
        }
        let hash = sha1(code);
        let (shebang, body) = match code.starts_with(b"#!") {
            true => code.split_at(code.iter().position(|byte| *byte == b'\n').unwrap_or(code.len())),
            false => (&b""[..], code),
        };
        let body = match FORGETS_RECEIPTS.load(Ordering::Relaxed) {
            true => String::from_utf8_lossy(body).replace(COMPARES_RECEIPTS, "if false then").into_bytes(),
            false => body.to_vec(),
        };
        let function = self.lua.load(body).into_function().unwrap_or_else(|error| panic!("a script: {error}"));
        let is_reading = String::from_utf8_lossy(shebang).contains("no-writes");
        self.scripts.insert(hash.clone(), Script { function, is_reading });
        self.by_code.push((code.to_vec(), hash.clone()));
        hash
    }

    /// Whether a script says of itself that it writes nothing.
    pub(crate) fn is_reading(&self, hash: &str) -> bool {
        self.scripts.get(hash).is_some_and(|script| script.is_reading)
    }

    /// Runs a script: `words` are the number of keys, the keys and the arguments.
    pub(crate) fn run(&self, hash: &str, words: &[Vec<u8>], context: &mut Context) -> Reply {
        let script = &self.scripts[hash];
        let keys: usize = std::str::from_utf8(&words[0]).ok().and_then(|text| text.parse().ok()).expect("a count");
        let table = |words: &[Vec<u8>]| {
            let table = self.lua.create_table_with_capacity(words.len(), 0)?;
            for (at, word) in (1..).zip(words) {
                table.raw_set(at, self.lua.create_string(word)?)?;
            }
            Ok::<_, mlua::Error>(table)
        };
        let empty =
            Context { keys: Default::default(), now_us: 0, info: String::new(), published: Vec::new(), wrote: false };
        CONTEXT.set(Some(std::mem::replace(context, empty)));
        let ran = (|| {
            self.lua.globals().raw_set("KEYS", table(&words[1..=keys])?)?;
            self.lua.globals().raw_set("ARGV", table(&words[keys + 1..])?)?;
            script.function.call::<Value>(())
        })();
        *context = CONTEXT.take().expect("it was put there");
        match ran {
            Ok(value) => reply(&value),
            Err(error) => {
                let text = error.to_string();
                match text.split_once("REDIS:") {
                    Some((_, text)) => Reply::error(text.lines().next().unwrap_or_default().to_owned() + " script"),
                    None => panic!("a script failed: {text}"),
                }
            }
        }
    }
}

fn named(lua: &Lua, name: &str, text: &mlua::String) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(name, text)?;
    Ok(table)
}

fn sha1(code: &[u8]) -> String {
    redis::Script::new(&String::from_utf8_lossy(code)).get_hash().to_owned()
}

fn call(lua: &Lua, words: MultiValue, raises: bool) -> mlua::Result<Value> {
    let words: Vec<Word<'_>> = words.iter().map(word).collect();
    let reply = CONTEXT.with_borrow_mut(|context| context.as_mut().expect("a script runs").run(&words));
    match reply {
        Reply::Error(text) if raises => Err(mlua::Error::runtime(format!("REDIS:{text}"))),
        reply => value(lua, reply),
    }
}

enum Word<'a> {
    Lua(mlua::BorrowedBytes<'a>),
    Own(Vec<u8>),
}

impl AsRef<[u8]> for Word<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Lua(text) => text.as_ref(),
            Self::Own(text) => text,
        }
    }
}

fn word(value: &Value) -> Word<'_> {
    match value {
        Value::String(text) => Word::Lua(text.as_bytes()),
        Value::Integer(number) => Word::Own(number.to_string().into_bytes()),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e17 => {
            Word::Own((*number as i64).to_string().into_bytes())
        }
        Value::Number(number) => Word::Own(number.to_string().into_bytes()),
        other => panic!("Lua redis lib command arguments must be strings or integers, not {other:?}"),
    }
}

fn value(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Int(number) => Value::Number(number as f64),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Nil => Value::Boolean(false),
        Reply::Status(text) => Value::Table(named(lua, "ok", &lua.create_string(text)?)?),
        Reply::Error(text) => Value::Table(named(lua, "err", &lua.create_string(text)?)?),
        Reply::Array(items) | Reply::Map(items) | Reply::Push(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (at, item) in (1..).zip(items) {
                table.raw_set(at, value(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}

fn reply(value: &Value) -> Reply {
    match value {
        Value::Integer(number) => Reply::Int(*number),
        Value::Number(number) => Reply::Int(*number as i64),
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Boolean(true) => Reply::Int(1),
        Value::Boolean(false) | Value::Nil => Reply::Nil,
        Value::Table(table) => {
            let text = |name: &str| match table.raw_get::<Value>(name) {
                Ok(Value::String(text)) => Some(text.to_string_lossy()),
                _ => None,
            };
            if let Some(text) = text("err") {
                return Reply::Error(text);
            }
            if text("ok").is_some() {
                return Reply::Status("OK");
            }
            let mut items = Vec::new();
            for at in 1.. {
                match table.raw_get::<Value>(at) {
                    Ok(Value::Nil) | Err(_) => break,
                    Ok(item) => items.push(reply(&item)),
                }
            }
            Reply::Array(items)
        }
        other => panic!("a script answers {other:?}"),
    }
}

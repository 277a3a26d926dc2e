//! The commands that Tidings uses, on keys. What is not here is an error of the model, and ends the run.

use std::borrow::Cow;

use super::{
    ids::{bound, entry, id, written},
    keys::{Keys, Stream, Value},
    reply::Reply,
};

/// One command's or one script's look at a server.
pub(crate) struct Context {
    pub(crate) keys: Keys,
    /// The server's own clock, µs since 1970.
    pub(crate) now_us: i64,
    /// What `INFO replication` answers.
    pub(crate) info: String,
    /// What was published, in order.
    pub(crate) published: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) wrote: bool,
}

const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

macro_rules! of {
    ($context:expr, $key:expr, $kind:ident) => {
        match $context.keys.get($key) {
            None => None,
            Some(Value::$kind(value)) => Some(value),
            Some(_) => return Reply::error(WRONGTYPE),
        }
    };
}

macro_rules! of_mut {
    ($context:expr, $key:expr, $kind:ident) => {{
        $context.wrote = true;
        match $context.keys.get_mut($key, || Value::$kind(Default::default())) {
            Value::$kind(value) => value,
            _ => return Reply::error(WRONGTYPE),
        }
    }};
}

fn int(word: &[u8]) -> i64 {
    let text = std::str::from_utf8(word).expect("a number");
    text.parse().unwrap_or_else(|_| text.parse::<f64>().unwrap_or_else(|_| panic!("no number: {text}")) as i64)
}

fn bulk(value: Option<&Vec<u8>>) -> Reply {
    value.map_or(Reply::Nil, |value| Reply::Bulk(value.clone()))
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

pub(crate) fn name(word: &[u8]) -> Cow<'_, str> {
    match word.iter().any(u8::is_ascii_lowercase) {
        true => Cow::Owned(String::from_utf8_lossy(word).to_ascii_uppercase()),
        false => String::from_utf8_lossy(word),
    }
}

impl Context {
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    /// Whether a command changes something.
    pub(crate) fn writes(command: &str) -> bool {
        matches!(
            command,
            "SET"
                | "SETNX"
                | "DEL"
                | "UNLINK"
                | "HSET"
                | "HSETNX"
                | "HDEL"
                | "HINCRBY"
                | "XADD"
                | "XTRIM"
                | "PEXPIRE"
                | "PEXPIREAT"
                | "EXPIRE"
                | "PERSIST"
                | "ZADD"
                | "ZREM"
                | "ZREMRANGEBYSCORE"
                | "INCR"
                | "RENAME"
                | "SADD"
                | "SREM"
        )
    }

    pub(crate) fn run<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Reply {
        let word = |at: usize| words[at].as_ref();
        let command = name(word(0));
        match &*command {
            "PING" => Reply::Status("PONG"),
            "TIME" => Reply::Array(vec![
                Reply::text((self.now_us / 1_000_000).to_string()),
                Reply::text((self.now_us % 1_000_000).to_string()),
            ]),
            "INFO" => Reply::text(self.info.clone()),
            "EXISTS" => {
                Reply::Int(words[1..].iter().filter(|key| self.keys.get(key.as_ref()).is_some()).count() as i64)
            }
            "TYPE" => Reply::Status(match self.keys.get(word(1)) {
                None => "none",
                Some(Value::Text(_)) => "string",
                Some(Value::Hash(_)) => "hash",
                Some(Value::Stream(_)) => "stream",
                Some(Value::Sorted(_)) => "zset",
                Some(Value::Set(_)) => "set",
            }),
            "DEL" | "UNLINK" => {
                let gone = words[1..].iter().filter(|key| self.keys.remove(key.as_ref())).count();
                self.wrote |= gone > 0;
                Reply::Int(gone as i64)
            }
            "GET" => bulk(of!(self, word(1), Text)),
            "SETNX" => self.set(&[b"SET", word(1), word(2), b"NX"]),
            "SET" => self.set(&words.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
            "PUBLISH" => {
                self.published.push((word(1).to_vec(), word(2).to_vec()));
                Reply::Int(1)
            }
            "PEXPIRE" | "PEXPIREAT" | "EXPIRE" => {
                let time = int(word(2));
                let at = match &*command {
                    "PEXPIRE" => self.now_ms() + time,
                    "EXPIRE" => self.now_ms() + time * 1000,
                    _ => time,
                };
                if let Some(condition) = words.get(3).map(AsRef::as_ref) {
                    let set = self.keys.expires_ms(word(1));
                    let may = match &*name(condition) {
                        "NX" => set == Some(None),
                        "XX" => matches!(set, Some(Some(_))),
                        "GT" => matches!(set, Some(Some(before)) if at > before),
                        "LT" => matches!(set, Some(before) if before.is_none_or(|before| at < before)),
                        other => panic!("PEXPIRE {other}"),
                    };
                    if !may {
                        return Reply::Int(0);
                    }
                }
                let set = self.keys.set_expiry(word(1), Some(at));
                self.wrote |= set;
                Reply::Int(i64::from(set))
            }
            "PERSIST" => {
                self.wrote = true;
                Reply::Int(i64::from(self.keys.set_expiry(word(1), None)))
            }
            "PTTL" => Reply::Int(match self.keys.expires_ms(word(1)) {
                None => -2,
                Some(None) => -1,
                Some(Some(at)) => at - self.now_ms(),
            }),
            "PEXPIRETIME" => Reply::Int(match self.keys.expires_ms(word(1)) {
                None => -2,
                Some(None) => -1,
                Some(Some(at)) => at,
            }),
            "HGET" => bulk(of!(self, word(1), Hash).and_then(|hash| hash.get(word(2)))),
            "HMGET" => {
                let hash = of!(self, word(1), Hash);
                let field = |name: &W| bulk(hash.and_then(|hash| hash.get(name.as_ref())));
                Reply::Array(words[2..].iter().map(field).collect())
            }
            "HGETALL" => {
                let hash = of!(self, word(1), Hash).into_iter().flatten();
                Reply::Map(hash.flat_map(|(k, v)| [Reply::Bulk(k.clone()), Reply::Bulk(v.clone())]).collect())
            }
            "HVALS" => {
                let hash = of!(self, word(1), Hash).into_iter().flatten();
                Reply::Array(hash.map(|(_, value)| Reply::Bulk(value.clone())).collect())
            }
            "HEXISTS" => Reply::Int(i64::from(of!(self, word(1), Hash).is_some_and(|hash| hash.contains_key(word(2))))),
            "HLEN" => Reply::Int(of!(self, word(1), Hash).map_or(0, |hash| hash.len() as i64)),
            "HSET" => {
                let hash = of_mut!(self, word(1), Hash);
                let pairs = words[2..].chunks_exact(2);
                let new = pairs.filter(|pair| hash.insert(pair[0].as_ref().into(), pair[1].as_ref().into()).is_none());
                Reply::Int(new.count() as i64)
            }
            "HSETNX" => {
                let hash = of_mut!(self, word(1), Hash);
                let is_new = !hash.contains_key(word(2));
                if is_new {
                    hash.insert(word(2).into(), word(3).into());
                }
                Reply::Int(i64::from(is_new))
            }
            "HDEL" => {
                if of!(self, word(1), Hash).is_none() {
                    return Reply::Int(0);
                }
                let hash = of_mut!(self, word(1), Hash);
                let gone = words[2..].iter().filter(|field| hash.remove(field.as_ref()).is_some()).count();
                if hash.is_empty() {
                    self.keys.remove(word(1));
                }
                Reply::Int(gone as i64)
            }
            "SADD" => {
                let set = of_mut!(self, word(1), Set);
                Reply::Int(words[2..].iter().filter(|member| set.insert(member.as_ref().into())).count() as i64)
            }
            "SREM" => {
                let set = of_mut!(self, word(1), Set);
                Reply::Int(words[2..].iter().filter(|member| set.remove(member.as_ref())).count() as i64)
            }
            "SISMEMBER" => Reply::Int(i64::from(of!(self, word(1), Set).is_some_and(|set| set.contains(word(2))))),
            "XADD" => self.add(words),
            "XLEN" => Reply::Int(of!(self, word(1), Stream).map_or(0, |stream| stream.entries.len() as i64)),
            "XRANGE" => self.range(words, true),
            "XREVRANGE" => self.range(words, false),
            "XTRIM" => {
                assert!(is(word(2), "MINID"), "XTRIM by {}", name(word(2)));
                let least = id(words[words.len() - 1].as_ref(), 0);
                if of!(self, word(1), Stream).is_none() {
                    return Reply::Int(0);
                }
                let stream = of_mut!(self, word(1), Stream);
                let before = stream.entries.len();
                stream.entries.retain(|(id, _)| *id >= least);
                Reply::Int((before - stream.entries.len()) as i64)
            }
            "XINFO" => {
                let Some(stream) = of!(self, word(2), Stream) else { return Reply::error("ERR no such key") };
                Reply::Map(vec![
                    Reply::text("length"),
                    Reply::Int(stream.entries.len() as i64),
                    Reply::text("last-generated-id"),
                    Reply::text(written(stream.last)),
                    Reply::text("first-entry"),
                    stream.entries.first().map_or(Reply::Nil, entry),
                    Reply::text("last-entry"),
                    stream.entries.last().map_or(Reply::Nil, entry),
                ])
            }
            "ZADD" => {
                let option = |name: &str| words[2..].iter().take(2).any(|word| is(word.as_ref(), name));
                let (is_greater, is_new_only) = (option("GT"), option("NX"));
                let sorted = of_mut!(self, word(1), Sorted);
                let mut new = 0;
                for pair in words[2 + usize::from(is_greater) + usize::from(is_new_only)..].chunks_exact(2) {
                    let score = int(pair[0].as_ref()) as f64;
                    match sorted.get_mut(pair[1].as_ref()) {
                        Some(old) if is_new_only || is_greater && *old >= score => {}
                        Some(old) => *old = score,
                        None => {
                            sorted.insert(pair[1].as_ref().into(), score);
                            new += 1;
                        }
                    }
                }
                Reply::Int(new)
            }
            "ZREM" => {
                if of!(self, word(1), Sorted).is_none() {
                    return Reply::Int(0);
                }
                let sorted = of_mut!(self, word(1), Sorted);
                Reply::Int(words[2..].iter().filter(|member| sorted.remove(member.as_ref()).is_some()).count() as i64)
            }
            "ZCARD" => Reply::Int(of!(self, word(1), Sorted).map_or(0, |sorted| sorted.len() as i64)),
            "ZSCORE" => of!(self, word(1), Sorted)
                .and_then(|sorted| sorted.get(word(2)))
                .map_or(Reply::Nil, |score| Reply::text(format!("{score:.0}"))),
            "ZRANGE" => {
                let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
                self.ranked(&words)
            }
            "ZSCAN" => {
                let sorted = of!(self, word(1), Sorted).into_iter().flatten();
                let members =
                    sorted.flat_map(|(name, score)| [Reply::Bulk(name.clone()), Reply::text(format!("{score:.0}"))]);
                Reply::Array(vec![Reply::text("0"), Reply::Array(members.collect())])
            }
            other => panic!(
                "the model lacks {other}: {:?}",
                words.iter().map(|w| String::from_utf8_lossy(w.as_ref())).collect::<Vec<_>>()
            ),
        }
    }

    fn set(&mut self, words: &[&[u8]]) -> Reply {
        let has = |option: &str| words[3..].iter().any(|word| is(word, option));
        let old = self.keys.get(words[1]).and_then(|value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        });
        let is_there = self.keys.get(words[1]).is_some();
        let set = !(has("NX") && is_there || has("XX") && !is_there);
        if set {
            self.wrote = true;
            self.keys.set(words[1], Value::Text(words[2].to_vec()));
            if let Some(at) = words[3..].iter().position(|word| is(word, "PX")) {
                self.keys.set_expiry(words[1], Some(self.now_ms() + int(words[4 + at])));
            }
        }
        match (has("GET"), set) {
            (true, _) => bulk(old.as_ref()),
            (false, true) => Reply::Status("OK"),
            (false, false) => Reply::Nil,
        }
    }

    fn add<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Reply {
        let word = |at: usize| words[at].as_ref();
        let new = id(word(2), 0);
        if of!(self, word(1), Stream).is_some_and(|stream| new <= stream.last) {
            return Reply::error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
        }
        let stream: &mut Stream = of_mut!(self, word(1), Stream);
        stream.last = new;
        stream.entries.push((new, words[3..].iter().map(|field| field.as_ref().to_vec()).collect::<Vec<_>>().into()));
        Reply::text(written(new))
    }

    fn range<W: AsRef<[u8]>>(&self, words: &[W], up: bool) -> Reply {
        let (low, high) = if up { (2, 3) } else { (3, 2) };
        let low = bound(words[low].as_ref(), true);
        let high = bound(words[high].as_ref(), false);
        let count = words.get(5).map_or(usize::MAX, |count| int(count.as_ref()) as usize);
        let Some(stream) = of!(self, words[1].as_ref(), Stream) else { return Reply::Array(Vec::new()) };
        let within = stream.entries.iter().filter(|(id, _)| *id >= low && *id <= high);
        Reply::Array(match up {
            true => within.take(count).map(entry).collect(),
            false => within.rev().take(count).map(entry).collect(),
        })
    }

    fn ranked(&self, words: &[&[u8]]) -> Reply {
        let Some(sorted) = of!(self, words[1], Sorted) else { return Reply::Array(Vec::new()) };
        let by_score = words[4..].iter().any(|word| is(word, "BYSCORE"));
        let is_reversed = words[4..].iter().any(|word| is(word, "REV"));
        let with_scores = words[4..].iter().any(|word| is(word, "WITHSCORES"));
        let mut all: Vec<_> = sorted.iter().collect();
        all.sort_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        if is_reversed {
            all.reverse();
        }
        if by_score {
            let score = |word: &[u8]| match word {
                b"+inf" => f64::INFINITY,
                b"-inf" => f64::NEG_INFINITY,
                word if word[0] == b'(' => int(&word[1..]) as f64 + 0.5,
                word => int(word) as f64,
            };
            let (a, b) = (score(words[2]), score(words[3]));
            all.retain(|(_, score)| **score >= a.min(b) && **score <= a.max(b));
            if let Some(at) = words.iter().position(|word| is(word, "LIMIT")) {
                let (skip, count) = (int(words[at + 1]) as usize, int(words[at + 2]));
                all = all.into_iter().skip(skip).take(if count < 0 { usize::MAX } else { count as usize }).collect();
            }
        } else {
            let bound = |word: &[u8]| match int(word) {
                at if at < 0 => (all.len() as i64 + at).max(0) as usize,
                at => at as usize,
            };
            let (from, to) = (bound(words[2]), bound(words[3]));
            all = all.into_iter().skip(from).take((to + 1).saturating_sub(from)).collect();
        }
        let member = |(name, score): (&Vec<u8>, &f64)| match with_scores {
            true => vec![Reply::Bulk(name.clone()), Reply::text(format!("{score:.0}"))],
            false => vec![Reply::Bulk(name.clone())],
        };
        Reply::Array(all.into_iter().flat_map(member).collect())
    }
}

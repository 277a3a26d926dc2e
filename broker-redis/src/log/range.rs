//! What XRANGE answers about a log, read where it lies, as it arrives.

use std::ops;

use bytes::BytesMut;
use tidings::{
    broker::{Stored, adopt::Adopted},
    limits::{READ_MESSAGE_BYTES, REPLAY_MESSAGES, REPLY_ELEMENTS},
};

use super::sequences;
use crate::resp::Malformed;

/// How far an answer has been read. After its last byte another may follow.
#[derive(Debug, Default)]
pub(crate) struct Range {
    /// Everything before here was read.
    at: usize,
    /// How many runs are to come; not known before the first line.
    left: Option<usize>,
    runs: usize,
    found: Vec<Found>,
}

/// A message by its range in the buffer.
#[derive(Debug)]
struct Found {
    sequence: i64,
    json: ops::Range<usize>,
    adopted: Option<Adopted>,
}

/// Why nothing can be read here.
enum Stop {
    /// The bytes end before it does.
    Short,
    /// It is none of what we write.
    Malformed,
}

impl Range {
    /// Continues with `bytes`, which begin with the answer's first byte. True when the answer is complete.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        loop {
            let (at, found) = (self.at, self.found.len());
            let read = match self.left {
                Some(0) => return Ok(true),
                Some(_) => self.run(bytes),
                None => self.begin(bytes),
            };
            match read {
                Ok(()) => {}
                Err(Stop::Malformed) => return Err(Malformed),
                Err(Stop::Short) => {
                    // A run is read as a whole, the next time from its beginning.
                    self.at = at;
                    self.found.truncate(found);
                    return Ok(false);
                }
            }
        }
    }

    /// How many runs there were, and the messages; takes the answer out of the buffer that it was read in.
    pub(crate) fn take(self, buffer: &mut BytesMut) -> (usize, Vec<Stored>) {
        let frame = buffer.split_to(self.at).freeze();
        let stored = |Found { sequence, json, adopted }| Stored { sequence, json: frame.slice(json), adopted };
        (self.runs, self.found.into_iter().map(stored).collect())
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.left = Some(self.count(bytes, b'*', REPLY_ELEMENTS)?);
        Ok(())
    }

    fn run(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.count(bytes, b'*', 2)? != 2 {
            return Err(Stop::Malformed);
        }
        let id = self.string(bytes)?;
        let mut sequences = sequences(&bytes[id]).ok_or(Stop::Malformed)?;
        let fields = self.count(bytes, b'*', REPLY_ELEMENTS)?;
        if self.runs == 0 {
            // The others are mostly as large.
            let messages = (fields / 2).saturating_mul(self.left.unwrap_or(1));
            self.found.reserve(messages.min(REPLAY_MESSAGES));
        }
        let (mut time_ms, mut follows_message) = (None, false);
        for _ in 0..fields / 2 {
            if let Some(json) = self.message(bytes) {
                let sequence = sequences.next().ok_or(Stop::Malformed)?;
                self.found.push(Found { sequence, json, adopted: None });
                follows_message = true;
                continue;
            }
            let (name, value) = (self.string(bytes)?, self.string(bytes)?);
            let is_message = &bytes[name.clone()] == b"m";
            match &bytes[name] {
                b"m" => {
                    let sequence = sequences.next().ok_or(Stop::Malformed)?;
                    self.found.push(Found { sequence, json: value, adopted: None });
                }
                b"r" if follows_message => {
                    let hash = bytes[value].try_into().map_err(|_| Stop::Malformed)?;
                    let time_ms = time_ms.ok_or(Stop::Malformed)?;
                    let message = self.found.last_mut().ok_or(Stop::Malformed)?;
                    message.adopted = Some(Adopted { hash, time_ms });
                }
                b"t" => time_ms = std::str::from_utf8(&bytes[value]).ok().and_then(|time_ms| time_ms.parse().ok()),
                _ => {}
            }
            follows_message = is_message;
        }
        self.left = self.left.map(|left| left - 1);
        self.runs += 1;
        Ok(())
    }

    /// The fast path for the usual case: a message's name, and the message as a whole. `None` for anything else, and
    /// then nothing is read.
    fn message(&mut self, bytes: &[u8]) -> Option<ops::Range<usize>> {
        const NAME: &[u8; 8] = b"$1\r\nm\r\n$";
        let (name, line) = bytes.get(self.at..)?.split_first_chunk::<8>()?;
        if name != NAME {
            return None;
        }
        let (mut length, mut count) = (0, 0);
        // As many as the largest has.
        for byte in line.iter().take(7).take_while(|byte| byte.is_ascii_digit()) {
            length = length * 10 + usize::from(byte - b'0');
            count += 1;
        }
        if count == 0 || length > READ_MESSAGE_BYTES {
            return None;
        }
        let (line_end, rest) = line.get(count..)?.split_first_chunk::<2>()?;
        let end = rest.get(length..)?.first_chunk::<2>()?;
        if line_end != b"\r\n" || end != b"\r\n" {
            return None;
        }
        let start = self.at + NAME.len() + count + 2;
        self.at = start + length + 2;
        Some(start..start + length)
    }

    /// The range of a bulk string.
    fn string(&mut self, bytes: &[u8]) -> Result<ops::Range<usize>, Stop> {
        let length = self.count(bytes, b'$', READ_MESSAGE_BYTES)?;
        let end = self.at + length;
        let line_end = bytes.get(end..end + 2).ok_or(Stop::Short)?;
        if line_end != b"\r\n" {
            return Err(Stop::Malformed);
        }
        let range = self.at..end;
        self.at = end + 2;
        Ok(range)
    }

    /// The number of a line that begins with this.
    fn count(&mut self, bytes: &[u8], kind: u8, most: usize) -> Result<usize, Stop> {
        let line = bytes.get(self.at..).ok_or(Stop::Short)?;
        let (first, digits) = line.split_first().ok_or(Stop::Short)?;
        if *first != kind {
            return Err(Stop::Malformed);
        }
        let mut number = 0;
        for (i, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
                b'\r' if i > 0 => {
                    self.at += i + 3;
                    return match digits.get(i + 1) {
                        Some(b'\n') => Ok(number),
                        Some(_) => Err(Stop::Malformed),
                        None => Err(Stop::Short),
                    };
                }
                _ => return Err(Stop::Malformed),
            }
            if number > most {
                return Err(Stop::Malformed);
            }
        }
        Err(Stop::Short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: [u8; 16] = *b"0123456789abcdef";

    fn bulk(bytes: &[u8]) -> Vec<u8> {
        [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
    }

    fn run(id: &str, fields: &[&[u8]]) -> Vec<u8> {
        let count = format!("*{}\r\n", fields.len());
        let fields: Vec<u8> = fields.iter().flat_map(|field| bulk(field)).collect();
        [b"*2\r\n".to_vec(), bulk(id.as_bytes()), count.into_bytes(), fields].concat()
    }

    fn answer() -> Vec<u8> {
        let one = run("2-2", &[b"t", b"1700", b"b", b"12", b"m", b"first", b"m", b"\r\n$1\r\nm"]);
        let two = run("3-1", &[b"t", b"1800", b"m", b"adopted", b"r", &HASH, b"new", b"x"]);
        [b"*2\r\n".to_vec(), one, two].concat()
    }

    fn read(bytes: &[u8], step: usize) -> Result<Option<(usize, Vec<Stored>)>, Malformed> {
        let mut range = Range::default();
        let mut buffer = BytesMut::new();
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            if range.read(&buffer)? {
                return Ok(Some(range.take(&mut buffer)));
            }
        }
        Ok(None)
    }

    #[test]
    fn it_is_the_same_however_it_comes() {
        let stored = |sequence, json: &'static [u8], adopted| Stored { sequence, json: json.into(), adopted };
        let adopted = Adopted { hash: HASH, time_ms: 1800 };
        let whole = [stored(1, b"first", None), stored(2, b"\r\n$1\r\nm", None), stored(3, b"adopted", Some(adopted))];
        let bytes = answer();
        for step in 1..=bytes.len() {
            assert_eq!(read(&bytes, step), Ok(Some((2, whole.to_vec()))), "{step}");
        }
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], 7), Ok(None), "{length}");
        }
        assert_eq!(read(b"*0\r\n", 9), Ok(Some((0, Vec::new()))));
    }

    #[test]
    fn what_follows_stays() {
        let mut buffer = BytesMut::from(&[answer(), b"*1\r\n".to_vec()].concat()[..]);
        let mut range = Range::default();
        assert_eq!(range.read(&buffer), Ok(true));
        assert_eq!(range.take(&mut buffer).1.len(), 3);
        assert_eq!(&buffer[..], b"*1\r\n");
    }

    #[test]
    fn anything_else_is_refused() {
        let odd = |id: &str, fields: &[&[u8]]| [b"*1\r\n".to_vec(), run(id, fields)].concat();
        for odd in [
            b"-ERR no\r\n".to_vec(),
            b"$-1\r\n".to_vec(),
            b"*1\r\n*3\r\n".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1\r\n$1\r\n".to_vec(),
            b"*\r\n".to_vec(),
            b"*1\rx".to_vec(),
            b"*99999999999999999999999\r\n".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1xx".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nm\r\n$1\r\nxyz".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nm\r\n$1xyz\r\n".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nm\r\n$\r\n\r\n".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nm\r\n$1056769\r\n".to_vec(),
            b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nm\r\n$99999999999999999999999\r\n".to_vec(),
            odd("1", &[b"m", b"x"]),
            odd("1-1", &[b"m", b"x", b"m", b"y"]),
            odd("1-1", &[b"m", b"x", b"r", &HASH]),
            odd("1-1", &[b"t", b"1", b"m", b"x", b"r", b"short"]),
        ] {
            assert_eq!(read(&odd, 1 << 20), Err(Malformed), "{:?}", String::from_utf8_lossy(&odd));
        }
    }
}

//! Where the frames of a RESP stream begin and end, and which are pushed messages. Passes on bytes as they come, but
//! those of a push whose kind is not known yet.

/// What becomes of the frame that is being passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Drop,
    Undecided,
}

#[derive(Debug)]
pub(super) struct Frames {
    /// How many values are missing in each aggregate that is open.
    open: Vec<u64>,
    /// The header that is being read.
    line: Vec<u8>,
    /// Bytes missing of the text that is being read, its line break included.
    text: usize,
    held: Vec<u8>,
    fate: Fate,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), line: Vec::new(), text: 0, held: Vec::new(), fate: Fate::Keep }
    }

    /// Answers what of these bytes is to be passed on. With `mute`, messages whose frame begins in them are not.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mute: bool) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len());
        while let Some(first) = bytes.first() {
            if self.open.is_empty() && self.line.is_empty() && self.text == 0 {
                self.fate = if mute && *first == b'>' { Fate::Undecided } else { Fate::Keep };
            }
            let line_end = || bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            let (part, rest) = bytes.split_at(if self.text > 0 { self.text.min(bytes.len()) } else { line_end() });
            match self.fate {
                Fate::Keep => passed.extend_from_slice(part),
                Fate::Drop => {}
                Fate::Undecided => self.held.extend_from_slice(part),
            }
            self.take(part);
            if self.fate == Fate::Keep {
                passed.append(&mut self.held);
            }
            bytes = rest;
        }
        passed
    }

    fn take(&mut self, part: &[u8]) {
        if self.text > 0 {
            self.text -= part.len();
            if self.text == 0 {
                self.decide();
                self.end_of_value();
            }
            return;
        }
        self.line.extend_from_slice(part);
        if !self.line.ends_with(b"\n") {
            return;
        }
        let line = std::mem::take(&mut self.line);
        let number = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.trim_end().parse::<i64>().ok());
        let number = number.and_then(|number| u64::try_from(number).ok());
        match (line[0], number) {
            (b'$' | b'=' | b'!', Some(length)) => self.text = length as usize + 2,
            (b'*' | b'~' | b'>', Some(count @ 1..)) => self.open.push(count),
            (b'%', Some(count @ 1..)) => self.open.push(2 * count),
            _ => self.end_of_value(),
        }
    }

    /// The first text of a push names its kind.
    fn decide(&mut self) {
        if self.fate == Fate::Undecided {
            let is_message = self.held.ends_with(b"\r\nmessage\r\n") || self.held.ends_with(b"\r\npmessage\r\n");
            self.fate = if is_message { Fate::Drop } else { Fate::Keep };
            if is_message {
                self.held.clear();
            }
        }
    }

    fn end_of_value(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n";
    const SUBSCRIBED: &str = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    const MESSAGE: &str = ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\n>\r\n$1\r\n";
    const PMESSAGE: &str = ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$0\r\n\r\n";
    const LIST: &str = "*3\r\n$-1\r\n*0\r\n*1\r\n+x\r\n";

    #[test]
    fn messages_are_dropped_and_nothing_else_however_it_is_cut() {
        let stream = [HELLO, SUBSCRIBED, MESSAGE, LIST, PMESSAGE, MESSAGE, SUBSCRIBED, "+PONG\r\n", MESSAGE].concat();
        let kept = [HELLO, SUBSCRIBED, LIST, SUBSCRIBED, "+PONG\r\n"].concat();
        for size in 1..stream.len() {
            for (mute, expected) in [(true, &kept), (false, &stream)] {
                let mut frames = Frames::new();
                let passed: Vec<u8> =
                    stream.as_bytes().chunks(size).flat_map(|chunk| frames.pass(chunk, mute)).collect();
                assert_eq!(&String::from_utf8_lossy(&passed), expected, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_frame_is_passed_on_or_dropped_as_a_whole() {
        let mut frames = Frames::new();
        let (begin, end) = MESSAGE.split_at(25);
        assert_eq!(frames.pass(begin.as_bytes(), false), begin.as_bytes());
        assert_eq!(frames.pass(end.as_bytes(), true), end.as_bytes());
        assert_eq!(frames.pass(begin.as_bytes(), true), b"");
        assert_eq!(frames.pass([end, LIST].concat().as_bytes(), false), LIST.as_bytes());
    }
}

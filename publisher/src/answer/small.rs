//! A few bytes of protobuf that are put together where no buffer has to be asked for room.

/// More than any part of a response has that goes through here: 107 bytes, where all numbers are as large as can be.
const ROOM: usize = 128;

/// Up to [`ROOM`] bytes.
pub(super) struct Small {
    bytes: [u8; ROOM],
    length: usize,
}

impl Small {
    pub(super) fn new() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
    }

    /// The beginning of a field of so many bytes.
    pub(super) fn begin(&mut self, field: u8, length: usize) {
        self.byte(field << 3 | 2);
        self.varint(length as u64);
    }

    /// What is zero is left out, as proto3 has it.
    pub(super) fn number(&mut self, field: u8, number: u64) {
        if number != 0 {
            self.byte(field << 3);
            self.varint(number);
        }
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }
}

/// A field of so many bytes, with its tag and its length.
pub(super) fn delimited_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

/// A field that is a number.
pub(super) fn number_length(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + varint_length(number) }
}

/// Seven bits in each byte.
fn varint_length(number: u64) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

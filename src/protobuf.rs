//! Protobuf by hand, for the frames that are written most: what prost would write (see "Encoding" of the protobuf
//! documentation), without a text of its own for each field. Tests of those who use it hold it to prost.

/// A few bytes that are put together where no buffer has to be asked for room. Its user knows that they are no more
/// than `N`.
#[derive(Debug)]
pub struct Small<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Small<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Small<N> {
    /// The finished bytes.
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// One byte, as it is.
    pub fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Bytes, as they are.
    pub fn bytes<const M: usize>(&mut self, bytes: [u8; M]) {
        self.bytes[self.length..self.length + M].copy_from_slice(&bytes);
        self.length += M;
    }

    /// Any number of bytes, as they are.
    pub fn slice(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Room for so many bytes, for a caller that writes them in place.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.length;
        self.length += length;
        &mut self.bytes[start..self.length]
    }

    /// The beginning of a field of so many bytes. Its number is below 16, so that its tag is one byte.
    pub fn begin(&mut self, field: u8, length: usize) {
        self.byte(field << 3 | 2);
        self.varint(length as u64);
    }

    /// A field that is a number. Zero is left out, as in proto3.
    pub fn number(&mut self, field: u8, number: u64) {
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
}

/// The size of a field of so many bytes, with its tag and its length.
pub fn delimited_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

/// The size of a field that is a number.
pub fn number_length(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + varint_length(number) }
}

/// The size of a number: seven bits in each byte.
pub fn varint_length(number: u64) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

/// Seconds and nanoseconds of a time in milliseconds since 1970, as numbers of a `google.protobuf.Timestamp`.
pub fn time(time_ms: i64) -> (u64, u64) {
    (time_ms.div_euclid(1_000) as u64, (time_ms.rem_euclid(1_000) * 1_000_000) as u64)
}

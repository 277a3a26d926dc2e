//! The fields of a protobuf message in their order on the wire, without decoding any. All that prost makes an element
//! of is counted here: where bytes are no message, this goes at least as far as prost does before it refuses them.

/// The types of fields.
const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LENGTH: u32 = 2;
const GROUP: u32 = 3;
const END_OF_GROUP: u32 = 4;
const FIXED_32: u32 = 5;

/// The number of each field, and its bytes where it has a length. What is in groups, which no message of ours has, is
/// passed over.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    groups: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message, groups: 0 }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        // Ten bytes at most.
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = u32::try_from(self.varint()?).ok()?;
            let mut value = &[][..];
            match key & 7 {
                VARINT => {
                    self.varint()?;
                }
                FIXED_64 => {
                    self.take(8)?;
                }
                LENGTH => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    value = self.take(length)?;
                }
                GROUP => {
                    self.groups += 1;
                    continue;
                }
                END_OF_GROUP => {
                    self.groups = self.groups.checked_sub(1)?;
                    continue;
                }
                FIXED_32 => {
                    self.take(4)?;
                }
                _ => return None,
            }
            if self.groups == 0 {
                return Some((key >> 3, value));
            }
        }
    }
}

//! A fuzz target.

/// A check of any bytes, and the bytes to begin with.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Panics where something is wrong.
    pub check: fn(&[u8]),
    /// Bytes that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

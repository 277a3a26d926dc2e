//! What a fuzzer is given.

/// What is checked, and with which bytes to begin.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Panics where something is wrong.
    pub check: fn(&[u8]),
    /// Bytes that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

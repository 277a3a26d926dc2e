//! Replaces the crate of this name: its tables are seeded by addresses, so that their order is another in each
//! process.

pub use fast::RandomState;

/// As in the crate.
pub type HashMap<K, V> = std::collections::HashMap<K, V, fast::RandomState>;

/// As in the crate.
pub type HashSet<T> = std::collections::HashSet<T, fast::RandomState>;

/// As in the crate.
pub trait HashMapExt {
    /// An empty table.
    fn new() -> Self;
    /// A table with room.
    fn with_capacity(capacity: usize) -> Self;
}

impl<K, V> HashMapExt for HashMap<K, V> {
    fn new() -> Self {
        Self::default()
    }

    fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, fast::RandomState)
    }
}

/// As in the crate.
pub mod fast {
    use std::hash::{BuildHasher, Hasher};

    /// The same in each process.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct RandomState;

    /// As in the crate.
    pub type FixedState = RandomState;

    /// FNV-1a, with a last step that mixes the upper bits.
    #[derive(Debug, Clone, Copy)]
    pub struct FoldHasher(u64);

    impl BuildHasher for RandomState {
        type Hasher = FoldHasher;

        fn build_hasher(&self) -> FoldHasher {
            FoldHasher(0xcbf2_9ce4_8422_2325)
        }
    }

    impl Hasher for FoldHasher {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }

        fn finish(&self) -> u64 {
            let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        }
    }
}

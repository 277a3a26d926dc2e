//! Fuzz targets over the checks that are beside what they check: `tidings::fuzzing` and its like in the other
//! crates. `make test` runs the same checks for a moment; here a fuzzer runs them for as long as one likes:
//! `make fuzz TARGET=envelopes SECONDS=600`.

use std::{fs, io, path::Path};

#[doc(hidden)]
pub use libfuzzer_sys::fuzz_target;

/// A target: its name, its seeds, its check.
#[macro_export]
macro_rules! target {
    ($name:literal, $seeds:expr, $check:expr) => {
        $crate::fuzz_target!(
            init: $crate::plant($name, ($seeds)()).expect("the corpus can be written"),
            |bytes: &[u8]| ($check)(bytes)
        );
    };
}

/// Puts the seeds into the target's corpus, before the fuzzer reads it.
pub fn plant(target: &str, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{index}")), seed)?;
    }
    Ok(())
}

//! The README says that every limit is a flag or a line of one file. So no wait and no queue has its size in the code
//! itself.

use std::{fs, path::Path};

use crate::harness::crates;

/// Where limits are: those of operators, with how far they may be set, and all others.
const FOLDERS: [&str; 2] = ["runtime/src/config.rs", "src/limits"];
/// Code that only tests have, in folders of its own.
const TESTS: [&str; 2] = ["src/broker/memory/tests", "subscriber/src/work/model"];
/// What precedes a number only where it bounds something.
const BOUNDS: [&str; 6] = [
    "Duration::from_secs(",
    "Duration::from_millis(",
    "Duration::from_micros(",
    "channel(",
    "Semaphore::new(",
    "ready_chunks(",
];

#[test]
fn waits_and_queues_have_their_limits_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut files, mut found) = (0, Vec::new());
    for folder in crates() {
        look(&root, &folder.join("src"), &mut files, &mut found);
    }
    assert!(files > 100, "{files}");
    assert!(found.is_empty(), "these belong into src/limits.rs: {found:#?}");
}

fn look(root: &Path, folder: &Path, files: &mut usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            look(root, &path, files, found);
            continue;
        }
        let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
        let is_elsewhere = FOLDERS.iter().chain(&TESTS).any(|path| is_of(&name, path));
        if !name.ends_with(".rs") || name.ends_with("tests.rs") || is_elsewhere {
            continue;
        }
        *files += 1;
        let code = fs::read_to_string(&path).expect("code");
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        found.extend(code.lines().filter(|line| has_number(line)).map(|line| format!("{name}: {}", line.trim())));
    }
}

/// Whether a file is this one, or is in the folder beside it.
fn is_of(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

fn has_number(line: &str) -> bool {
    BOUNDS.iter().any(|bound| line.split(bound).skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
}

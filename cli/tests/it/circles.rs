//! What the compiler does not hold of how code is laid out.
//!
//! Modules that import each other can only be read together, so there are none: this reads the imports. A module and
//! those within it are one thing: they may refer to each other, and what one of them imports all of them do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::harness::crates;

/// A module's path within its crate, and which other ones it names.
type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

#[test]
fn no_modules_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let others = ["bench", "testing"].map(|name| root.join(name));
    let mut modules = 0;
    for folder in crates().into_iter().chain(others) {
        let imports = imports(&folder.join("src"));
        modules += imports.len();
        let imports = merged(&imports);
        let circle = imports.keys().find_map(|start| circle(&imports, start));
        let circle = circle.map(|circle| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" → "));
        assert_eq!(circle, None, "in {}", folder.display());
    }
    assert!(modules > 150, "{modules}");
}

#[test]
fn circles_are_found() {
    let module = |name: &str| name.split("::").map(str::to_owned).collect::<Vec<_>>();
    let all: BTreeSet<_> = ["a", "b", "b::c", "d"].map(module).into();
    let codes = [
        ("a", "use super::b::{c::X, Y as Z};"),
        ("b", "mod c; use self::c::X;"),
        ("b::c", "// use crate::a;\nuse super::Y; fn f() { crate::d::g(crate::D) }"),
        ("d", "use crate::{a::{self}, B};"),
    ];
    let imports: Imports = codes.map(|(name, code)| (module(name), named(&module(name), code, &all))).into();
    let found = circle(&merged(&imports), &module("a")).expect("a, b with c, d");
    assert_eq!(found, [module("a"), module("b"), module("d"), module("a")]);
    let harmless: Imports = imports.into_iter().filter(|(name, _)| *name != module("d")).collect();
    let harmless = merged(&harmless);
    assert!(harmless.keys().all(|start| circle(&harmless, start).is_none()));
}

/// What crates can't hold: modules of a crate, and what they must not name.
const WALLS: [(&str, &[&str], &[&str]); 5] = [
    // Meaning knows no server and no clock.
    (".", &["channel", "message", "envelope", "cursor", "limits"], &["tokio", "tonic", "broker", "SystemTime", "now"]),
    // A broker is no service.
    (".", &["broker"], &["tonic", "prost", "http"]),
    // Operations know no protocol.
    ("publisher", &[""], OF_PROTOCOLS),
    ("subscriber", &[""], OF_PROTOCOLS),
    // Only what a `main.rs` calls ends programs and listens to signals: that is `runtime`.
    ("transport", &[""], &["exit", "SignalKind", "var", "var_os"]),
];
const OF_PROTOCOLS: &[&str] =
    &["http", "hyper", "HeaderMap", "headers", "Frame", "trailers", "Body", "exit", "SignalKind", "var_os"];

#[test]
fn modules_name_nothing_beyond_their_walls() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut looked, mut found) = (0, Vec::new());
    for (name, folders, words) in WALLS {
        let mut codes = BTreeMap::new();
        gather(&root.join(name).join("src"), &mut Vec::new(), &mut codes);
        let is_within = |module: &[String]| {
            folders.iter().any(|folder| folder.is_empty() || module.first().is_some_and(|first| first == folder))
        };
        for (module, code) in codes.iter().filter(|(module, _)| is_within(module)) {
            looked += 1;
            let named = words.iter().filter(|word| names(code, word));
            found.extend(named.map(|word| format!("{name} {}: {word}", module.join("::"))));
        }
    }
    assert_eq!(found, [""; 0]);
    assert!(looked > 100, "{looked}");
}

/// Whether code has a word, outside of comments and texts.
fn names(code: &str, word: &str) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.flat_map(|line| line.split('"').step_by(2)).collect::<Vec<_>>().join(" ");
    code.split(|c| !is_of_word(c)).any(|found| found == word)
}

#[test]
fn words_are_found_in_code_and_nowhere_else() {
    assert!(names("use http::HeaderMap;", "http") && names("let x = a.headers();", "headers"));
    for code in ["// http", "let x = \"http\";", "https::x", "/// of http\nfn f() {}"] {
        assert!(!names(code, "http"), "{code}");
    }
}

/// The imports between neighbours, each of which stands for all within it.
fn merged(imports: &Imports) -> Imports {
    let mut merged = Imports::new();
    for (module, others) in imports {
        for other in others {
            let common = module.iter().zip(other).take_while(|(one, other)| one == other).count();
            if let (Some(_), Some(_)) = (module.get(common), other.get(common)) {
                merged.entry(module[..=common].to_vec()).or_default().insert(other[..=common].to_vec());
            }
        }
    }
    merged
}

fn imports(source: &Path) -> Imports {
    let mut codes = BTreeMap::new();
    gather(source, &mut Vec::new(), &mut codes);
    let all: BTreeSet<_> = codes.keys().cloned().collect();
    codes.iter().map(|(module, code)| (module.clone(), named(module, code, &all))).collect()
}

/// The code of each module without its tests.
fn gather(folder: &Path, module: &mut Vec<String>, codes: &mut BTreeMap<Vec<String>, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        // What fuzzers call is for them and for tests alone.
        if ["tests", "fuzzing"].contains(&name.as_str()) {
            continue;
        }
        module.push(name.clone());
        if path.is_dir() {
            gather(&path, module, codes);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = module.len() == 1 && (name == "lib" || name == "main");
            let code = fs::read_to_string(&path).expect("code");
            let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            codes.insert(if is_root { Vec::new() } else { module.clone() }, code);
        }
        module.pop();
    }
}

/// The other modules that one names, in imports or elsewhere.
fn named(module: &[String], code: &str, all: &BTreeSet<Vec<String>>) -> BTreeSet<Vec<String>> {
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        if let Some(end) = code[at..].find(';') {
            leaves(&mut code[at + 4..at + end].chars(), "", &mut paths);
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            paths.push(code[at..].chars().take_while(|c| is_path(*c)).collect());
        }
    }
    let others = paths.iter().filter_map(|path| resolve(module, path, all));
    let is_other = |other: &Vec<String>| !other.is_empty() && !module.starts_with(other) && !other.starts_with(module);
    others.filter(is_other).collect()
}

/// All that an import names, of which groups may be within groups.
fn leaves(import: &mut std::str::Chars, before: &str, found: &mut Vec<String>) {
    let mut path = before.to_owned();
    loop {
        let next = import.next();
        match next {
            Some('{') => {
                leaves(import, &path, found);
                path.clear();
            }
            Some(',' | '}') | None => {
                if path.len() > before.len() {
                    found.push(path.clone());
                }
                if next != Some(',') {
                    return;
                }
                path = before.to_owned();
            }
            Some(c) if c.is_whitespace() => {}
            Some(c) => path.push(c),
        }
    }
}

/// The innermost module of the crate on a path; `None` for what is of another crate.
fn resolve(module: &[String], path: &str, all: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut parts = path.split("::").peekable();
    let mut at = module.to_vec();
    match parts.next()? {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop();
            while parts.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        first => {
            at.push(first.to_owned());
            all.contains(&at).then_some(())?;
        }
    }
    for part in parts {
        at.push(part.to_owned());
        if !all.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// The path from a module back to itself.
fn circle(imports: &Imports, start: &Vec<String>) -> Option<Vec<Vec<String>>> {
    let mut seen = BTreeSet::new();
    let mut paths = vec![vec![start.clone()]];
    while let Some(path) = paths.pop() {
        for next in imports.get(path.last()?).into_iter().flatten() {
            let further = [&path[..], std::slice::from_ref(next)].concat();
            if next == start {
                return Some(further);
            }
            if seen.insert(next.clone()) {
                paths.push(further);
            }
        }
    }
    None
}

//! The floors of the crate. A module names only modules on lower floors. This is a binary of its
//! own, because it reads sources and runs no cache.
//!
//! ```text
//!   8  lib
//!   7  typed  snapshot
//!   6  builder  loader  export  docs  loom  shared_lines  testing
//!   5  cache
//!   4  shard
//!   3  advisor
//!   2  ring | index | policy | expiry | flight    rooms that do not know each other
//!   1  units error growable hash clock stats reclaim region removal namespace sync prefetch
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [&[&str]; 8] = [
    &[
        "units",
        "error",
        "growable",
        "hash",
        "clock",
        "stats",
        "reclaim",
        "region",
        "removal",
        "namespace",
        "sync",
        "prefetch",
    ],
    &["ring", "index", "policy", "expiry", "flight"],
    &["advisor"],
    &["shard"],
    &["cache"],
    &["builder", "loader", "export", "docs", "loom", "shared_lines", "testing"],
    &["typed", "snapshot"],
    &["lib"],
];

/// The exceptions. `Cache::builder()` returns the builder, which makes caches.
const EXCEPTIONS: [(&str, &str); 1] = [("cache", "builder")];

/// Modules that may name only the listed ones, although their floor allows more.
const NARROW: [(&str, &[&str]); 1] = [("policy", &["units", "error", "growable", "prefetch"])];

/// The parts of a shard's state, and the files of the shard that each may name.
const PARTS: [(&str, &[&str]); 9] = [
    ("account", &[]),
    ("entries", &[]),
    ("deadlines", &["account", "entries"]),
    ("evictor", &["entries", "prefetch"]),
    ("candidates", &[]),
    ("cleaner", &["account", "candidates", "entries", "governor", "large_share"]),
    ("flights", &["account", "leases"]),
    ("leases", &["account", "flights"]),
    ("prefetch", &[]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns every source file by its path below `src/`, without its comments.
fn files() -> BTreeMap<String, String> {
    let mut paths = Vec::new();
    rust_files(&source(), &mut paths);
    assert!(paths.len() > 20, "the sources were not found");
    let code = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
    };
    let name = |path: &Path| path.strip_prefix(source()).unwrap().to_str().unwrap().replace('\\', "/");
    paths.iter().map(|path| (name(path), code(path))).collect()
}

/// Returns the top-level module that a file belongs to: `ring` for `ring/chunk.rs`, `units` for
/// `units.rs`.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn floor_of(module: &str) -> usize {
    let floor = FLOORS.iter().position(|modules| modules.contains(&module));
    floor.unwrap_or_else(|| panic!("{module} has no floor: give it one here"))
}

/// Returns the top-level modules that a file names after `crate::`, including those in braces.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => named.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let end = list.find(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth < 0
                });
                let parts = list[..end.unwrap()].split([',', '{']).map(str::trim);
                named.extend(parts.map(word).filter(|part| FLOORS.concat().contains(&part.as_str())));
            }
        }
    }
    named
}

/// Returns `true` if the code contains `word` as a whole word.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn modules_name_only_lower_floors() {
    for (file, code) in files() {
        let module = module_of(&file);
        let floor = floor_of(module);
        for named in named_modules(&code) {
            let is_allowed =
                floor_of(&named) < floor || named == module || EXCEPTIONS.contains(&(module, named.as_str()));
            // Modules of the lowest floor may name each other.
            let is_ground = floor == 0 && floor_of(&named) == 0;
            assert!(is_allowed || is_ground, "{file}: {module} names {named}, which is not below it");
        }
    }
}

#[test]
fn policies_know_nothing_of_entries_but_their_ids() {
    for (file, code) in files() {
        let Some((module, allowed)) = NARROW.iter().find(|(module, _)| *module == module_of(&file)) else { continue };
        for named in named_modules(&code) {
            assert!(named == *module || allowed.contains(&named.as_str()), "{file} names {named}");
        }
    }
}

#[test]
fn parts_of_a_shard_do_not_know_its_writer() {
    let files = files();
    for (part, allowed) in PARTS {
        let code = &files[&format!("shard/{part}.rs")];
        for (at, _) in code.match_indices("super::") {
            let rest = &code[at + "super::".len()..];
            let named: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // A module of tests imports all names of its parent.
            assert!(rest.starts_with('*') || allowed.contains(&&*named), "shard/{part}.rs names {named}");
        }
        assert!(!has_word(code, "Writer") && !has_word(code, "State"), "shard/{part}.rs knows what is above it");
    }
}

#[test]
fn one_file_knows_each_foreign_crate_of_the_lower_floors() {
    let users = |name: &str| -> Vec<String> {
        files().into_iter().filter(|(_, code)| has_word(code, name)).map(|(file, _)| file).collect()
    };
    assert_eq!(users("crossbeam_epoch"), ["reclaim/epochs.rs"]);
    assert_eq!(users("memmap2"), ["region.rs"]);
}

#[test]
fn the_words_of_a_use_in_braces_are_found() {
    assert_eq!(named_modules("use crate::{units::Location, ring};"), ["units", "ring"]);
    assert_eq!(named_modules("use crate::hash::{KeyHash, KeyHasher};"), ["hash"]);
    assert_eq!(named_modules("fn f() -> crate::cache::Cache {}"), ["cache"]);
}

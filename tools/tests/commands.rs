//! The program as a shell runs it: the output of its commands, and their failures.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Four requests for three keys.
const TINY: &str = "key,size\na,100\nb,50\na,100\nc,10\n";

/// A folder for the files of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bytecache-tools-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Returns the path of a file in the folder.
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the program, without recorded traces.
fn run(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bytecache-tools"));
    program.args(arguments).env_remove("BYTECACHE_TRACES").output().unwrap()
}

/// Returns the output of a run that succeeds.
fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the standard error of a run that ends with `code`. Checks that it prints nothing else.
fn error(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{arguments:?}");
    errors
}

/// Returns the cells of the row that begins with `name`.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no row of {name}:\n{table}")).split_whitespace().collect()
}

#[test]
fn wrong_arguments_are_named_and_exit_with_2() {
    let program = "bytecache-tools: ";
    assert_eq!(error(2, &[]), format!("{program}a command is missing\nTry bytecache-tools --help.\n"));
    assert_eq!(error(2, &["reply"]), format!("{program}`reply` is no command\nTry bytecache-tools --help.\n"));
    for command in ["replay", "simulate", "hit-ratio", "generate"] {
        let text = error(2, &[command, "--nonsense"]);
        let expected =
            format!("bytecache-tools {command}: invalid option '--nonsense'\nTry bytecache-tools {command} --help.\n");
        assert_eq!(text, expected);
    }
    for (arguments, named) in [
        (["replay", "--policy", "mru-ish"], "mru-ish"),
        (["simulate", "--capacity", "200%"], "200%"),
        (["hit-ratio", "--policy", "mru-ish"], "mru-ish"),
        (["generate", "--requests", "0"], "0"),
    ] {
        let text = error(2, &arguments);
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn every_command_tells_its_options() {
    for command in ["replay", "simulate", "hit-ratio", "generate"] {
        assert!(printed(&["--help"]).contains(&format!("\n  {command} ")));
        let usage = printed(&[command, "--help"]);
        assert!(usage.contains(&format!("Usage: bytecache-tools {command} ")), "{usage}");
    }
    assert_eq!(printed(&["--version"]), format!("bytecache-tools {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn replay_counts_the_misses_of_a_trace() {
    let folder = Folder::new("replay");
    let (trace, rows) = (folder.file("tiny.csv", TINY), folder.path("rows.csv"));
    let table = printed(&["replay", "--policy", "lru,arc", "--csv", &rows, &trace]);
    assert_eq!(
        table.lines().next().unwrap(),
        "tiny.csv: 4 requests, 3 keys, 0.2 kB distinct; cache of 65.5 kB, 1 shard, 1 thread"
    );
    for policy in ["lru", "arc"] {
        // Three of four requests and 160 of 260 bytes are missed, and three entries are present at
        // the end.
        let cells = row(&table, policy);
        assert_eq!((&cells[..4], cells[5]), (&[policy, "4", "0.7500", "0.6154"][..], "3"));
    }
    let rows = fs::read_to_string(rows).unwrap();
    assert!(rows.lines().nth(1).unwrap().starts_with("tiny.csv,65536,1,1,lru,4,0.750000,0.615385,"), "{rows}");
}

#[test]
fn simulate_counts_the_misses_of_each_capacity() {
    let folder = Folder::new("simulate");
    let (trace, rows, picture) = (folder.file("tiny.csv", TINY), folder.path("rows.csv"), folder.path("curves.svg"));
    let options = ["--unit", "entries", "--capacity", "1,3", "--policy", "lru", "--csv", &rows, "--picture", &picture];
    let table = printed(&[&["simulate"], &options[..], &[&trace]].concat());
    assert_eq!(table.lines().next().unwrap(), "tiny.csv: 4 requests, 3 keys; misses in %, * is the best");
    assert_eq!(row(&table, "lru"), ["lru", "100.00*", "75.00*"]);
    assert_eq!(row(&table, "optimum"), ["optimum", "100.00", "75.00"]);
    let rows = fs::read_to_string(rows).unwrap();
    assert_eq!(rows.lines().nth(1).unwrap(), "tiny.csv,lru,entries,1,4,1.00000000,");
    assert!(fs::read_to_string(picture).unwrap().starts_with("<svg "));
}

#[test]
fn hit_ratio_compares_with_the_references_of_the_generated_trace() {
    let folder = Folder::new("hit-ratio");
    let rows = folder.path("rows.csv");
    let text = printed(&["hit-ratio", "--policy", "lru,s3-fifo", "--csv", &rows]);
    // Policy, reference, number of cells, number of equal cells, mean difference.
    let expected = ["|", "lru", "|", "lru", "|", "3", "|", "3", "|", "+0.000", "|"];
    assert_eq!(row(&text, "| lru ")[..expected.len()], expected);
    let rows = fs::read_to_string(rows).unwrap();
    assert_eq!(rows.lines().count(), 1 + 6 * 2, "{rows}");
    let references = include_str!("../references/groundtruth.csv");
    for row in rows.lines().filter(|row| row.starts_with("mixture,lru,")) {
        assert!(references.lines().any(|reference| reference == row), "{row}");
    }
}

#[test]
fn a_generated_file_is_read_as_the_mixture_that_it_is() {
    let folder = Folder::new("generate");
    let (plain, compressed) = (folder.path("a.trc"), folder.path("b.trc.zst"));
    let simulate = ["simulate", "--policy", "lru", "--capacity", "10%"];
    let mixture = ["--requests", "3000", "--seed", "7"];
    let of = |table: String| row(&table, "lru").join(" ");
    let expected = of(printed(&[&simulate[..], &mixture].concat()));
    for file in [&plain, &compressed] {
        assert_eq!(printed(&[&["generate"], &mixture[..], &[file]].concat()), "");
        assert_eq!(of(printed(&[&simulate[..], &[file]].concat())), expected);
    }
    assert_eq!(fs::metadata(&plain).unwrap().len(), 3000 * 16);
    assert!(fs::metadata(&compressed).unwrap().len() < 3000 * 8);
}

#[test]
fn a_trace_that_cannot_be_read_is_named_and_exits_with_1() {
    let folder = Folder::new("unreadable");
    let trace = folder.file("bad.csv", "a,1\nb,many\n");
    for command in ["replay", "simulate"] {
        let expected = "line 2: size `many` is not a whole number up to 4294967295\n";
        assert_eq!(error(1, &[command, &trace]), format!("bytecache-tools: {trace}: {expected}"));
        let missing = folder.path("missing.csv");
        assert!(error(1, &[command, &missing]).starts_with(&format!("bytecache-tools: {missing}: ")));
    }
    let missing = folder.path("missing/a.trc");
    assert!(error(1, &["generate", "--requests=5", &missing]).starts_with(&format!("bytecache-tools: {missing}: ")));
    let text = error(1, &["hit-ratio", "--trace", "lirs"]);
    assert_eq!(text, "bytecache-tools: groundtruth.csv has no trace `lirs`\n");
}

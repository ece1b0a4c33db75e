//! The output of results: Markdown to stdout, and with `--out DIR` also files in that folder.
//!
//! | file | contents |
//! |---|---|
//! | `tables.md` | the same as stdout |
//! | `NAME.csv` | a row for each contender of each table |
//! | `NAME.svg` | a picture of each race's speeds (`plot.rs`) |
//!
//! The files of rows are `races.csv`, `scaling.csv`, `latency.csv`, `memory.csv`, `hit_ratio.csv`,
//! `lifecycle.csv` and `growth.csv`. Every race runs in a process of its own, so rows are appended.
//! The first process creates the files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The rows of the races.
pub const RACES: Sheet = Sheet {
    file: "races.csv",
    columns: "race,threads,contender,mops,spread,of_first,hit_ratio,refused_ratio,resident_bytes",
};
pub const SCALING: Sheet =
    Sheet { file: "scaling.csv", columns: "race,threads,contender,mops,spread,of_one_thread,hit_ratio,refused_ratio" };
pub const LATENCY: Sheet = Sheet {
    file: "latency.csv",
    columns: "threads,contender,expiring,operation,p50_ns,p99_ns,p999_ns,max_ns,hit_ratio",
};
pub const MEMORY: Sheet = Sheet {
    file: "memory.csv",
    columns: "value_bytes,contender,limit_bytes,resident_bytes,entries,resident_per_payload",
};

pub const HIT_RATIOS: Sheet =
    Sheet { file: "hit_ratio.csv", columns: "trace,contender,target_bytes,limit_bytes,resident_bytes,hit_ratio" };
pub const LIFECYCLE: Sheet =
    Sheet { file: "lifecycle.csv", columns: "contender,entries,first_read_ns,clear_ns,drop_ns" };
pub const GROWTH: Sheet =
    Sheet { file: "growth.csv", columns: "contender,limit_bytes,one_in_10000_ns,one_in_100000_ns,max_ns" };

const TABLES: &str = "tables.md";

/// A file of rows.
pub struct Sheet {
    file: &'static str,
    columns: &'static str,
}

/// The destination of the results.
#[derive(Clone, Default)]
pub struct Output {
    folder: Option<PathBuf>,
}

impl Output {
    /// Creates an output that also writes to a folder, which has to exist.
    pub fn to(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Creates the folder and its files, with the titles of their columns.
    pub fn begin(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        fs::create_dir_all(folder)?;
        File::create(folder.join(TABLES))?;
        for sheet in [RACES, SCALING, LATENCY, MEMORY, HIT_RATIOS, LIFECYCLE, GROWTH] {
            writeln!(File::create(folder.join(sheet.file))?, "{}", sheet.columns)?;
        }
        Ok(())
    }

    /// Prints Markdown, and appends it to the folder's tables.
    pub fn print(&self, text: &str) {
        print!("{text}");
        self.append(TABLES, text);
    }

    /// Appends a row.
    pub fn row(&self, sheet: &Sheet, fields: &[String]) {
        self.append(sheet.file, &(fields.join(",") + "\n"));
    }

    fn append(&self, file: &str, text: &str) {
        let Some(folder) = &self.folder else { return };
        let written = OpenOptions::new()
            .append(true)
            .open(folder.join(file))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            eprintln!("{file} in {}: {error}", folder.display());
        }
    }
}

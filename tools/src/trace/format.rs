//! The formats of trace files, and the way from a path to a trace.
//!
//! | format | name of the file | read by |
//! |---|---|---|
//! | records of 16 bytes | `.trc` | `binary` |
//! | libCacheSim's oracleGeneral | `.oracleGeneral`, `.bin` | `binary` |
//! | `key,size[,ttl]` | `.csv` | `text` |
//! | Twitter's cluster traces | `.csv` with seven columns | `text` |
//!
//! Each name may also end in `.zst`. Offsets in errors count decompressed bytes.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use indicatif::ProgressBar;

use super::{Trace, binary, text};

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Records of 16 bytes: u64 key, u32 size, u32 time to live.
    Trc,
    /// Lines `key,size[,ttl]`. Lines with seven columns are read as [`Format::Twitter`].
    Csv,
    /// Lines of Twitter's cluster traces.
    Twitter,
    /// libCacheSim's records of 24 bytes.
    OracleGeneral,
}

impl Format {
    /// Returns the format that a file's name tells, or `None` if it tells none.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        let (path, _) = without_zst(path);
        match path.extension()?.to_str()? {
            "trc" => Some(Self::Trc),
            "csv" => Some(Self::Csv),
            "oracleGeneral" | "bin" => Some(Self::OracleGeneral),
            _ => None,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "trc" => Ok(Self::Trc),
            "csv" => Ok(Self::Csv),
            "twitter" => Ok(Self::Twitter),
            "oracleGeneral" => Ok(Self::OracleGeneral),
            _ => Err(format!("`{name}` is not one of trc, csv, twitter, oracleGeneral")),
        }
    }
}

/// The place of a fault in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// The file as a whole.
    File,
    /// The offset of a record, in decompressed bytes.
    Byte(u64),
    /// The number of a line, counted from 1.
    Line(u64),
}

/// A fault of a trace, and its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) position: Position,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(position: Position, reason: impl fmt::Display) -> Self {
        Self { position, reason: reason.to_string() }
    }
}

/// The error of a trace that cannot be read.
#[derive(Debug)]
pub(crate) struct TraceError {
    path: PathBuf,
    fault: Fault,
}

impl fmt::Display for TraceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, reason) = (self.path.display(), &self.fault.reason);
        match self.fault.position {
            Position::File => write!(formatter, "{path}: {reason}"),
            Position::Byte(offset) => write!(formatter, "{path}: byte {offset}: {reason}"),
            Position::Line(number) => write!(formatter, "{path}: line {number}: {reason}"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Reads a file in `format`, or in the format that its name tells if `format` is `None`.
///
/// # Errors
///
/// Returns an error that names the file, and the place from which it cannot be read.
pub(crate) fn load(path: &Path, format: Option<Format>, bar: &ProgressBar) -> Result<Trace, TraceError> {
    open(path, format, bar).map_err(|fault| TraceError { path: path.to_owned(), fault })
}

fn open(path: &Path, format: Option<Format>, bar: &ProgressBar) -> Result<Trace, Fault> {
    let in_file = |error: std::io::Error| Fault::new(Position::File, error);
    let format = format
        .or_else(|| Format::of_name(path))
        .ok_or_else(|| Fault::new(Position::File, "the name tells no format: name one with --format"))?;
    let file = File::open(path).map_err(in_file)?;
    bar.set_length(file.metadata().map_err(in_file)?.len());
    let file = bar.wrap_read(file);
    if without_zst(path).1 {
        read(BufReader::new(zstd::Decoder::new(file).map_err(in_file)?), format)
    } else {
        read(BufReader::new(file), format)
    }
}

fn read(source: impl Read, format: Format) -> Result<Trace, Fault> {
    let trace = match format {
        Format::Trc => binary::read_trc(source)?,
        Format::OracleGeneral => binary::read_oracle_general(source)?,
        Format::Csv => text::read(source, None)?,
        Format::Twitter => text::read(source, Some(text::Columns::Twitter))?,
    };
    if trace.requests().is_empty() {
        return Err(Fault::new(Position::File, "no requests"));
    }
    Ok(trace)
}

/// Returns the path without `.zst`, and `true` if the path had it.
fn without_zst(path: &Path) -> (PathBuf, bool) {
    let is_compressed = path.extension().is_some_and(|extension| extension == "zst");
    (if is_compressed { path.with_extension("") } else { path.to_owned() }, is_compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads `bytes` from a file with this name, in a folder of this process.
    fn load_bytes(name: &str, bytes: &[u8]) -> Result<Trace, String> {
        let folder = std::env::temp_dir().join(format!("bytecache-replay-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        let loaded = load(&path, None, &ProgressBar::hidden());
        std::fs::remove_file(&path).expect("the file exists");
        loaded.map_err(|error| error.to_string())
    }

    #[test]
    fn names_tell_formats() {
        let of = |name| Format::of_name(Path::new(name));
        assert_eq!(of("a.trc"), Some(Format::Trc));
        assert_eq!(of("dir.v1/a.trc.zst"), Some(Format::Trc));
        assert_eq!(of("a.b.csv.zst"), Some(Format::Csv));
        assert_eq!(of("a.oracleGeneral.bin"), Some(Format::OracleGeneral));
        assert_eq!(of("a.oracleGeneral.zst"), Some(Format::OracleGeneral));
        assert_eq!(of("cluster52.0.zst"), None);
        assert_eq!(of(".zst"), None);
        assert_eq!(of("trc"), None);
    }

    #[test]
    fn compressed_traces_equal_plain_ones() {
        let plain = b"alpha,10\nbeta,20\nalpha,10\n";
        let packed = zstd::encode_all(&plain[..], 0).expect("compressed in memory");
        let plain = load_bytes("same.csv", plain).expect("plain");
        let packed = load_bytes("same.csv.zst", &packed).expect("compressed");
        assert_eq!(plain.requests(), packed.requests());
    }

    #[test]
    fn a_cut_compressed_trace_names_file_and_offset() {
        let packed = zstd::encode_all(&[1; 64][..], 0).expect("compressed in memory");
        let error = load_bytes("cut.trc.zst", &packed[..packed.len() - 3]).expect_err("cut");
        assert!(error.contains("cut.trc.zst: byte "), "{error}");
    }

    #[test]
    fn bytes_that_are_not_compressed_name_file_and_offset() {
        let error = load_bytes("plain.trc.zst", &[7; 64]).expect_err("not zstd");
        assert!(error.contains("plain.trc.zst: byte 0: "), "{error}");
        let error = load_bytes("plain.csv.zst", b"a,1\n").expect_err("not zstd");
        assert!(error.contains("plain.csv.zst: line 1: "), "{error}");
    }

    #[test]
    fn a_trace_without_requests_is_an_error() {
        for name in ["none.trc", "none.csv", "none.bin"] {
            let error = load_bytes(name, b"").expect_err("empty");
            assert!(error.ends_with(&format!("{name}: no requests")), "{error}");
        }
        let error = load_bytes("header.csv", b"key,size\n").expect_err("a header alone");
        assert!(error.ends_with("no requests"), "{error}");
    }

    #[test]
    fn missing_files_and_unknown_names_are_errors() {
        let load = |name| load(Path::new(name), None, &ProgressBar::hidden()).map_err(|error| error.to_string());
        assert!(load("/nonexistent/a.trc").expect_err("missing").starts_with("/nonexistent/a.trc: "));
        assert!(load("a.unknown").expect_err("unknown").contains("--format"));
    }
}

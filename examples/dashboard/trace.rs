//! A recorded trace: the files that `bytecache-tools` reads, without its formats of other programs.
//!
//! | name | format |
//! |---|---|
//! | `.trc` | records of 16 bytes, little-endian: u64 key, u32 size, u32 time to live |
//! | `.csv` | lines `key,size[,ttl]`, without quotes |

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

type Outcome<T> = Result<T, Box<dyn Error>>;

const RECORD_BYTES: usize = 16;

/// A file of requests.
pub(crate) struct Trace {
    path: PathBuf,
    has_records: bool,
}

impl Trace {
    /// Opens a trace, and checks each of its requests.
    pub(crate) fn open(path: PathBuf) -> Outcome<Self> {
        let has_records = match path.extension().and_then(|name| name.to_str()) {
            Some("trc") => true,
            Some("csv") => false,
            _ => return Err(format!("{}: the name ends in neither .trc nor .csv", path.display()).into()),
        };
        let trace = Self { path, has_records };
        let mut requests = 0_u64;
        let read = trace.for_each(|_, _| requests += 1);
        read.map_err(|error| format!("{}, after {requests} requests: {error}", trace.path.display()))?;
        if requests == 0 { Err(format!("{}: no requests", trace.path.display()).into()) } else { Ok(trace) }
    }

    /// Calls `each` with the key and the size of every request, in order. The file is read
    /// meanwhile.
    pub(crate) fn for_each(&self, each: impl FnMut(&str, usize)) -> Outcome<()> {
        let file = BufReader::new(File::open(&self.path)?);
        if self.has_records { each_record(file, each) } else { each_line(file, each) }
    }
}

fn each_record(mut file: impl BufRead, mut each: impl FnMut(&str, usize)) -> Outcome<()> {
    let mut record = [0; RECORD_BYTES];
    while !file.fill_buf()?.is_empty() {
        file.read_exact(&mut record)?;
        let [key, rest] = [&record[..8], &record[8..12]];
        let (key, size) = (u64::from_le_bytes(key.try_into()?), u32::from_le_bytes(rest.try_into()?));
        each(&key.to_string(), size.try_into()?);
    }
    Ok(())
}

fn each_line(file: impl BufRead, mut each: impl FnMut(&str, usize)) -> Outcome<()> {
    for (number, line) in file.lines().enumerate() {
        let line = line?;
        let mut columns = line.trim_end().split(',');
        let (Some(key), Some(size)) = (columns.next(), columns.next()) else {
            return Err(format!("`{line}` is not key,size").into());
        };
        match size.trim().parse() {
            Ok(size) => each(key, size),
            Err(_) if number == 0 && !size.contains(|character: char| character.is_ascii_digit()) => {} // A header.
            Err(error) => return Err(format!("the size `{size}`: {error}").into()),
        }
    }
    Ok(())
}

//! Recorded requests, from the folder that the environment variable `BYTECACHE_TRACES` names.
//!
//! ```text
//!   NAME.trc.zst    zstd of: | key u64 | size u32 | time to live u32 | ...      little-endian
//! ```
//!
//! The crate ships no trace. README.md says where they come from.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

use bytecache::policy::Request;

const RECORD_BYTES: usize = 16;

/// The folder with the traces, if there is one.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os("BYTECACHE_TRACES").map(PathBuf::from)
}

/// The requests of a trace. Its times to live are left out.
///
/// # Errors
///
/// Those of the file; and one whose last record is cut short.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Vec<Request>> {
    let path = folder.join(format!("{name}.trc.zst"));
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    let mut file = File::open(&path).and_then(zstd::Decoder::new).map_err(named)?;
    file.read_to_end(&mut bytes).map_err(named)?;
    if bytes.len() % RECORD_BYTES != 0 {
        return Err(named(Error::new(ErrorKind::UnexpectedEof, "the last record is cut short")));
    }
    Ok(bytes.chunks_exact(RECORD_BYTES).map(request).collect())
}

fn request(record: &[u8]) -> Request {
    let (mut key, mut size) = ([0; 8], [0; 4]);
    key.copy_from_slice(&record[..8]);
    size.copy_from_slice(&record[8..12]);
    Request { hash: u64::from_le_bytes(key), charge: u32::from_le_bytes(size) }
}

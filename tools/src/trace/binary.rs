//! Traces of records with a fixed size, little-endian.
//!
//! ```text
//!   .trc            | key u64 | size u32 | time to live u32 |                            16 bytes
//!   oracleGeneral   | timestamp u32 | key u64 | size u32 | next access i64 |             24 bytes
//! ```
//!
//! Every byte pattern is a valid record. So the only possible fault of a readable file is a last
//! record that is cut short.

use std::io::{self, ErrorKind, Read, Write};

use super::format::{Fault, Position};
use super::{Operation, Trace, TraceBuilder};

/// Reads records of 16 bytes.
pub(super) fn read_trc(source: impl Read) -> Result<Trace, Fault> {
    let mut builder = TraceBuilder::default();
    for_each_record(source, |record: &[u8; 16]| {
        builder.push_number(u64_at(record, 0), u32_at(record, 8), Operation::Fetch);
    })?;
    Ok(builder.finish())
}

/// Reads libCacheSim's records of 24 bytes.
pub(super) fn read_oracle_general(source: impl Read) -> Result<Trace, Fault> {
    let mut builder = TraceBuilder::default();
    for_each_record(source, |record: &[u8; 24]| {
        builder.push_number(u64_at(record, 4), u32_at(record, 12), Operation::Fetch);
    })?;
    Ok(builder.finish())
}

/// Writes a trace of numbers as records of 16 bytes, without times to live.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn write_trc(out: &mut impl Write, trace: &Trace) -> io::Result<()> {
    for request in trace.requests() {
        out.write_all(&request.key.to_le_bytes())?;
        out.write_all(&request.size_bytes.to_le_bytes())?;
        out.write_all(&0_u32.to_le_bytes())?;
    }
    out.flush()
}

fn for_each_record<const BYTES: usize>(
    mut source: impl Read,
    mut visit: impl FnMut(&[u8; BYTES]),
) -> Result<(), Fault> {
    let mut record = [0; BYTES];
    let mut offset = 0;
    loop {
        match fill(&mut source, &mut record).map_err(|error| Fault::new(Position::Byte(offset), error))? {
            0 => return Ok(()),
            length if length == BYTES => visit(&record),
            length => {
                let reason = format!("the last record has {length} of {BYTES} bytes");
                return Err(Fault::new(Position::Byte(offset), reason));
            }
        }
        offset += BYTES as u64;
    }
}

/// Fills `record` from `source`. Returns the number of bytes read, which is less than a record only
/// at the end of `source`.
fn fill(source: &mut impl Read, record: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < record.len() {
        match source.read(&mut record[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn u32_at(record: &[u8], offset: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&record[offset..offset + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(record: &[u8], offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[offset..offset + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trc(key: u64, size_bytes: u32, ttl_seconds: u32) -> Vec<u8> {
        [&key.to_le_bytes()[..], &size_bytes.to_le_bytes(), &ttl_seconds.to_le_bytes()].concat()
    }

    fn oracle_general(timestamp: u32, key: u64, size_bytes: u32, next: i64) -> Vec<u8> {
        [&timestamp.to_le_bytes()[..], &key.to_le_bytes(), &size_bytes.to_le_bytes(), &next.to_le_bytes()].concat()
    }

    /// Returns the number and the size of every request.
    fn requests(trace: &Trace) -> Vec<(u64, u32)> {
        let number = |request| u64_at(trace.key(request, &mut [0; 8]), 0);
        trace.requests().iter().map(|request| (number(request), request.size_bytes)).collect()
    }

    #[test]
    fn trc_records_are_read() {
        let bytes = [trc(7, 100, 0), trc(u64::MAX, u32::MAX, 60), trc(7, 100, 0)].concat();
        let trace = read_trc(&bytes[..]).expect("three records");
        assert_eq!(requests(&trace), [(7, 100), (u64::MAX, u32::MAX), (7, 100)]);
        assert_eq!(trace.unique_keys(), 2);
        assert!(trace.requests().iter().all(|request| request.operation == Operation::Fetch));
    }

    #[test]
    fn trc_records_are_read_as_they_were_written() {
        let bytes = [trc(7, 100, 0), trc(u64::MAX, u32::MAX, 0)].concat();
        let trace = read_trc(&bytes[..]).expect("two records");
        let mut written = Vec::new();
        write_trc(&mut written, &trace).expect("into memory");
        assert_eq!(written, bytes);
    }

    #[test]
    fn oracle_general_records_are_read() {
        let bytes = [oracle_general(1, 9, 4096, 3), oracle_general(2, 1 << 40, 0, -1)].concat();
        let trace = read_oracle_general(&bytes[..]).expect("two records");
        assert_eq!(requests(&trace), [(9, 4096), (1 << 40, 0)]);
    }

    #[test]
    fn a_record_that_is_cut_short_is_named_by_its_offset() {
        let two = [trc(1, 1, 0), trc(2, 2, 0)].concat();
        for length in (17..32).chain(1..16) {
            let fault = read_trc(&two[..length]).expect_err("a cut record");
            assert_eq!(fault.position, Position::Byte(if length > 16 { 16 } else { 0 }));
            assert_eq!(fault.reason, format!("the last record has {} of 16 bytes", length % 16));
        }
        let fault = read_oracle_general(&two[..25]).expect_err("a cut record");
        assert_eq!(fault.position, Position::Byte(24));
    }

    #[test]
    fn records_survive_reads_of_single_bytes() {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(&mut buffer[..1])
            }
        }
        let bytes = [trc(1, 10, 0), trc(2, 20, 0)].concat();
        let trace = read_trc(Trickle(&bytes)).expect("two records");
        assert_eq!(requests(&trace), [(1, 10), (2, 20)]);
    }
}

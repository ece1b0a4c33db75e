//! Traces of comma-separated lines, whose keys are texts.
//!
//! ```text
//!   key,size[,ttl]
//!   timestamp,key,key size,value size,client,operation,ttl      Twitter
//! ```
//!
//! The first line decides the format, because a line of the first one never has seven columns. It
//! may be a header, which has no digit in the column of the size. Keys may be quoted.
//!
//! Twitter's operations are mapped to three:
//!
//! * `get` and `gets` look up, and insert on a miss;
//! * `set`, `add`, `replace`, `cas`, `append`, `prepend`, `incr` and `decr` insert a value of the
//!   line's size;
//! * `delete` removes.
//!
//! A `get` that Twitter's own cache missed has size 0, and inserts an empty value. The `set` that
//! follows it inserts the real one.

use std::io::Read;

use csv::ByteRecord;

use super::format::{Fault, Position};
use super::{Operation, Trace, TraceBuilder};

/// The columns of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// `key,size[,ttl]`
    Plain,
    /// Twitter's seven columns.
    Twitter,
}

impl Columns {
    fn of(record: &ByteRecord) -> Self {
        if record.len() == 7 { Self::Twitter } else { Self::Plain }
    }

    fn size_column(self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Twitter => 3,
        }
    }

    fn push(self, record: &ByteRecord, builder: &mut TraceBuilder) -> Result<(), String> {
        match self {
            Self::Plain => push_plain(record, builder),
            Self::Twitter => push_twitter(record, builder),
        }
    }
}

/// Reads lines with these columns, or with those of the first line if `columns` is `None`.
pub(super) fn read(source: impl Read, columns: Option<Columns>) -> Result<Trace, Fault> {
    // If `\r\n` ended a line, the reader would count the line only when it goes on to the next one.
    // So a `\r` stays at the end of the last field, which is trimmed.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(source.chain(&b"\n"[..]));
    let mut builder = TraceBuilder::default();
    let mut record = ByteRecord::new();
    let mut columns = columns;
    let mut may_be_header = true;
    loop {
        let next_line = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(builder.finish()),
            Err(error) => return Err(Fault::new(Position::Line(next_line), error)),
        }
        if record.len() == 1 && record[0].trim_ascii().is_empty() {
            continue;
        }
        let columns = *columns.get_or_insert_with(|| Columns::of(&record));
        if std::mem::take(&mut may_be_header) && is_header(&record, columns) {
            continue;
        }
        columns
            .push(&record, &mut builder)
            .map_err(|reason| Fault::new(Position::Line(first_line(&reader, &record)), reason))?;
    }
}

/// Returns the line on which `record`, the one just read, begins.
///
/// The reader's own answer lies before the blank lines that it skipped. Counting back from the
/// reader's position leaves them out. But after a quote that is never closed, that position is not
/// usable, so the later line counts.
fn first_line(reader: &csv::Reader<impl Read>, record: &ByteRecord) -> u64 {
    let inside = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
    let counted_back = reader.position().line().saturating_sub(inside + 1);
    counted_back.max(record.position().map_or(1, csv::Position::line))
}

fn is_header(record: &ByteRecord, columns: Columns) -> bool {
    record.get(columns.size_column()).is_some_and(|size| !size.iter().any(u8::is_ascii_digit))
}

fn push_plain(record: &ByteRecord, builder: &mut TraceBuilder) -> Result<(), String> {
    if !(2..=3).contains(&record.len()) {
        return Err(format!("{} columns instead of key,size[,ttl]", record.len()));
    }
    let size_bytes = number(record, 1, "size")?;
    if record.len() == 3 {
        number(record, 2, "ttl")?;
    }
    builder.push_text(&record[0], size_bytes, Operation::Fetch)
}

fn push_twitter(record: &ByteRecord, builder: &mut TraceBuilder) -> Result<(), String> {
    if record.len() != 7 {
        return Err(format!("{} columns instead of Twitter's 7", record.len()));
    }
    number(record, 0, "timestamp")?;
    number(record, 2, "key size")?;
    let size_bytes = number(record, 3, "value size")?;
    let operation = match record[5].trim_ascii() {
        b"get" | b"gets" => Operation::Fetch,
        b"set" | b"add" | b"replace" | b"cas" | b"append" | b"prepend" | b"incr" | b"decr" => Operation::Store,
        b"delete" => Operation::Delete,
        other => {
            return Err(format!("operation `{}` is not one of Twitter's", shown(other)));
        }
    };
    number(record, 6, "ttl")?;
    builder.push_text(&record[1], size_bytes, operation)
}

fn number(record: &ByteRecord, column: usize, name: &str) -> Result<u32, String> {
    let field = record[column].trim_ascii();
    std::str::from_utf8(field)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{name} `{}` is not a whole number up to {}", shown(field), u32::MAX))
}

/// Returns the start of a field, for an error.
fn shown(field: &[u8]) -> String {
    const SHOWN_BYTES: usize = 40;
    let cut = if field.len() > SHOWN_BYTES { "..." } else { "" };
    format!("{}{cut}", field[..field.len().min(SHOWN_BYTES)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(bytes: &[u8]) -> Vec<(Vec<u8>, u32, Operation)> {
        let trace = read(bytes, None).expect("a good trace");
        let key = |request| trace.key(request, &mut [0; 8]).to_vec();
        trace.requests().iter().map(|request| (key(request), request.size_bytes, request.operation)).collect()
    }

    /// Returns the line and the reason of the error.
    fn fault(bytes: &[u8]) -> (u64, String) {
        let fault = read(bytes, None).expect_err("a bad trace");
        let Position::Line(line) = fault.position else { panic!("{:?}", fault.position) };
        (line, fault.reason)
    }

    #[test]
    fn a_header_a_ttl_and_the_last_newline_are_optional() {
        let expected = [
            (b"a".to_vec(), 10, Operation::Fetch),
            (b"b".to_vec(), 0, Operation::Fetch),
            (b"a".to_vec(), 10, Operation::Fetch),
        ];
        assert_eq!(requests(b"a,10\nb,0\na,10\n"), expected);
        assert_eq!(requests(b"key,size\na,10\nb,0\na,10"), expected);
        assert_eq!(requests(b"key,size,ttl\r\na,10,60\r\nb,0,0\r\na, 10 ,60\r\n"), expected);
    }

    #[test]
    fn keys_are_arbitrary_bytes() {
        let keys: Vec<_> =
            requests(b"\"a,\"\"b\",1\n\xff\xfe,2\n,3\n key ,4\n").into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, [&b"a,\"b"[..], b"\xff\xfe", b"", b" key "]);
    }

    #[test]
    fn lines_of_seven_columns_are_twitters() {
        let lines = b"0,q:1,3,213,4,get,0\n0,q:2,3,50,4,set,600\n1,q:1,3,0,4,delete,0\n1,q:2,3,8,4,incr,0\n";
        let expected = [
            (b"q:1".to_vec(), 213, Operation::Fetch),
            (b"q:2".to_vec(), 50, Operation::Store),
            (b"q:1".to_vec(), 0, Operation::Delete),
            (b"q:2".to_vec(), 8, Operation::Store),
        ];
        assert_eq!(requests(lines), expected);
    }

    #[test]
    fn every_operation_of_twitter_is_known() {
        for operation in ["get", "gets", "set", "add", "replace", "cas", "append", "prepend", "delete", "incr", "decr"]
        {
            assert_eq!(requests(format!("0,k,1,1,1,{operation},0\n").as_bytes()).len(), 1);
        }
        let (line, reason) = fault(b"0,k,1,1,1,get,0\n0,k,1,1,1,touch,0\n");
        assert_eq!((line, reason.as_str()), (2, "operation `touch` is not one of Twitter's"));
    }

    #[test]
    fn a_number_that_is_none_is_named_with_its_line() {
        let reason = |field| format!("size `{field}` is not a whole number up to 4294967295");
        assert_eq!(fault(b"a,1\nb,2\nc,x3\n"), (3, reason("x3")));
        assert_eq!(fault(b"a,1\nb,-2\n"), (2, reason("-2")));
        assert_eq!(fault(b"a,1\nb,4294967296\n"), (2, reason("4294967296")));
        assert_eq!(fault(b"key,size\na,\n"), (2, reason("")));
        assert_eq!(fault(b"a,1x\n"), (1, reason("1x")));
        assert_eq!(fault(b"a,1\nb,\xff\n"), (2, reason("\\xff")));
        assert_eq!(fault(b"a,1,soon\n").0, 1);
        for line in ["x,k,1,1,1,get,0", "0,k,x,1,1,get,0", "0,k,1,1x,1,get,0", "0,k,1,1,1,get,x"] {
            assert_eq!(fault(format!("0,k,1,1,1,get,0\n{line}\n").as_bytes()).0, 2);
        }
    }

    #[test]
    fn lines_of_other_columns_are_named() {
        assert_eq!(fault(b"a,1\nb\n"), (2, "1 columns instead of key,size[,ttl]".to_owned()));
        assert_eq!(fault(b"a,1,2,3\n").0, 1);
        assert_eq!(fault(b"0,k,1,1,1,get,0\na,1\n"), (2, "2 columns instead of Twitter's 7".to_owned()));
        let forced = read(&b"a,1\n"[..], Some(Columns::Twitter)).expect_err("two columns");
        assert_eq!(forced.position, Position::Line(1));
    }

    #[test]
    fn blank_lines_count_but_are_no_requests() {
        assert_eq!(requests(b"\na,1\n\nb,2\n").len(), 2);
        assert_eq!(fault(b"a,1\r\n\r\n\r\nb,?1\r\n").0, 4);
        assert_eq!(fault(b"\n\na,1\n\n\nb,?1").0, 6);
    }

    #[test]
    fn a_quoted_newline_counts_as_a_line() {
        assert_eq!(fault(b"\"a\nb\",1\nc,?1\n").0, 3);
        assert_eq!(fault(b"a,1\n\"b\nc\",?1\nd,1\n").0, 2);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_error_at_its_line() {
        let mut bytes = b"a,1\n\"b,2\n".to_vec();
        bytes.extend(b"c,3\n".repeat(30_000));
        assert_eq!(fault(&bytes).0, 2);
    }
}

//! Parses arbitrary bytes as the log of a killed mount (see [`crate::fuzzing`]).

#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "panics report findings to the fuzzer"
)]

use super::record::Record;

/// Parses records line by line. A record that is written again must parse to the same value.
pub fn journal(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n');
    for record in lines.filter_map(Record::parse) {
        let line = record.to_line();
        let (end, line) = line.split_last().expect("a line has an end");
        assert!(*end == b'\n' && !line.contains(&b'\n'));
        assert_eq!(Record::parse(line), Some(record));
    }
}

//! The state file that a killed mount leaves, fed with anything (see [`crate::fuzzing`]).

#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a panic is how a fuzzer is told"
)]

use super::record::Record;

/// Records, line by line: what one says is written so that it is read back as the same.
pub fn journal(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n');
    for record in lines.filter_map(Record::parse) {
        let line = record.to_line();
        let (end, line) = line.split_last().expect("a line has an end");
        assert!(*end == b'\n' && !line.contains(&b'\n'));
        assert_eq!(Record::parse(line), Some(record));
    }
}

//! Parsers of client input, for fuzzing (see [`crate::fuzzing`]).

#![allow(
    clippy::missing_panics_doc,
    reason = "panics report findings to the fuzzer"
)]

use std::time::Instant;

use super::address::{parse_eprt, parse_port};
use super::command_line::{Command, LINE_LIMIT, Line, LineQueue, with_telnet};
use super::path::VirtualPath;

/// Number of bytes that arrive at a time.
const PIECE: usize = 256;

/// Parses command lines that arrive in pieces, and their arguments.
pub fn command(input: &[u8]) {
    let (mut queue, now) = (LineQueue::default(), Instant::now());
    for piece in input.chunks(PIECE) {
        queue.push(piece, now);
        queue.has_abort();
        if queue.is_full() {
            take(&mut queue);
        }
    }
    take(&mut queue);
    assert!(!queue.is_full());
}

fn take(queue: &mut LineQueue) {
    while let Some((line, _)) = queue.pop() {
        let Line::Complete(line) = line else { continue };
        assert!(line.len() <= LINE_LIMIT && !line.contains(&b'\n'));
        let command = Command::parse(&line);
        assert!(command.argument.len() <= line.len());
        with_telnet(&command.argument);
        let _ = (parse_port(&command.argument), parse_eprt(&command.argument));
        if let Some(path) = VirtualPath::default().join(&command.argument) {
            let is_harmless =
                |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
            assert!(path.components().all(is_harmless));
            assert_eq!(VirtualPath::default().join(&path.to_bytes()), Some(path));
        }
    }
}

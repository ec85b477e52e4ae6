//! netrc(5), fed with anything (see [`crate::fuzzing`]).

#![allow(clippy::missing_panics_doc, reason = "a panic is how a fuzzer is told")]

use super::netrc::{find, parse};

/// A netrc file, and whom it knows.
pub fn netrc(input: &[u8]) {
    match parse(&String::from_utf8_lossy(input)) {
        Ok(entries) => drop(find(entries, "host", Some("user"))),
        // What is wrong is told by the line's number, never by its words: they may be a password.
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

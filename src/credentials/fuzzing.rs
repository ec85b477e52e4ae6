//! Fuzzing entry point of netrc(5) (see [`crate::fuzzing`]).

#![allow(clippy::missing_panics_doc, reason = "a panic is how a fuzzer is told")]

use super::netrc::{find, parse};

/// Parses a netrc file and looks up logins in it.
pub fn netrc(input: &[u8]) {
    match parse(&String::from_utf8_lossy(input)) {
        Ok(entries) => drop(find(entries, "host", Some("user"))),
        // Errors contain the number of the line but never its text, which may be a password.
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

//! What the fuzzers in `fuzz/` feed: a function for each grammar that somebody else writes. Each
//! takes any bytes and asserts what must hold of whatever they mean; `cargo test` replays the
//! inputs kept in `fuzz/corpus`.

#![allow(clippy::missing_panics_doc, reason = "a panic is how a fuzzer is told")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::ftp::Proxy;
use crate::source::{Source, conceal, parse_proxy, password_ranges};

pub use crate::credentials::fuzzing::netrc;
pub use crate::ftp::fuzzing::{
    data_address, digest, dos, eplf, feat, listing, mlsd, mlst, reply, unix,
};
pub use crate::journal::fuzzing::journal;
pub use crate::server::fuzzing::command;

/// A grammar's function.
pub type Target = fn(&[u8]);

/// All of them, by the names of `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 14] = [
    ("command", command),
    ("data_address", data_address),
    ("digest", digest),
    ("dos", dos),
    ("eplf", eplf),
    ("feat", feat),
    ("journal", journal),
    ("listing", listing),
    ("mlsd", mlsd),
    ("mlst", mlst),
    ("netrc", netrc),
    ("reply", reply),
    ("source", source),
    ("unix", unix),
];

/// SOURCE or a proxy as it is typed, and where its passwords are.
pub fn source(input: &[u8]) {
    let mut end = 0;
    for range in password_ranges(input) {
        assert!(range.start >= end && input.get(range.clone()).is_some());
        end = range.end;
    }
    let text = String::from_utf8_lossy(input);
    conceal(&text);
    // Parsed, a proxy is shown as what is parsed as the same one, without its login.
    if let Ok(proxy) = parse_proxy(&text) {
        let shown = parse_proxy(&proxy.to_string());
        let login = proxy.login.clone();
        assert_eq!(shown.map(|shown| Proxy { login, ..shown }), Ok(proxy));
    }
    // What is wrong with it is said in one line.
    if let Err(error) = Source::parse(OsStr::from_bytes(input)) {
        assert!(!error.to_string().contains(char::is_control));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn names(directory: &str) -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{directory}: {error}"));
        entries
            .map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.trim_end_matches(".rs").to_owned()
            })
            .collect()
    }

    #[test]
    fn every_input_kept_in_the_corpus_passes() {
        for (name, target) in TARGETS {
            let directory = format!("fuzz/corpus/{name}");
            let inputs = names(&directory);
            assert!(!inputs.is_empty(), "{directory} is empty");
            for input in inputs {
                let path = format!("{}/{directory}/{input}", env!("CARGO_MANIFEST_DIR"));
                // Told by the harness only where the target panics.
                println!("{path}");
                target(&fs::read(path).unwrap());
            }
        }
    }

    #[test]
    fn every_grammar_has_a_fuzzer_and_a_corpus() {
        let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("fuzz/fuzz_targets"), known);
        assert_eq!(names("fuzz/corpus"), known);
    }
}

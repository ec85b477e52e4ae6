//! A process as /proc shows it to others (proc(5)).

use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// O_CLOEXEC as /proc/PID/fdinfo has it, in octal (asm-generic/fcntl.h).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// A process that runs.
pub(crate) struct Process {
    place: PathBuf,
}

impl Process {
    /// That of this number.
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            place: PathBuf::from(format!("/proc/{pid}")),
        }
    }

    /// All that run.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| Some(Self::of(entry.file_name().to_str()?.parse().ok()?)))
    }

    /// The one that has `word` among its arguments.
    pub(crate) fn with_argument(word: &str) -> Option<Self> {
        Self::all().find(|process| process.has_argument(word))
    }

    /// Whether `word` is among its arguments.
    pub(crate) fn has_argument(&self, word: &str) -> bool {
        let arguments = self.read("cmdline").unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.any(|argument| argument == word.as_bytes())
    }

    /// Its directory in /proc.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// A file in there; none when the process has ended.
    pub(crate) fn read(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.place.join(file)).ok()
    }

    /// Of each of its threads the name and the value of a line in its status.
    pub(crate) fn threads(&self, line: &str) -> Vec<(String, String)> {
        let threads = fs::read_dir(self.place.join("task")).unwrap();
        let statuses = threads.filter_map(|thread| {
            // One that ended meanwhile has none.
            fs::read_to_string(thread.unwrap().path().join("status")).ok()
        });
        let value = |status: &str, name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().trim().to_owned()
        };
        statuses
            .map(|status| (value(&status, "Name:"), value(&status, line)))
            .collect()
    }

    /// Its descriptors: number, what each leads to, and whether a program that it runs does not get
    /// it.
    pub(crate) fn descriptors(&self) -> Vec<(RawFd, PathBuf, bool)> {
        let names = fs::read_dir(self.place.join("fd")).unwrap();
        let described = names.filter_map(|entry| {
            let name = entry.unwrap().file_name();
            let number = name.to_str()?.parse().ok()?;
            let leads_to = fs::read_link(self.place.join("fd").join(&name)).ok()?;
            let about = fs::read_to_string(self.place.join("fdinfo").join(&name)).ok()?;
            let flags = about.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
            Some((number, leads_to, flags & CLOSE_ON_EXEC != 0))
        });
        described.collect()
    }
}

/// Whether `words` are somewhere in `place`.
pub(crate) fn contains(place: &[u8], words: &[u8]) -> bool {
    place.windows(words.len()).any(|window| window == words)
}

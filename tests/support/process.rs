//! A process as other processes see it in /proc (proc(5)).

use std::fmt::Write;
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// O_CLOEXEC as /proc/PID/fdinfo has it, in octal (asm-generic/fcntl.h).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// A running process.
pub(crate) struct Process {
    place: PathBuf,
}

impl Process {
    /// Returns the process with this ID.
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            place: PathBuf::from(format!("/proc/{pid}")),
        }
    }

    /// Returns all running processes.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| Some(Self::of(entry.file_name().to_str()?.parse().ok()?)))
    }

    /// Finds a process that has `word` among its arguments.
    pub(crate) fn with_argument(word: &str) -> Option<Self> {
        Self::all().find(|process| process.has_argument(word))
    }

    /// Whether `word` is among the process's arguments.
    pub(crate) fn has_argument(&self, word: &str) -> bool {
        let arguments = self.read("cmdline").unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.any(|argument| argument == word.as_bytes())
    }

    /// Returns the process's directory in /proc.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Reads a file in that directory; None if the process has ended.
    pub(crate) fn read(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.place.join(file)).ok()
    }

    /// Describes what the process waits for: where each thread is in the kernel (root sees more),
    /// and the open files.
    pub(crate) fn waits(&self) -> String {
        let mut words = String::new();
        let entries = |directory: &str| {
            fs::read_dir(self.place.join(directory))
                .into_iter()
                .flatten()
        };
        for thread in entries("task").flatten() {
            let read =
                |file: &str| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            let (name, place, stack) = (read("comm"), read("wchan"), read("stack"));
            writeln!(words, "thread {}: {place}\n{stack}", name.trim()).unwrap();
        }
        for file in entries("fd").flatten() {
            let target = fs::read_link(file.path()).unwrap_or_default();
            writeln!(words, "open: {}", target.display()).unwrap();
        }
        words
    }

    /// Returns the name of each thread and the value of `line` in its status.
    pub(crate) fn threads(&self, line: &str) -> Vec<(String, String)> {
        let threads = fs::read_dir(self.place.join("task")).unwrap();
        let statuses = threads.filter_map(|thread| {
            // A thread that has ended in the meantime has no status.
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

    /// Returns the open descriptors: the number, the target, and whether the descriptor is closed
    /// on exec.
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

/// Whether `place` contains `words`.
pub(crate) fn contains(place: &[u8], words: &[u8]) -> bool {
    place.windows(words.len()).any(|window| window == words)
}

//! Servers that lie: whatever they send, the mount stays within its memory and its root, continues
//! to work, and reports the problem once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod directories;
mod files;
mod listings;
mod names;
mod replies;
#[path = "../support/mod.rs"]
mod support;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{ALIVE, Act, Mount, Scripted, assert_errno, wait_for};

/// Maximum additional memory since the start of the mount, for anything but a listing.
const MODEST: u64 = 48 << 20;

/// A mount of a lying server, and the mount's memory use at its start.
struct Victim {
    mount: Mount,
    before: u64,
    // Last, so that it outlives the mount.
    server: Scripted,
}

impl Victim {
    fn of(server: Scripted) -> Self {
        Self::with(server, &[])
    }

    fn with(server: Scripted, options: &[&str]) -> Self {
        let mount = Mount::of_url(&server.url(), "secret", options);
        let before = most_memory(&mount);
        Self {
            mount,
            before,
            server,
        }
    }

    /// Asserts that the mount serves the server's honest part, and that its memory never grew by
    /// more than `most` bytes.
    #[track_caller]
    fn lives_within(&self, most: u64) {
        let directory = self.mount.join("good");
        assert_eq!(names(&directory).unwrap(), ["alive"]);
        assert_eq!(fs::read_to_string(directory.join("alive")).unwrap(), ALIVE);
        let grown = most_memory(&self.mount) - self.before;
        assert!(grown <= most, "it took {} KiB more", grown >> 10);
    }

    /// Returns how many lines of the mount's log contain these words.
    fn said(&self, words: &str) -> usize {
        let log = self.mount.log();
        log.lines().filter(|line| line.contains(words)).count()
    }
}

/// Returns the peak memory use of the mount's process, in bytes.
fn most_memory(mount: &Mount) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

fn names(directory: &std::path::Path) -> io::Result<Vec<OsString>> {
    let names: io::Result<Vec<_>> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

fn file(size: &str, name: &str) -> String {
    format!("type=file;size={size};modify=20260102030405; {name}\r\n")
}

/// Starts a server with one file, for which it reports this size and sends this content.
fn with_file(size: u64, content: impl Into<Vec<u8>>) -> Scripted {
    let content = content.into();
    Scripted::start(move |line| match line {
        "MLSD /" => Act::send(file(&size.to_string(), "file") + "type=dir; good\r\n"),
        "MLST /file" => Act::say(&format!(
            "250-it\n type=file;size={size};modify=20260102030405; /file\n250 is"
        )),
        "RETR /file" => Act::send(content.clone()),
        _ => None,
    })
}

/// Sends `piece` until the client disconnects.
fn for_ever(to: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    let block = piece.repeat((64 << 10) / piece.len() + 1);
    loop {
        to.write_all(&block)?;
    }
}

/// Sends `piece` from time to time, before any single wait can time out, until the client
/// disconnects.
fn drip(to: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    loop {
        to.write_all(piece)?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs ftpfs with arguments with which it exits by itself.
fn ftpfs(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(arguments)
        .env("FTPFS_PASSWORD", "secret")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_harmless(text: &[u8]) {
    let is_harmful = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t');
    let text = String::from_utf8_lossy(text);
    assert!(!text.bytes().any(|byte| is_harmful(&byte)), "{text:?}");
    assert!(!text.contains(['\u{9b}', '\u{202e}']), "{text:?}");
}

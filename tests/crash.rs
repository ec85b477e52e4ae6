//! ftpfs is killed at any moment: the server keeps the old file or has the new one, and the next mount of the
//! same server clears away and finishes what was under way.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{stories, wait_for};
use tempfile::TempDir;

/// Time enough for a transfer to get under way.
const SOON: Duration = Duration::from_secs(20);

/// Larger than what is stored in one go when it is closed.
const LARGE: usize = 32 << 20;

/// Temporary names of ftpfs in the server's root.
fn temporary_names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".ftpfs-")).collect()
}

/// What mounts left in their state directory for the next one.
fn left_in(state: &Path) -> Vec<PathBuf> {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let places = entries(&state.join("ftpfs"));
    let left = places.iter().flat_map(|place| entries(place));
    left.filter(|path| path.file_name().unwrap() != "lock")
        .collect()
}

/// A program that writes a large file and keeps it open until its input ends. It is one of its own because a
/// copy of the descriptor, as any child of ours gets for a moment, would store the file when it is closed.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Self {
        let script = "import sys; f = open(sys.argv[1], 'wb', 0); f.write(b'\\7' * int(sys.argv[2])); sys.stdin.read()";
        let program = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .arg(LARGE.to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(program.unwrap())
    }

    /// Lets it close its file and end; whether that went well.
    fn end(mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().success()
    }
}

stories! {
    fn a_killed_upload_leaves_the_old_file_and_the_next_mount_clears_up(server: &TestServer, mount: &Mount) {
        let state = TempDir::new().unwrap();
        server.write("file", "old contents");
        server.write("other", "other contents");

        let killed = Mount::with_state(server, &[], state.path());
        let writer = Writer::start(&killed.join("file"));
        assert!(
            wait_for(SOON, || !temporary_names(server.root()).is_empty()),
            "a large file is on its way while it is written"
        );
        killed.kill_nine();
        writer.end();
        assert_eq!(fs::read(server.root().join("file")).unwrap(), b"old contents");

        let next = Mount::with_state(server, &[], state.path());
        assert_eq!(temporary_names(server.root()), [""; 0]);
        assert_eq!(fs::read(next.join("file")).unwrap(), b"old contents");
        let log = next.log();
        assert!(log.contains("/file was being written, neither closed nor synced"), "{log}");
        next.unmount();
        assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
    }

    fn the_next_mount_lets_a_running_mounts_upload_be(server: &TestServer, mount: &Mount) {
        let state = TempDir::new().unwrap();
        let running = Mount::with_state(server, &[], state.path());
        let writer = Writer::start(&running.join("file"));
        assert!(wait_for(SOON, || !temporary_names(server.root()).is_empty()));

        let second = Mount::with_state(server, &[], state.path());
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0, "it does not show");
        assert_eq!(temporary_names(server.root()).len(), 1, "it is not cleared away");
        assert!(writer.end());
        second.unmount();
        running.unmount();
        assert!(server.read("file") == vec![7; LARGE]);
        assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
    }
}

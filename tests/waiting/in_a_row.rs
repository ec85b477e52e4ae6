//! Many transfers one after the other, with and without pauses, on every server: each but the first
//! finds its data connection open already, or does without.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::support::{TestServer, stories};

/// A user's pause: what is open ahead has to outlive it.
const PAUSE: Duration = Duration::from_secs(2);

/// How many commands of this verb the server has had.
fn count(server: &TestServer, verbs: &[&str]) -> usize {
    let commands = server.commands();
    let is_one = |line: &&String| verbs.iter().any(|verb| line.starts_with(verb));
    commands.iter().filter(is_one).count()
}

/// Stores a file, and says so when that fails: closing it is not enough for that here.
fn store(path: PathBuf, content: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.sync_all().unwrap();
}

stories! {
    /// Files are read and written in turn, and the directory listed, now at once, now after a
    /// pause.
    fn transfers_with_pauses(server: &TestServer, mount: &Mount) with ["dir_ttl=0", "open_ttl=0"] {
        for number in 0..12 {
            server.write(format!("there {number}"), format!("content {number}"));
        }
        for number in 0..12 {
            let content = format!("content {number}");
            assert_eq!(fs::read_to_string(mount.join(format!("there {number}"))).unwrap(), content);
            store(mount.join(format!("new {number}")), &content);
            let names = fs::read_dir(mount.path()).unwrap().count();
            assert_eq!(names, 12 + number + 1);
            if number % 4 == 3 {
                thread::sleep(PAUSE);
            }
        }
        for number in 0..12 {
            assert_eq!(server.read(format!("new {number}")), format!("content {number}").into_bytes());
        }
        if server.kind() != Kind::PureFtpd {
            let opened = count(server, &["EPSV", "PASV"]);
            let transfers = count(server, &["RETR", "STOR", "LIST", "MLSD"]);
            let logins = count(server, &["PASS"]);
            assert!(opened <= transfers + logins, "{opened} for {transfers}, {logins} logins");
        }
    }

    /// Of many small files none is mistaken for another.
    fn many_small_files(server: &TestServer, mount: &Mount) {
        for number in 0..60 {
            store(mount.join(format!("file {number}")), &format!("number {number}").repeat(number));
        }
        for number in 0..60 {
            let content = format!("number {number}").repeat(number);
            assert_eq!(server.read(format!("file {number}")), content.as_bytes());
            assert_eq!(fs::read_to_string(mount.join(format!("file {number}"))).unwrap(), content);
        }
    }
}

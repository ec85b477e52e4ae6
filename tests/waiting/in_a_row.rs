//! Many consecutive transfers, with and without pauses, on every server: every transfer but the
//! first finds its data connection already open, or works without it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::support::{TestServer, stories};

/// A user's pause, which a data connection opened ahead has to outlive.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns how many commands with these verbs the server has received.
fn count(server: &TestServer, verbs: &[&str]) -> usize {
    let commands = server.commands();
    let is_one = |line: &&String| verbs.iter().any(|verb| line.starts_with(verb));
    commands.iter().filter(is_one).count()
}

/// Stores a file and reports a failure, which just dropping the file would not.
fn store(path: PathBuf, content: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.sync_all().unwrap();
}

stories! {
    /// Reads and writes files in turn and lists the directory, sometimes immediately, sometimes
    /// after a pause.
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

    /// Many small files are never confused with each other.
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

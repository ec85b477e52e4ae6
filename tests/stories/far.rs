//! Large files on a distant server: several simultaneous transfers of one file where that is
//! faster.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    Kind, Mount, PASSWORD, Random, TestServer, Told, USER, behind, link, wait_for, word,
};

const PATIENCE: Duration = Duration::from_secs(30);

const LARGE: usize = 72 << 20;

/// A distant server with a large file.
struct FarServer {
    root: tempfile::TempDir,
    url: String,
    _server: Told,
    _link: Told,
}

fn write_large(root: &Path) {
    fs::write(root.join("large"), Random::new().bytes(LARGE)).unwrap();
}

impl FarServer {
    /// Starts a server 20 ms away over a 200 Mbit/s line, so that the file takes some seconds.
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        write_large(root.path());
        let link = link(&["rtt=20", "rate=200"]);
        let listen = format!("{}:0", word(&link.first, "address"));
        let serve = ["serve", "--user", USER, "--listen", &listen];
        let mut command = behind(&link);
        command
            .arg(env!("CARGO_BIN_EXE_ftpfs"))
            .args(serve)
            .arg(root.path())
            .env("FTPFS_PASSWORD", PASSWORD);
        let server = Told::start(&mut command);
        let place = server.first.rsplit("//").next().unwrap();
        let place = place.rsplit('@').next().unwrap().trim_end_matches('/');
        let url = format!("ftp://{USER}@{place}/");
        Self {
            root,
            url,
            _server: server,
            _link: link,
        }
    }
}

/// Returns what `ftpfs status` prints about the mount.
fn status(mount: &Mount, options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    let output = command.arg("status").args(options).arg(mount.path());
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}

/// Returns how often `verb` was sent for the mount.
fn sent(mount: &Mount, verb: &str) -> usize {
    let told = status(mount, &["--json"]);
    let (_, after) = told
        .split_once(&format!("\"{verb}\":"))
        .unwrap_or(("", "0"));
    let digits = after.trim_start().split(|it: char| !it.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}

/// Reads the large file through the mount and asserts that it matches the one on the server.
fn read(mount: &Mount, root: &Path) {
    let (there, here) = (root.join("large"), mount.join("large"));
    assert!(fs::read(here).unwrap() == fs::read(there).unwrap());
}

/// Asserts that the file was not fetched in parts. Several threads serve the kernel's first
/// requests; if the second request is served first, the transfer restarts once.
fn came_in_one_transfer(mount: &Mount) {
    assert!(sent(mount, "RETR") <= 2, "{}", mount.log());
    assert_eq!(sent(mount, "RANG"), 0, "no part is fetched beside it");
}

#[test]
fn a_large_file_comes_over_several_connections_at_once() {
    let server = FarServer::start();
    let mount = Mount::of_url(&server.url, PASSWORD, &[]);
    read(&mount, server.root.path());
    assert!(sent(&mount, "RETR") >= 4, "{}", mount.log());
    assert!(sent(&mount, "RANG") >= 3);
}

#[test]
fn one_connection_is_enough_for_a_large_file() {
    let server = FarServer::start();
    let mount = Mount::of_url(&server.url, PASSWORD, &["connections=1"]);
    read(&mount, server.root.path());
    came_in_one_transfer(&mount);
}

/// Other programs are not affected: a small file is read meanwhile, and an interrupted copy leaves
/// no transfer behind.
#[test]
fn other_work_goes_on_beside_a_large_file() {
    let server = FarServer::start();
    fs::write(server.root.path().join("small"), "small").unwrap();
    let mount = Mount::of_url(&server.url, PASSWORD, &["connections=4"]);
    let large = mount.join("large");
    let mut copy = Command::new("cat")
        .arg(&large)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(wait_for(PATIENCE, || sent(&mount, "RETR") > 1));
    assert_eq!(fs::read_to_string(mount.join("small")).unwrap(), "small");
    copy.kill().unwrap();
    copy.wait().unwrap();
    let under_way = || status(&mount, &[]).contains("transfer ");
    assert!(wait_for(PATIENCE, || !under_way()));
}

/// Each seek costs one or two round trips until the whole file has been fetched in parallel.
#[test]
fn a_program_that_jumps_about_in_a_file_soon_waits_no_more() {
    let server = FarServer::start();
    let mount = Mount::of_url(&server.url, PASSWORD, &[]);
    let there = File::open(server.root.path().join("large")).unwrap();
    let here = File::open(mount.join("large")).unwrap();
    let mut random = Random::new();
    let mut jump = || {
        let at = random.below(LARGE - 4096) as u64;
        let mut blocks = [[0; 4096]; 2];
        there.read_exact_at(&mut blocks[0], at).unwrap();
        here.read_exact_at(&mut blocks[1], at).unwrap();
        assert!(blocks[0] == blocks[1], "at byte {at}");
    };
    assert!(wait_for(PATIENCE, || {
        let before = sent(&mount, "RETR");
        (0..20).for_each(|_| jump());
        sent(&mount, "RETR") == before
    }));
}

#[test]
fn a_server_nearby_sends_a_large_file_in_one_transfer() {
    let server = TestServer::start(Kind::Embedded);
    write_large(server.root());
    server.hand_over();
    let mount = Mount::new(&server);
    read(&mount, server.root());
    came_in_one_transfer(&mount);
}

//! What an observer on the network sees of a mount: nothing of interest with TLS, everything
//! without.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Mount, wait_for};
use ftpfs::server::{Access, Certificate, Server, ServerOptions, TlsMode, TlsOptions, TlsVersions};

const USER: &str = "telltale-user";
const PASSWORD: &str = "telltale-password";
const NAME: &str = "telltale-name.txt";
const LINE: &str = "telltale content, line after line\n";

/// Maximum time for the capture to contain all sent data.
const CAPTURED: Duration = Duration::from_secs(20);

/// tcpdump on loopback; it is stopped on drop.
struct Capture {
    program: Child,
    file: PathBuf,
}

impl Capture {
    /// Captures all traffic from and to this address.
    fn of(address: IpAddr, directory: &Path) -> Self {
        let file = directory.join("capture");
        let mut program = Command::new("tcpdump")
            .args([
                "-i",
                "lo",
                "-U",
                "--immediate-mode",
                "-B",
                "32768",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .args(["host", &address.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        let mut words = BufReader::new(program.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on lo") {
            line.clear();
            assert_ne!(words.read_line(&mut line).unwrap(), 0, "tcpdump ended");
        }
        Self { program, file }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }

    fn holds(&self, text: &str) -> bool {
        let bytes = self.bytes();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Writes a file through one mount of a server, lists and reads it through another, and passes the
/// captured traffic to `look`.
///
/// The server has its own address, so that the capture contains nothing of other tests.
fn watched(last: u8, tls: Option<(TlsMode, TlsVersions)>, look: impl FnOnce(&Capture, usize)) {
    let address = IpAddr::from(Ipv4Addr::new(127, 77, 0, last));
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let certificate = Certificate::made_for(address).unwrap();
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, certificate.pem()).unwrap();
    let access = Access::Account {
        user: USER.into(),
        password: PASSWORD.into(),
    };
    let mut options = ServerOptions::new(&root, access);
    options.listen = (address, 0).into();
    options.tls = tls.map(|(mode, versions)| TlsOptions {
        mode,
        versions,
        reuse: true,
        ..TlsOptions::new(certificate)
    });
    let scheme = match tls {
        None => "ftp",
        Some((TlsMode::Implicit, _)) => "ftps",
        Some(_) => "ftpes",
    };
    let server = Server::start(options).unwrap();
    let url = format!("{scheme}://{USER}@{}/", server.address());
    let believed = format!("cafile={}", ca.display());
    let options: &[&str] = if tls.is_some() { &[&believed] } else { &[] };

    let capture = Capture::of(address, directory.path());
    let content = LINE.repeat(4000);
    let mount = Mount::of_url(&url, PASSWORD, options);
    fs::write(mount.join(NAME), &content).unwrap();
    mount.unmount();
    let mount = Mount::of_url(&url, PASSWORD, options);
    let listed = fs::read_dir(mount.path()).unwrap().next().unwrap();
    assert_eq!(listed.unwrap().file_name(), NAME);
    assert_eq!(fs::read_to_string(mount.join(NAME)).unwrap(), content);
    mount.unmount();
    look(&capture, 2 * content.len());
}

fn nothing_shows(last: u8, mode: TlsMode, versions: TlsVersions) {
    watched(last, Some((mode, versions)), |capture, moved| {
        let is_there = wait_for(CAPTURED, || capture.bytes().len() > moved);
        assert!(is_there, "the capture misses what was sent");
        for secret in [USER, PASSWORD, NAME, LINE] {
            assert!(!capture.holds(secret), "{secret:?} is on the wire");
        }
    });
}

#[test]
fn without_tls_everything_shows() {
    watched(1, None, |capture, _| {
        for secret in [USER, PASSWORD, NAME, LINE] {
            let shows = wait_for(CAPTURED, || capture.holds(secret));
            assert!(shows, "{secret:?} was not captured");
        }
    });
}

#[test]
fn with_tls_neither_password_nor_name_nor_content_shows() {
    nothing_shows(2, TlsMode::Required, TlsVersions::Only12);
    nothing_shows(3, TlsMode::Required, TlsVersions::Only13);
}

#[test]
fn with_implicit_tls_neither_password_nor_name_nor_content_shows() {
    nothing_shows(4, TlsMode::Implicit, TlsVersions::Both);
}

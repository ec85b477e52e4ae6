//! A machine that changes its network: the way to the server is gone for a while, or the machine
//! has another address. Nothing is asked of the user.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::offline::{is_offline, names, unreachable};
use crate::support::{Mount, PASSWORD, Told, USER, behind, link, wait_for, word};

/// Longest time until the mount has found the server again by itself.
const FOUND: Duration = Duration::from_secs(60);

/// Longest time of an operation on a server that no longer answers: some seconds until it is
/// probed, and as long for the probe. A busy machine takes longer.
const GIVEN_UP: Duration = Duration::from_secs(25);

/// A server at the far end of a link.
struct Far {
    root: tempfile::TempDir,
    url: String,
    link: Told,
    _server: Told,
}

impl Far {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("docs/a.txt", "alpha\n"), ("other/b.txt", "beta\n")] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let link = link(&["rtt=20"]);
        let listen = format!("{}:0", word(&link.first, "address"));
        let mut command = behind(&link);
        command
            .arg(env!("CARGO_BIN_EXE_ftpfs"))
            .args(["serve", "--user", USER, "--listen", &listen])
            .arg(root.path())
            .env("FTPFS_PASSWORD", PASSWORD);
        let server = Told::start(&mut command);
        let place = server.first.rsplit("//").next().unwrap();
        let place = place.rsplit('@').next().unwrap().trim_end_matches('/');
        Self {
            url: format!("ftp://{USER}@{place}/"),
            root,
            link,
            _server: server,
        }
    }

    fn mount(&self) -> Mount {
        let options = ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"];
        Mount::of_url(&self.url, PASSWORD, &options)
    }

    /// Runs ip(8) with these words at this end of the link.
    fn ip(words: &str) -> String {
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs ip(8) with these words at the far end.
    fn far_ip(&self, words: &str) -> String {
        let output = behind(&self.link).arg("ip").args(words.split(' ')).output();
        let output = output.unwrap();
        assert!(output.status.success(), "ip {words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Returns the device with this address, and the address with its prefix, from the output of `ip -o
/// address`.
fn device_of(listed: &str, address: &str) -> (String, String) {
    let is_it = |line: &&str| line.contains(&format!(" {address}/"));
    let line = listed.lines().find(is_it).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    (words[1].to_owned(), words[3].to_owned())
}

#[test]
fn a_way_that_swallows_everything_is_given_up_and_found_again() {
    let mut far = Far::start();
    let mount = far.mount();
    assert_eq!(names(&mount, "docs"), "a.txt");
    far.link.say("cut");
    let began = Instant::now();
    unreachable(fs::read_dir(mount.join("other")));
    assert!(began.elapsed() < GIVEN_UP, "{:?}", began.elapsed());
    assert!(is_offline(&mount));
    fs::write(mount.join("docs/new.txt"), "new\n").unwrap();
    assert_eq!(names(&mount, "docs"), "a.txt new.txt");
    far.link.say("heal");
    assert!(wait_for(FOUND, || !is_offline(&mount)), "{}", mount.log());
    assert_eq!(names(&mount, "other"), "b.txt");
    let stored = || fs::read(far.root.path().join("docs/new.txt")).is_ok_and(|it| it == b"new\n");
    assert!(wait_for(FOUND, stored), "{}", mount.log());
}

#[test]
fn a_machine_with_another_address_goes_on() {
    let far = Far::start();
    let mount = far.mount();
    assert_eq!(names(&mount, "docs"), "a.txt");
    let server = word(&far.link.first, "address");
    let near = word(&far.link.first, "near");
    let (device, address) = device_of(&Far::ip("-o address"), near);
    let (far_device, _) = device_of(&far.far_ip("-o address"), server);
    Far::ip(&format!("address del {address} dev {device}"));
    // The connections are gone with their address, and there is no way to the server.
    let began = Instant::now();
    unreachable(fs::read_dir(mount.join("other")));
    assert!(began.elapsed() < GIVEN_UP, "{:?}", began.elapsed());
    assert_eq!(names(&mount, "docs"), "a.txt");
    fs::write(mount.join("docs/new.txt"), "new\n").unwrap();
    // An address for documentation (RFC 5737).
    far.far_ip(&format!("route add 203.0.113.1/32 dev {far_device}"));
    Far::ip(&format!("address add 203.0.113.1/32 dev {device}"));
    Far::ip(&format!(
        "route add {server}/32 dev {device} src 203.0.113.1"
    ));
    assert!(wait_for(FOUND, || !is_offline(&mount)), "{}", mount.log());
    assert_eq!(names(&mount, "other"), "b.txt");
    let stored = || fs::read(far.root.path().join("docs/new.txt")).is_ok_and(|it| it == b"new\n");
    assert!(wait_for(FOUND, stored), "{}", mount.log());
}

//! Mounts from an fstab line, by mount(8) with both types, and by the automounter.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::support::{
    Kind, PASSWORD, Process, TestServer, Tls, USER, contains, is_mounted, wait_for,
};
use tempfile::TempDir;

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time for a mount to appear or disappear.
const LIMIT: Duration = Duration::from_secs(20);

/// What an installation creates: the program where mount.fuse3 finds it for `fuse.ftpfs`, the
/// mount(8) helper for the type `ftpfs`, and curlftpfs's name for old lines. No lookup uses the
/// caller's PATH or HOME.
const LINKS: [&str; 3] = [
    "/usr/local/bin/ftpfs",
    "/sbin/mount.ftpfs",
    "/usr/local/bin/curlftpfs",
];

/// Held while ftpfs is installed.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The installed links, which exist as long as this value.
struct Installed {
    _alone: MutexGuard<'static, ()>,
}

impl Installed {
    fn new() -> Self {
        let alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        for link in LINKS {
            // Reuse a link left by a killed test.
            if fs::read_link(link).is_ok_and(|target| target == Path::new(FTPFS)) {
                continue;
            }
            symlink(FTPFS, link).unwrap_or_else(|error| panic!("{link}: {error}"));
        }
        Self { _alone: alone }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for link in LINKS {
            if fs::read_link(link).is_ok_and(|target| target == Path::new(FTPFS)) {
                let _ = fs::remove_file(link);
            }
        }
    }
}

/// A netrc for the server, an fstab and a mountpoint.
struct Machine {
    directory: TempDir,
    mountpoint: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ftpfs-fstab-")
            .tempdir()
            .unwrap();
        let mountpoint = directory.path().join("mnt");
        fs::create_dir(&mountpoint).unwrap();
        let entry = format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n");
        let netrc = directory.path().join("netrc");
        fs::write(&netrc, entry).unwrap();
        fs::set_permissions(&netrc, fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            directory,
            mountpoint,
        }
    }

    /// Runs `mount -a` with an fstab of this one line, whose second field is the mountpoint.
    fn mount_all(&self, source: &str, kind: &str, options: &str) {
        let fstab = self.directory.path().join("fstab");
        let line = format!(
            "{source} {} {kind} {options} 0 0\n",
            self.mountpoint.display()
        );
        fs::write(&fstab, line).unwrap();
        let output = Command::new("mount")
            .arg("-a")
            .arg("-T")
            .arg(&fstab)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        assert!(is_mounted(&self.mountpoint), "{words}");
    }

    /// Returns the option that names the netrc.
    fn netrc(&self) -> String {
        format!("netrc={}", self.directory.path().join("netrc").display())
    }

    fn mounts_here(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let path = self.mountpoint.to_str().unwrap();
        let lines = mounts.lines().filter(|line| line.contains(path));
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if is_mounted(&self.mountpoint) {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(&self.mountpoint)
                .status();
        }
    }
}

fn source(server: &TestServer) -> String {
    format!("ftp://127.0.0.1:{}/", server.port())
}

#[test]
fn a_line_of_type_fuse_ftpfs_is_mounted_once_and_unmounted() {
    let server = TestServer::start(Kind::Embedded);
    server.write("greeting", "hello");
    let _installed = Installed::new();
    let machine = Machine::new();
    let options = format!(
        "_netdev,nofail,{},x-systemd.automount,uid=1000",
        machine.netrc()
    );
    machine.mount_all(&source(&server), "fuse.ftpfs", &options);
    assert_eq!(
        fs::read(machine.mountpoint.join("greeting")).unwrap(),
        b"hello"
    );
    fs::write(machine.mountpoint.join("answer"), "stored").unwrap();

    // A second `mount -a` recognizes by type and source that it is already mounted.
    machine.mount_all(&source(&server), "fuse.ftpfs", &options);
    let mounts = machine.mounts_here();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert!(mounts[0].starts_with(&source(&server)), "{mounts:?}");
    assert!(mounts[0].contains(" fuse.ftpfs "), "{mounts:?}");

    crate::support::unmount_unused(&machine.mountpoint);
    assert_eq!(server.read("answer"), b"stored");
}

#[test]
fn a_line_of_type_ftpfs_is_mounted_through_the_helper() {
    let server = TestServer::start(Kind::Embedded);
    server.write("pub/greeting", "hello");
    let _installed = Installed::new();
    let machine = Machine::new();
    let source = format!("{}pub", source(&server));
    let options = format!("ro,_netdev,nofail,{},noatime", machine.netrc());
    machine.mount_all(&source, "ftpfs", &options);
    assert_eq!(
        fs::read(machine.mountpoint.join("greeting")).unwrap(),
        b"hello"
    );
    let mounts = machine.mounts_here();
    assert!(mounts[0].contains(" fuse.ftpfs ro,"), "{mounts:?}");
    crate::support::unmount_unused(&machine.mountpoint);
}

#[test]
fn a_line_that_cannot_be_mounted_fails_with_the_reason() {
    let _installed = Installed::new();
    let machine = Machine::new();
    let mut command = Command::new("mount");
    command.args(["-t", "fuse.ftpfs", "-o", "nonsense", "ftp://127.0.0.1/"]);
    let output = command.arg(&machine.mountpoint).output().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("unknown option -o nonsense"), "{words}");
    assert!(!is_mounted(&machine.mountpoint));
}

/// While they run, mount(8) and its helper's shell show a password in the source; afterwards no
/// process does. (With its own options, such as `_netdev`, mount(8) records the source in
/// /run/mount/utab, which no helper can prevent.)
#[test]
fn a_password_in_a_line_s_source_is_nowhere_to_be_seen_once_it_is_mounted() {
    let server = TestServer::start(Kind::Embedded);
    server.write("greeting", "hello");
    let _installed = Installed::new();
    for kind in ["fuse.ftpfs", "ftpfs"] {
        let machine = Machine::new();
        machine.mount_all(&server.url_with_password(), kind, "rw,nofail");
        let greeting = fs::read(machine.mountpoint.join("greeting")).unwrap();
        assert_eq!(greeting, b"hello");
        let secret = PASSWORD.as_bytes();
        assert!(!contains(
            &fs::read("/proc/self/mountinfo").unwrap(),
            secret
        ));
        // libmount's own mount table, if this machine has it.
        let own_table = fs::read("/run/mount/utab").unwrap_or_default();
        assert!(
            !contains(&own_table, secret),
            "{}",
            String::from_utf8_lossy(&own_table)
        );
        let mountpoint = machine.mountpoint.to_str().unwrap();
        let mut shown = 0;
        for process in Process::all().filter(|process| process.has_argument(mountpoint)) {
            shown += 1;
            for file in ["cmdline", "environ"] {
                let text = process.read(file).unwrap_or_default();
                assert!(
                    !contains(&text, secret),
                    "{}",
                    String::from_utf8_lossy(&text)
                );
            }
        }
        assert!(shown > 0, "the process is there");
        crate::support::unmount_unused(&machine.mountpoint);
    }
}

/// mount(8) runs mount.fuse3 for the type `fuse`, which takes the program from before the `#`.
#[test]
fn an_old_line_of_curlftpfs_is_mounted_with_each_type() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    server.write("greeting", "hello");
    let _installed = Installed::new();
    let url = format!("ftp://127.0.0.1:{}/", server.port());
    for (program, kind) in [
        ("ftpfs#", "fuse"),
        ("curlftpfs#", "fuse"),
        ("ftpfs#", "fuse.ftpfs"),
        ("curlftpfs#", "fuse.ftpfs"),
        ("curlftpfs#", "ftpfs"),
    ] {
        let machine = Machine::new();
        let options = format!(
            "rw,nofail,allow_other,uid=1000,ssl,no_verify_peer,utf8,{}",
            machine.netrc()
        );
        let source = format!("{program}{url}");
        machine.mount_all(&source, kind, &options);
        let greeting = fs::read(machine.mountpoint.join("greeting")).unwrap();
        assert_eq!(greeting, b"hello");
        // The second `mount -a` recognizes the source, unless mount.fuse3 has cut its prefix off
        // and ftpfs cannot know it.
        if (program, kind) != ("ftpfs#", "fuse") {
            machine.mount_all(&source, kind, &options);
        }
        let mounts = machine.mounts_here();
        assert_eq!(mounts.len(), 1, "{mounts:?}");
        crate::support::unmount_unused(&machine.mountpoint);
    }
}

/// Once it is mounted, no process shows the password of `user=`.
#[test]
fn a_password_in_a_line_s_options_is_shown_by_no_process_once_it_is_mounted() {
    let server = TestServer::start(Kind::Embedded);
    server.write("greeting", "hello");
    let _installed = Installed::new();
    for kind in ["fuse.ftpfs", "ftpfs"] {
        let machine = Machine::new();
        let options = format!("rw,nofail,user={USER}:{PASSWORD},tcp_nodelay");
        machine.mount_all(&source(&server), kind, &options);
        let greeting = fs::read(machine.mountpoint.join("greeting")).unwrap();
        assert_eq!(greeting, b"hello");
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        assert!(!contains(&mounts, PASSWORD.as_bytes()));
        let mountpoint = machine.mountpoint.to_str().unwrap();
        let shown = Process::with_argument(mountpoint).unwrap();
        let arguments = shown.read("cmdline").unwrap();
        assert!(!contains(&arguments, PASSWORD.as_bytes()));
        crate::support::unmount_unused(&machine.mountpoint);
    }
}

/// The autofs daemon with one indirect map, mounted at the machine's mountpoint.
struct Automounter {
    daemon: Child,
    log: PathBuf,
    mountpoint: PathBuf,
}

impl Automounter {
    fn start(machine: &Machine, map: &str) -> Self {
        let directory = machine.directory.path();
        let master = directory.join("auto.master");
        let log = directory.join("automount.log");
        fs::write(directory.join("auto.map"), map).unwrap();
        let line = format!(
            "{} {}/auto.map\n",
            machine.mountpoint.display(),
            directory.display()
        );
        fs::write(&master, line).unwrap();
        let output = File::create(&log).unwrap();
        let mut command = Command::new("automount");
        command
            .args([
                "--foreground",
                "--dont-check-daemon",
                "--verbose",
                "--timeout",
                "60",
                "--pid-file",
            ])
            .arg(directory.join("automount.pid"))
            .arg(&master)
            // The kernel triggers no mounts for the daemon's own process group.
            .process_group(0)
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let daemon = command.stdin(Stdio::null()).spawn().unwrap();
        let started = Self {
            daemon,
            log,
            mountpoint: machine.mountpoint.clone(),
        };
        let ready = wait_for(LIMIT, || is_mounted(&started.mountpoint));
        assert!(ready, "{}", started.log());
        started
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Automounter {
    fn drop(&mut self) {
        // On SIGTERM it unmounts everything that is not busy.
        let _ = Command::new("kill")
            .arg(self.daemon.id().to_string())
            .status();
        let daemon = &mut self.daemon;
        if !wait_for(LIMIT, || {
            daemon.try_wait().is_ok_and(|status| status.is_some())
        }) {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let below = self.mountpoint.join("ftp");
        for place in [&below, &self.mountpoint] {
            if is_mounted(place) {
                let _ = Command::new("umount").arg("-l").arg(place).status();
            }
        }
    }
}

#[test]
fn the_automounter_mounts_at_the_first_access() {
    let server = TestServer::start(Kind::Embedded);
    server.write("greeting", "hello");
    let _installed = Installed::new();
    let machine = Machine::new();
    let map = format!(
        "ftp -fstype=fuse.ftpfs,{},nosuid :ftp\\://127.0.0.1\\:{}/\n",
        machine.netrc(),
        server.port()
    );
    let automounter = Automounter::start(&machine, &map);
    let place = machine.mountpoint.join("ftp");
    assert!(!is_mounted(&place));
    let content = fs::read(place.join("greeting"));
    assert_eq!(
        content.ok().as_deref(),
        Some(b"hello".as_slice()),
        "{}",
        automounter.log()
    );
    assert!(is_mounted(&place));
    fs::write(place.join("answer"), "stored").unwrap();

    drop(automounter);
    assert!(!is_mounted(&place) && !is_mounted(&machine.mountpoint));
    assert_eq!(server.read("answer"), b"stored");
}

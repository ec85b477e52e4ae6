//! Sources and options in configuration files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use crate::home::MountingHome;
use crate::support::{Kind, PASSWORD, TestServer, USER, in_own_namespace, is_mounted, wait_for};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// A home directory with a configuration, a netrc for the server, and a mountpoint.
struct Home(MountingHome);

impl std::ops::Deref for Home {
    type Target = MountingHome;

    fn deref(&self) -> &MountingHome {
        &self.0
    }
}

impl Home {
    /// `configuration` may contain `PORT`, `HOME` and `USER`.
    fn new(server: &TestServer, configuration: &str) -> Self {
        let home = Self(MountingHome::new("nas"));
        let netrc = format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n");
        home.write(".netrc", &netrc, 0o600);
        home.configure(server, configuration);
        home
    }

    fn configure(&self, server: &TestServer, configuration: &str) {
        let text = configuration
            .replace("PORT", &server.port().to_string())
            .replace("HOME", self.path().to_str().unwrap())
            .replace("USER", USER);
        self.write(".config/ftpfs/config", &text, 0o644);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_here(FTPFS, arguments);
        command.env_remove("FTPFS_CONFIG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn failed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!is_mounted(&self.mountpoint));
        String::from_utf8(output.stderr).unwrap()
    }

    fn unmount(&self) {
        crate::support::run_with("fusermount3", &["-u".as_ref(), self.mountpoint.as_os_str()]);
        assert!(wait_for(LIMIT, || !is_mounted(&self.mountpoint)));
    }

    /// Returns the mount's fields in /proc/mounts.
    fn mounted(&self) -> Vec<String> {
        let point = self.mountpoint.to_str().unwrap();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.contains(point)).unwrap();
        line.split(' ').map(str::to_owned).collect()
    }
}

const NAS: &str = "
[defaults]
timeout = 20

[source.nas]
url = \"ftp://USER@127.0.0.1:PORT/\"
mountpoint = \"~/nas\"
file_mode = 640
";

#[test]
fn a_name_mounts_its_source_on_its_mountpoint() {
    let server = TestServer::start(Kind::Embedded);
    server.write("photos/2026/a", "hello");
    let home = Home::new(&server, NAS);
    home.done(&["nas:"]);
    let a = home.mountpoint.join("photos/2026/a");
    assert_eq!(fs::read_to_string(&a).unwrap(), "hello");
    assert_eq!(
        fs::metadata(&a).unwrap().permissions().mode() & 0o777,
        0o640
    );
    // What the first field of fstab says, so that a second `mount -a` recognizes it.
    assert_eq!(home.mounted()[0], "nas:");
    // The name also stands for the mountpoint.
    assert!(wait_for(LIMIT, || home
        .run(&["status", "nas:"])
        .status
        .success()));
    assert_eq!(
        home.done(&["limit", "nas:", "down=2M"]),
        "down=2.0 MiB/s, up=off\n"
    );
    let report = home.done(&["refresh", "nas:photos"]);
    assert!(report.contains("/photos"), "{report}");
    home.done(&["umount", "--wait", "nas:"]);
    assert!(!is_mounted(&home.mountpoint));

    // A path is below the source's directory, and a typed option wins.
    home.done(&["nas:photos/2026", "nas", "-o", "file_mode=600"]);
    let mode = fs::metadata(home.mountpoint.join("a"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    home.unmount();

    let report = home.done(&["check", "nas:"]);
    assert!(report.contains(&format!("as {USER}")), "{report}");
}

#[test]
fn a_configured_name_wins_over_a_host_and_a_url_does_not_ask() {
    let server = TestServer::start(Kind::Embedded);
    let configuration = NAS.replace("source.nas", "source.localhost");
    let home = Home::new(&server, &configuration);
    home.done(&["localhost:", "nas"]);
    home.unmount();
    // Port 21 of this machine, where no server listens for the tests.
    let words = home.failed(&[
        "ftp://localhost/",
        "nas",
        "-o",
        "user=nobody,connect_timeout=2",
    ]);
    assert!(!words.contains(&server.port().to_string()), "{words}");
}

#[test]
fn a_configured_ro_cannot_be_undone_by_the_rw_that_mount_adds() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, &format!("{NAS}ro = true\n"));
    home.done(&["nas:", "-o", "rw"]);
    assert!(home.mounted()[3].starts_with("ro,"), "{:?}", home.mounted());
    home.unmount();
}

#[test]
fn a_mount_without_a_mountpoint_says_where_to_write_one() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, &NAS.replace("mountpoint", "#"));
    let words = home.failed(&["nas:"]);
    assert!(
        words.contains("mountpoint = \"/DIR\" to [source.nas]"),
        "{words}"
    );
    let words = home.failed(&["other:"]);
    assert!(
        words.contains("other is no source of the configuration"),
        "{words}"
    );
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, NAS);
    home.write(".config/ftpfs/config", NAS, 0o666);
    for arguments in [&["nas:"][..], &["config", "check"], &["config", "show"]] {
        let words = home.failed(arguments);
        assert!(words.contains("can be written by others"), "{words}");
    }
    // Without the file, the mount does not fail.
    let url = server.url();
    home.done(&["-o", "config=none", &url, "nas"]);
    home.unmount();
    home.command(&[&url, "nas"])
        .env("FTPFS_CONFIG", "none")
        .status()
        .unwrap();
    home.unmount();
}

#[test]
fn the_check_names_every_fault_with_its_line_and_key() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, NAS);
    assert_eq!(
        home.done(&["config", "check"]),
        "the configuration is correct\n"
    );
    let faulty = "[defaults]\ntimeout = \"soon\"\n\n[source.a]\nurl = \"ftp://u:hunter2@h/\"\nconections = 3\n\
                  [souce.b]\nurl = \"h:\"\n";
    home.configure(&server, faulty);
    let words = home.failed(&["config", "check"]);
    let lines: Vec<&str> = words.lines().collect();
    let file = home.path().join(".config/ftpfs/config");
    let expected = [
        "line 2, [defaults] timeout: timeout=soon: ",
        "line 5, [source.a] url: secrets do not belong",
        "line 6, [source.a] conections: unknown option conections (did you mean connections?)",
        "line 7, [souce]: unknown section",
    ];
    assert_eq!(lines.len(), expected.len(), "{words}");
    for (line, expected) in lines.iter().zip(expected) {
        let expected = format!("ftpfs: {} {expected}", file.display());
        assert!(line.starts_with(&expected), "{line}");
    }
    assert!(!words.contains("hunter2"), "{words}");
    // The same file given by name.
    assert_eq!(
        home.failed(&["config", "check", file.to_str().unwrap()]),
        words
    );
    let words = home.failed(&["config", "check", "missing"]);
    assert!(words.contains("cannot read "), "{words}");
}

#[test]
fn the_options_of_a_source_are_shown_with_their_origin() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, NAS);
    let url = format!("ftp://{USER}@127.0.0.1:{}/", server.port());
    let point = home.mountpoint.display();
    assert_eq!(
        home.done(&["config", "show"]),
        format!("nas:\t{url}\t{point}\n")
    );
    let file = home.path().join(".config/ftpfs/config");
    let file = file.display();
    assert_eq!(
        home.done(&["config", "show", "nas:"]),
        format!(
            "url = \"{url}\"\n# the login directory on 127.0.0.1, as {USER}\nmountpoint = \"{point}\"\n\
             timeout = \"20\"  # {file} line 3, [defaults] timeout\n\
             file_mode = \"640\"  # {file} line 8, [source.nas] file_mode\n"
        )
    );
}

/// The log level and the limits of a mount in the background follow the file at SIGHUP. A wrong
/// file changes nothing.
#[test]
fn a_running_mount_takes_log_level_and_limits_again_at_sighup() {
    let server = TestServer::start(Kind::Embedded);
    let log = "log_file = \"HOME/log\"\n";
    let home = Home::new(&server, &format!("{NAS}{log}"));
    home.done(&["nas:"]);
    let point = home.mountpoint.to_str().unwrap().to_owned();
    let status = || home.done(&["status", &point, "--json"]);
    assert!(wait_for(LIMIT, || home
        .run(&["status", &point])
        .status
        .success()));
    let status: serde_json::Value = serde_json::from_str(&status()).unwrap();
    let pid = status["pid"].as_u64().unwrap().to_string();
    let log_text = || fs::read_to_string(home.path().join("log")).unwrap_or_default();

    home.configure(
        &server,
        &format!("{NAS}{log}limit_down = \"2M\"\nlog_level = \"info\"\n"),
    );
    crate::support::run_with("kill", &["-HUP".as_ref(), pid.as_ref()]);
    assert!(wait_for(LIMIT, || log_text()
        .contains("read the configuration again")));
    assert_eq!(home.done(&["limit", &point]), "down=2.0 MiB/s, up=off\n");

    // What a person has set stays until the file changes: log rotation sends SIGHUP, too.
    home.done(&["limit", &point, "down=4M"]);
    let before = log_text().matches("reopened the log file").count();
    crate::support::run_with("kill", &["-HUP".as_ref(), pid.as_ref()]);
    let reopened = || log_text().matches("reopened the log file").count();
    assert!(wait_for(LIMIT, || reopened() > before));
    assert_eq!(home.done(&["limit", &point]), "down=4.0 MiB/s, up=off\n");
    home.done(&["limit", &point, "down=2M"]);

    home.configure(&server, "[defaults]\nlimit_down = 5\n");
    crate::support::run_with("kill", &["-HUP".as_ref(), pid.as_ref()]);
    assert!(wait_for(LIMIT, || log_text()
        .contains("cannot read the configuration again")));
    assert_eq!(home.done(&["limit", &point]), "down=2.0 MiB/s, up=off\n");

    // A typed limit wins over the file.
    home.unmount();
    home.configure(&server, &format!("{NAS}{log}limit_down = \"2M\"\n"));
    home.done(&["nas:", "-o", "limit_down=3M"]);
    assert!(wait_for(LIMIT, || home
        .run(&["status", &point])
        .status
        .success()));
    assert_eq!(home.done(&["limit", &point]), "down=3.0 MiB/s, up=off\n");
    home.unmount();
}

/// Options that contradict each other are reported with their place, by the check and by the mount.
#[test]
fn contradictions_are_reported_with_their_line() {
    let server = TestServer::start(Kind::Embedded);
    for (lines, place, words) in [
        (
            "cafile = \"/ca\"",
            "line 9, [source.nas] cafile: ",
            "requires TLS",
        ),
        (
            "tls = true\ncafile = \"/ca\"\ninsecure = true",
            "line 10, ",
            "give one of them",
        ),
        (
            "tls = true\nkey = \"/key\"",
            "line 10, ",
            "client certificate",
        ),
        ("active_ports = \"1-2\"", "line 9, ", "requires active mode"),
        (
            "active = true\nproxy = \"http://p:1\"",
            "line 9, ",
            "by a proxy",
        ),
        ("port = 2", "line 9, ", "contradicts the port"),
        (
            "password_file = \"/p\"\npassword_command = \"c\"",
            "line 9, ",
            "give one of them",
        ),
    ] {
        let home = Home::new(&server, &format!("{NAS}{lines}\n"));
        let file = home.path().join(".config/ftpfs/config");
        for arguments in [&["config", "check"][..], &["nas:"]] {
            let message = home.failed(arguments);
            let expected = format!("ftpfs: {} {place}", file.display());
            assert!(message.starts_with(&expected), "{lines}: {message}");
            assert!(message.contains(words), "{lines}: {message}");
        }
    }
}

/// sudo, and mount.fuse3 for a user's line in fstab, leave a HOME that is another user's.
#[test]
fn the_home_of_another_user_is_not_searched() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, "[defaults]\nnonsense = true\n");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let script = r#"
        unset FTPFS_CONFIG XDG_CONFIG_HOME
        "$1" config check 2>&1 || echo "own: $?"
        cp "$1" /tmp/ftpfs-of-nobody-$$ && chmod 755 /tmp/ftpfs-of-nobody-$$
        setpriv --reuid=nobody --regid=nogroup --clear-groups --reset-env \
            env HOME="$HOME" /tmp/ftpfs-of-nobody-$$ config check || status=$?
        rm /tmp/ftpfs-of-nobody-$$
        exit "${status:-0}"
    "#;
    let output = in_own_namespace(home.path(), script, &[FTPFS.as_ref()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("unknown option nonsense"), "{text}");
    assert!(text.contains("own: 1"), "{text}");
    assert!(text.contains("there is no configuration file"), "{text}");
}

#[test]
fn a_name_that_is_not_configured_is_called_so() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, NAS);
    let words = home.failed(&["nonexistent-name:", "nas"]);
    assert!(
        words.contains("no source of the configuration is called nonexistent-name"),
        "{words}"
    );
}

/// What SIGHUP cannot read again stays as it was: here the file has another place by then, or no
/// longer names the source.
#[test]
fn a_reload_finds_a_relative_file_and_misses_a_removed_source() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new(&server, "");
    let text = |limit: &str| {
        let text = format!(
            "{NAS}limit_down = \"{limit}\"\nlog_file = \"HOME/log\"\nlog_level = \"info\"\n"
        );
        text.replace("PORT", &server.port().to_string())
            .replace("HOME", home.path().to_str().unwrap())
            .replace("USER", USER)
    };
    home.write("own.conf", &text("2M"), 0o600);
    home.done(&["nas:", "-o", "config=own.conf"]);
    let point = home.mountpoint.to_str().unwrap().to_owned();
    assert!(wait_for(LIMIT, || home
        .run(&["status", &point])
        .status
        .success()));
    let status: serde_json::Value =
        serde_json::from_str(&home.done(&["status", &point, "--json"])).unwrap();
    let pid = status["pid"].as_u64().unwrap().to_string();
    let hang_up = || crate::support::run_with("kill", &["-HUP".as_ref(), pid.as_ref()]);
    let log_text = || fs::read_to_string(home.path().join("log")).unwrap_or_default();
    home.write("own.conf", &text("3M"), 0o600);
    hang_up();
    assert!(wait_for(LIMIT, || log_text()
        .contains("read the configuration again")));
    assert_eq!(home.done(&["limit", &point]), "down=3.0 MiB/s, up=off\n");
    home.write("own.conf", "[defaults]\ntimeout = 3\n", 0o600);
    hang_up();
    assert!(wait_for(LIMIT, || log_text().contains("nas: is no longer a source")));
    assert_eq!(home.done(&["limit", &point]), "down=3.0 MiB/s, up=off\n");
    home.unmount();
}

/// The machine's file applies to mounts of fstab, and the user's is stronger.
#[test]
fn the_machine_has_a_file_of_its_own_also_for_fstab() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "hello");
    let home = Home::new(&server, "[defaults]\nfile_mode = 600\n");
    // mount(8) hides the HOME of its caller.
    let netrc = format!("netrc = \"{}/.netrc\"", home.path().display());
    let system = NAS
        .replace("PORT", &server.port().to_string())
        .replace("USER", USER)
        .replace("timeout = 20", "file_mode = 604\ndir_mode = 705")
        .replace("file_mode = 640", &netrc);
    home.write("ftpfs.conf", &system, 0o644);
    // The configuration is put into the private namespace's own /etc.
    let script = r#"
        ftpfs=$1
        unset FTPFS_CONFIG XDG_CONFIG_HOME XDG_STATE_HOME
        mkdir upper work
        mount -t overlay overlay -o "lowerdir=/etc,upperdir=$PWD/upper,workdir=$PWD/work" /etc 2>/dev/null || {
            mkdir etc; cp -a /etc/. etc/; mount --bind etc /etc
        }
        cp ftpfs.conf /etc/ftpfs.conf
        "$ftpfs" config show
        "$ftpfs" nas:
        stat -c '%a' nas nas/file
        umount nas
        mkdir bin; ln -s "$ftpfs" bin/mount.ftpfs
        mount --bind bin/mount.ftpfs /sbin/mount.ftpfs 2>/dev/null || { mkdir sbin; cp -a /sbin/. sbin/; cp -a bin/mount.ftpfs sbin/; mount --bind sbin /sbin; }
        rm .config/ftpfs/config
        echo "nas: $PWD/nas ftpfs _netdev,nofail 0 0" > fstab
        mount -a -T fstab
        mount -a -T fstab
        grep -c " $PWD/nas " /proc/mounts
        stat -c '%a' nas nas/file
        umount nas
    "#;
    let output = in_own_namespace(home.path(), script, &[FTPFS.as_ref()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("nas:\tftp://"), "{text}");
    assert_eq!(&lines[1..], ["705", "600", "1", "705", "604"], "{text}");
}

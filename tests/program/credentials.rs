//! Passwords from commands and from systemd's credentials.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Output;
use std::time::Duration;

use crate::home::MountingHome;
use crate::support::{
    Kind, PASSWORD, Process, Terminal, TestServer, contains, is_mounted, wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// A home with a mountpoint, in which ftpfs runs; what is mounted there is unmounted on drop.
struct Home(MountingHome);

impl std::ops::Deref for Home {
    type Target = MountingHome;

    fn deref(&self) -> &MountingHome {
        &self.0
    }
}

impl Home {
    fn new() -> Self {
        Self(MountingHome::new("mnt"))
    }

    /// Writes an executable script.
    fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"), 0o700);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn unmount(&self) {
        crate::support::unmount_unused(&self.mountpoint);
    }
}

#[track_caller]
fn assert_success(output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(!contains(&output.stderr, PASSWORD.as_bytes()), "{words}");
}

/// Returns the message of a failed mount or check.
#[track_caller]
fn message(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn the_first_line_that_a_command_prints_is_the_password() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let home = Home::new();
    home.script(
        "a store",
        &format!(
            "printf '%s\\n' \"$@\" > arguments; env > environment; ls /proc/$$/fd > descriptors
            cat > input; echo {PASSWORD}; echo more; echo noise >&2"
        ),
    );
    let mountpoint = home.mountpoint.to_str().unwrap();
    let option =
        r#"password_command="./a store" show 'one\, two' $HOME,log_file=log,log_level=trace"#;
    let output = home
        .command_here(FTPFS, &[&server.url(), mountpoint, "-o", option])
        .env("FTPFS_PASSWORD", "another")
        .stdin(fs::File::open(home.path().join("a store")).unwrap())
        .output()
        .unwrap();
    assert_success(&output);
    assert_eq!(output.stderr, b"");
    assert_eq!(fs::read(home.mountpoint.join("file")).unwrap(), b"content");
    assert_eq!(home.read("arguments"), "show\none, two\n$HOME\n");
    assert!(!home.read("environment").contains("FTPFS_PASSWORD"));
    assert_eq!(home.read("input"), "");
    let descriptors = home.read("descriptors");
    // The shell has its script open as 10 or 255.
    let own = descriptors.lines().filter(|number| number.len() < 2);
    assert_eq!(own.collect::<Vec<_>>(), ["0", "1", "2"], "{descriptors}");

    let process = Process::with_argument(mountpoint).unwrap();
    for file in ["cmdline", "environ", "comm", "status"] {
        let text = process.read(file).unwrap();
        assert!(!contains(&text, PASSWORD.as_bytes()), "{file}");
    }
    home.unmount();
    let has_ended = || process.read("cmdline").is_none_or(|words| words.is_empty());
    assert!(wait_for(LIMIT, has_ended), "still running");
    let log = home.read("log");
    assert!(log.contains("PASS ****"), "{log}");
    for secret in [PASSWORD, "more", "noise"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn check_and_the_helper_of_mount_use_the_command_too() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    home.script("store", &format!("echo {PASSWORD}"));
    let url = server.url();
    let output = home
        .command_here(FTPFS, &["check", &url, "-o", "password_command=./store"])
        .output()
        .unwrap();
    assert_success(&output);
    let helper = home.path().join("mount.ftpfs");
    symlink(FTPFS, &helper).unwrap();
    let options = "rw,_netdev,password_command=./store";
    let output = home
        .command_here(helper, &[&url, "mnt", "-o", options])
        .output()
        .unwrap();
    assert_success(&output);
    assert!(is_mounted(&home.mountpoint));
    home.unmount();
}

#[test]
fn a_command_that_fails_mounts_nothing_and_shows_its_last_words() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    home.script(
        "store",
        &format!("echo {PASSWORD}; echo 'the store is locked' >&2; exit 4"),
    );
    let url = server.url();
    for arguments in [&[&url, "mnt"][..], &["check", &url]] {
        let mut command = home.command_here(FTPFS, arguments);
        command.args(["-o", "password_command=./store show argument"]);
        let message = message(command.output().unwrap());
        assert!(
            message.contains("./store exited with status 4: the store is locked"),
            "{message}"
        );
        assert!(!message.contains(PASSWORD), "{message}");
        assert!(!message.contains("argument"), "{message}");
    }
    assert!(!is_mounted(&home.mountpoint));
    assert_eq!(server.commands(), [""; 0]);
}

#[test]
fn a_wrong_option_is_explained_without_its_value() {
    let home = Home::new();
    for (option, words) in [
        ("password_command=echo 'hunter2", "balanced quotes"),
        ("password_command=", "a command"),
        (
            "password_command=echo hunter2,password_file=f",
            "give one of them",
        ),
    ] {
        let mut command = home.command_here(FTPFS, &["me@h:", "mnt", "-o", option]);
        let message = message(command.output().unwrap());
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

/// Starts ftpfs on a terminal of its own.
fn on_a_terminal(home: &Home, url: &str, option: &str) -> Terminal {
    let line = format!("{FTPFS} {url} mnt -o '{option}'");
    Terminal::start(home.command_here("script", &[]), &line)
}

/// Password stores ask for a passphrase on the terminal, which only its foreground group may read.
#[test]
fn a_command_can_ask_on_the_terminal() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    home.script(
        "store",
        "stty -echo < /dev/tty; printf 'PIN: ' > /dev/tty; read line < /dev/tty; echo \"$line\"",
    );
    let mut terminal = on_a_terminal(&home, &server.url(), "password_command=./store");
    terminal.asks("PIN: ");
    terminal.types(PASSWORD);
    let (shown, is_well) = terminal.ends();
    assert!(is_well && is_mounted(&home.mountpoint), "{shown}");
    home.unmount();
}

#[test]
fn ctrl_c_ends_ftpfs_though_the_command_ignores_it() {
    let home = Home::new();
    home.script("store", "trap '' INT; touch started; exec sleep 60");
    let terminal = on_a_terminal(&home, "me@127.0.0.1:", "password_command=./store");
    let started = home.path().join("started");
    assert!(wait_for(LIMIT, || started.exists()));
    terminal.presses(&[3]);
    let (shown, is_well) = terminal.ends();
    assert!(!is_well && !is_mounted(&home.mountpoint), "{shown}");
}

#[test]
fn a_credential_of_systemd_is_the_password() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let credentials = home.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let file = credentials.join("ftpfs.password");
    let run = |arguments: &[&str]| {
        home.command_here(FTPFS, arguments)
            .env("CREDENTIALS_DIRECTORY", &credentials)
            .output()
            .unwrap()
    };
    let url = server.url();
    let without = message(run(&["check", &url]));
    assert!(without.contains("no password for"), "{without}");
    // With an access control list for the user of the service, the mode shows group bits.
    fs::write(&file, format!("{PASSWORD}\nrest\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    assert_success(&run(&["check", &url]));
    assert_success(&run(&[&url, "mnt"]));
    assert!(is_mounted(&home.mountpoint));
    home.unmount();
    fs::write(&file, "").unwrap();
    let empty = message(run(&["check", &url]));
    assert!(empty.contains(file.to_str().unwrap()), "{empty}");
}

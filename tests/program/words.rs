//! Words for people: what ftpfs says about mistyped sources, other services and mistyped passwords,
//! and that it says nothing when all is well.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::cli::{User, assert_says, closed_port, failure, server_that_only_says};
use crate::support::{
    Kind, OPEN_DEVICE, PASSWORD, TestServer, Tls, USER, in_own_namespace, is_mounted, run_with,
    wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

fn unmount(user: &User) {
    run_with("fusermount3", &["-u".as_ref(), user.mountpoint.as_os_str()]);
}

/// Returns what a command prints on both outputs, and whether it succeeded.
fn output_of(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_port_after_a_colon_is_explained() {
    let user = User::new();
    // No FTP server listens on port 21 of this address.
    let message = user.is_refused("anna@127.0.0.77:2121/dir", &["-o", "password_file=pw"]);
    assert_says(&message, "pw");
    fs::write(user.home.path().join("pw"), "x").unwrap();
    run_with(
        "chmod",
        &["600".as_ref(), user.home.path().join("pw").as_os_str()],
    );
    let message = user.is_refused("anna@127.0.0.77:2121/dir", &["-o", "password_file=pw"]);
    assert_says(&message, "2121 was taken for a path");
    assert_says(&message, "use ftp://anna@127.0.0.77:2121/dir");
    let message = failure(user.command(&["check", "127.0.0.77:2121"]));
    assert_says(&message, "use ftp://127.0.0.77:2121/");

    let server = TestServer::start(Kind::Embedded);
    let port = format!("port={}", server.port());
    let source = format!("{USER}@127.0.0.1:2121/dir");
    let mut command = user.command(&[&source, "mnt", "-o", &port]);
    command.env("FTPFS_PASSWORD", PASSWORD);
    let message = failure(command);
    assert!(!message.contains("taken for a path"), "{message}");
}

#[test]
fn a_port_that_contradicts_the_url_is_refused() {
    let user = User::new();
    assert_says(
        &user.is_refused("ftp://127.0.0.1:2121/", &["-o", "port=2122"]),
        "-o port=2122 contradicts the port 2121 in ftp://127.0.0.1:2121/",
    );
    let port = closed_port();
    let same = user.is_refused(
        &format!("ftp://127.0.0.1:{port}/"),
        &["-o", &format!("port={port}")],
    );
    assert_says(&same, "refused");
}

#[test]
fn implicit_tls_where_only_explicit_tls_is_spoken_names_the_url() {
    let user = User::new();
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    let port = server.port();
    let source = format!("ftps://{USER}@127.0.0.1:{port}/dir");
    let mut command = user.command(&[&source, "mnt", "-o", "insecure"]);
    command.env("FTPFS_PASSWORD", PASSWORD);
    let message = failure(command);
    assert_says(
        &message,
        &format!("use ftpes://{USER}@127.0.0.1:{port}/dir"),
    );
    let message = user.is_refused("ftps://127.0.0.77:990/dir", &[]);
    assert_says(&message, "use ftpes://127.0.0.77/dir");
}

#[test]
fn a_refused_anonymous_login_says_that_it_was_anonymous() {
    let user = User::new();
    let server = TestServer::start(Kind::Embedded);
    let source = format!("ftp://127.0.0.1:{}/", server.port());
    let message = user.is_refused(&source, &[]);
    assert_says(&message, "the login was anonymous");
    let named = format!("ftp://anonymous@127.0.0.1:{}/", server.port());
    let message = user.is_refused(&named, &[]);
    assert_says(&message, "wrong user or password?");
}

#[test]
fn another_service_is_named() {
    let user = User::new();
    let ssh = server_that_only_says("SSH-2.0-OpenSSH_9.6\r\n");
    let message = user.is_refused(&format!("ftp://127.0.0.1:{ssh}/"), &[]);
    assert_says(&message, "the server speaks SSH, not FTP");
    assert_says(&message, "sshfs");

    // A web server says nothing until it is asked.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut asked = [0; 4];
                let _ = client.read_exact(&mut asked);
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nServer: test\r\n\r\n");
                let _ = client.read_to_end(&mut Vec::new());
            });
        }
    });
    let message = user.is_refused(&format!("ftp://127.0.0.1:{web}/"), &["-o", "timeout=4"]);
    assert_says(&message, "the server speaks HTTP, not FTP: HTTP/1.1 200 OK");
}

/// A server that greets late, here after the question for a page on another connection, receives
/// nothing before its greeting.
#[test]
fn a_late_greeting_is_waited_for_in_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        // The second connection marks the time at which ftpfs has become suspicious.
        let (mut second, _) = listener.accept().unwrap();
        let mut question = [0; 4];
        second.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"HEAD");
        first.set_nonblocking(true).unwrap();
        let early = first.read(&mut [0; 16]);
        assert!(early.is_err(), "{early:?}");
        first.set_nonblocking(false).unwrap();
        drop(second);
        first.write_all(b"220 sorry, I was asleep\r\n").unwrap();
        let mut command = [0; 16];
        first.read_exact(&mut command).unwrap();
        first.write_all(b"530 no\r\n").unwrap();
        assert_eq!(&command, b"USER anonymous\r\n");
    });
    let user = User::new();
    let source = format!("ftp://127.0.0.1:{port}/");
    let message = user.is_refused(&source, &["-o", "timeout=20"]);
    assert_says(&message, "login refused: 530 no");
    server.join().unwrap();
}

/// The log of a mount in the background goes elsewhere, so the terminal shows its warnings before.
#[test]
fn warnings_are_shown_before_the_program_leaves_the_terminal() {
    let user = User::new();
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    let mut command = user.command(&[&server.url(), "mnt", "-o", "insecure,log_file=log"]);
    command
        .env("FTPFS_PASSWORD", PASSWORD)
        .env("XDG_STATE_HOME", user.home.path());
    let (is_mounted, words) = output_of(command);
    assert!(is_mounted, "{words}");
    unmount(&user);
    assert_says(&words, "ftpfs: warning: insecure: ");
    assert_eq!(words.lines().count(), 1, "{words}");
    let log = fs::read_to_string(user.home.path().join("log")).unwrap();
    assert_says(&log, "insecure: ");
}

/// Runs `ftpfs ARGUMENTS` on a terminal, and types the lines at its prompts. Returns the screen.
fn on_a_terminal(user: &User, arguments: &str, typed: &[&str]) -> (bool, String) {
    let line = format!("{FTPFS} {arguments}");
    // script(1) gives the program its own terminal.
    let mut program = crate::support::command("script")
        .args(["-qefc", &line, "/dev/null"])
        .env("HOME", user.home.path())
        .env("XDG_STATE_HOME", user.home.path())
        .env_remove("FTPFS_PASSWORD")
        .current_dir(user.home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = program.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut byte = [0];
    for line in typed {
        let before = shown.len();
        while !shown[before..].ends_with(b"at 127.0.0.1: ") && screen.read(&mut byte).unwrap() == 1
        {
            shown.push(byte[0]);
        }
        let _ = writeln!(program.stdin.as_ref().unwrap(), "{line}");
    }
    screen.read_to_end(&mut shown).unwrap();
    let is_well = program.wait().unwrap().success();
    (is_well, String::from_utf8(shown).unwrap())
}

#[test]
fn a_mistyped_password_can_be_typed_again() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    for flags in ["", "-o ro "] {
        let user = User::new();
        let arguments = format!("{flags}{} mnt", server.url());
        let (is_well, screen) = on_a_terminal(&user, &arguments, &["wrong", "worse", PASSWORD]);
        assert!(is_well, "{screen}");
        assert!(wait_for(LIMIT, || is_mounted(&user.mountpoint)));
        assert_eq!(fs::read(user.mountpoint.join("file")).unwrap(), b"content");
        unmount(&user);
        assert_eq!(screen.matches("login refused: 530").count(), 2, "{screen}");
        assert_eq!(screen.matches("try again").count(), 2, "{screen}");
        assert!(!screen.contains("worse"), "echoed: {screen}");
    }
    let user = User::new();
    let check = format!("check {}", server.url());
    let (is_well, screen) = on_a_terminal(&user, &check, &["wrong", PASSWORD]);
    assert!(is_well && screen.contains("login "), "{screen}");

    let (is_well, screen) = on_a_terminal(&user, &check, &["wrong", "worse", "worst"]);
    assert!(!is_well, "{screen}");
    assert_eq!(screen.matches("try again").count(), 2, "{screen}");
    let mount = format!("{} mnt", server.url());
    let (is_well, screen) = on_a_terminal(&user, &mount, &["wrong", "worse", "worst"]);
    assert!(!is_well && !is_mounted(&user.mountpoint), "{screen}");
}

/// A password that was not typed is tried once: another attempt would be the same.
#[test]
fn a_password_from_elsewhere_is_tried_once() {
    let server = TestServer::start(Kind::Embedded);
    let user = User::new();
    let mut command = user.command(&[&server.url(), "mnt"]);
    command.env("FTPFS_PASSWORD", "wrong");
    failure(command);
    let commands = server.commands();
    let tries = commands.iter().filter(|line| line.starts_with("PASS"));
    assert_eq!(tries.count(), 1, "{commands:?}");
}

#[test]
fn a_refused_login_leaves_no_state_directory() {
    let server = TestServer::start(Kind::Embedded);
    let user = User::new();
    let state = user.home.path().join("state");
    let mount = |password: &str| {
        let mut command = user.command(&[&server.url(), "mnt"]);
        command
            .env("FTPFS_PASSWORD", password)
            .env("XDG_STATE_HOME", &state);
        output_of(command)
    };
    assert!(!mount("wrong").0);
    let left = fs::read_dir(state.join("ftpfs")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a refused login leaves a directory");
    assert!(mount(PASSWORD).0);
    unmount(&user);
    assert!(wait_for(LIMIT, || {
        let names = names_below(&state.join("ftpfs"));
        names
            .iter()
            .all(|name| ["lock", "profile"].contains(&name.as_str()))
    }));
    assert!(!mount("wrong").0);
    let names = names_below(&state.join("ftpfs"));
    assert!(names.contains(&"profile".to_owned()), "{names:?}");
}

/// Returns the names in the only directory below `path`.
fn names_below(path: &Path) -> Vec<String> {
    let directories = fs::read_dir(path).unwrap();
    let below = directories.flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap());
    below
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn help_works_as_a_command() {
    let user = User::new();
    let (is_well, all) = output_of(user.command(&["help"]));
    assert!(is_well, "{all}");
    for words in ["Options of -o", "  man ", "  help ", "  serve "] {
        assert_says(&all, words);
    }
    let (is_well, serve) = output_of(user.command(&["help", "serve"]));
    assert!(is_well, "{serve}");
    assert_says(&serve, "--listen");
    assert!(!output_of(user.command(&["help", "nonsense"])).0);
}

/// The mount command that the demo shows works as it is typed.
#[test]
fn the_demo_shows_a_mount_command_with_its_password() {
    let user = User::new();
    let mut demo = user
        .command(&["demo", "mnt"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = demo.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(b"cleans up.") && screen.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
    }
    let shown = String::from_utf8(shown).unwrap();
    let line = shown.lines().find(|line| line.contains("FTPFS_PASSWORD="));
    let line = line.expect("the demo shows a mount command").trim();
    let other = user.home.path().join("other");
    fs::create_dir(&other).unwrap();
    let typed = line.replace(" ftpfs ", &format!(" {FTPFS} "));
    let typed = typed.replace("DIRECTORY", other.to_str().unwrap());
    run_with("bash", &["-c".as_ref(), typed.as_ref()]);
    assert!(other.join("README.txt").exists());
    run_with("fusermount3", &["-u".as_ref(), other.as_os_str()]);
    unmount(&user);
    assert!(demo.wait().unwrap().success());
}

/// A mount that programs used until its end logs no error: what they closed last may still be in
/// progress when the kernel ends the mount.
#[test]
fn a_normal_end_logs_no_error() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.delay = Duration::from_millis(20);
    });
    server.write("file", vec![b'x'; 1 << 20]);
    let user = User::new();
    let script = format!(
        "{OPEN_DEVICE} export FTPFS_PASSWORD=$3 TMPDIR=$PWD XDG_STATE_HOME=$PWD/state
         mkdir state; chown nobody . state
         for number in $(seq 5); do
             as_nobody \"$1\" -f \"$2\" mnt 2>> log &
             for try in $(seq 200); do grep -q \" $PWD/mnt \" /proc/mounts && break; sleep 0.05; done
             as_nobody bash -c 'head -c 1000 mnt/file > read; echo x > mnt/f; ls mnt > /dev/null'
             as_nobody fusermount3 -u mnt
             wait
         done
         cat log"
    );
    let url = server.url();
    let output = in_own_namespace(
        user.home.path(),
        &script,
        &[FTPFS.as_ref(), url.as_ref(), PASSWORD.as_ref()],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

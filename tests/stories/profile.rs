//! A server's features and behavior are detected, remembered for the next mount, shown, and
//! overridden by the user.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Mount, Pipelined, Quirks, QuirkyServer, Random};
use tempfile::TempDir;

const PASSWORD: &str = "secret";

fn ftpfs(arguments: &[&str], state: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(arguments)
        .env("FTPFS_PASSWORD", PASSWORD)
        .env("XDG_STATE_HOME", state)
        .output()
        .unwrap()
}

fn mount(server: &QuirkyServer, options: &[&str], state: &TempDir) -> Mount {
    let state = state.path().to_str().unwrap();
    let variables = [("XDG_STATE_HOME", state)];
    Mount::in_environment(&server.url(), PASSWORD, options, &variables)
}

/// Reads, writes, overwrites, renames and removes files.
fn use_it(mount: &Mount, server: &QuirkyServer, what: &str) {
    let read = |path: &str| fs::read_to_string(mount.join(path)).unwrap();
    assert_eq!(read("docs/a.txt"), "hello", "{what}");
    fs::write(mount.join("docs/b.txt"), "one").unwrap();
    fs::write(mount.join("docs/b.txt"), "two").unwrap();
    fs::create_dir(mount.join("new")).unwrap();
    fs::rename(mount.join("docs/b.txt"), mount.join("new/c.txt")).unwrap();
    assert_eq!(
        server.tree().content("/new/c.txt"),
        Some(b"two".to_vec()),
        "{what}"
    );
    fs::remove_file(mount.join("new/c.txt")).unwrap();
    fs::remove_dir(mount.join("new")).unwrap();
    let names = fs::read_dir(mount.path()).unwrap();
    assert_eq!(names.count(), 1, "{what}");
}

fn start(quirks: Quirks) -> QuirkyServer {
    let server = QuirkyServer::start(quirks);
    server.tree().file("/docs/a.txt", "hello");
    server
}

/// Returns servers that do not tolerate commands sent ahead, named by their behavior.
fn intolerant() -> Vec<(&'static str, Quirks)> {
    let pipelined = |how| Quirks::none().pipelined(how);
    vec![
        ("closes the connection", pipelined(Pipelined::Closes)),
        (
            "gives one answer to all",
            pipelined(Pipelined::OneAnswer("500 What?")),
        ),
        (
            "runs commands in reverse order",
            pipelined(Pipelined::Reversed),
        ),
        ("sends refusals first", pipelined(Pipelined::RefusalsFirst)),
        ("loses all but the first", pipelined(Pipelined::Lost)),
        (
            "reads nothing between EPSV and its data connection",
            Quirks::none().epsv_blocks(),
        ),
        (
            "closes the connection and knows no MLSD",
            pipelined(Pipelined::Closes).without_facts(),
        ),
    ]
}

#[test]
fn a_server_that_bears_nothing_sent_ahead_is_mounted_and_written_to() {
    for (what, quirks) in intolerant() {
        let (server, state) = (start(quirks), TempDir::new().unwrap());
        let mount = mount(&server, &[], &state);
        use_it(&mount, &server, what);
        mount.unmount();
        assert_eq!(server.tree().names("/"), ["docs"], "{what}");
        assert_eq!(server.tree().names("/docs"), ["a.txt"], "{what}");
    }
}

#[test]
fn such_a_server_costs_one_login_more_at_its_first_mount_and_none_after_that() {
    for (what, quirks) in intolerant() {
        let (server, state) = (start(quirks), TempDir::new().unwrap());
        let one = ["connections=1"];
        use_it(&mount(&server, &one, &state), &server, what);
        let first = server.sessions().len();
        assert!((1..=2).contains(&first), "{what}: {first} logins");
        use_it(&mount(&server, &one, &state), &server, what);
        let second = server.sessions().len() - first;
        assert_eq!(second, 1, "{what}: {:?}", server.sessions());
        let last = server.sessions().pop().unwrap();
        assert!(!last.iter().any(|command| command == "XFTPFS"), "{what}");
    }
}

#[test]
fn a_server_that_was_upgraded_is_found_out_anew() {
    let state = TempDir::new().unwrap();
    let profile = || {
        let found = fs::read_dir(state.path().join("ftpfs")).unwrap();
        let place = found.map(|it| it.unwrap().path().join("profile"));
        fs::read_to_string(place.last().unwrap()).unwrap()
    };
    let server = start(Quirks::none().pipelined(Pipelined::Closes));
    mount(&server, &[], &state).unmount();
    assert!(profile().contains("fails pipeline"), "{}", profile());
    let remembered = profile();
    drop(server);

    let server = start(Quirks::none().feature("NEW"));
    let place = state.path().join("ftpfs");
    let place = place.join(format!("user@127.0.0.1:{}", server.port()));
    fs::create_dir(&place).unwrap();
    fs::write(place.join("profile"), remembered).unwrap();
    let mounted = mount(&server, &["connections=1"], &state);
    use_it(&mounted, &server, "upgraded");
    mounted.unmount();
    let again = mount(&server, &["connections=1"], &state);
    use_it(&again, &server, "upgraded, and seen again");
    again.unmount();
    let last = fs::read_to_string(place.join("profile")).unwrap();
    assert!(last.contains("works pipeline"), "{last}");
}

#[test]
fn a_marker_that_the_server_keeps_begins_no_other_transfer() {
    let server = QuirkyServer::start(Quirks::none().rest_sticks());
    let bytes = Random::new().bytes(400_000);
    server.tree().file("/big", bytes.clone());
    server.tree().file("/small", "0123456789");
    let mount = Mount::of_url(&server.url(), PASSWORD, &["connections=1", "dir_ttl=0"]);
    let big = File::open(mount.join("big")).unwrap();
    for round in 0..20_u64 {
        let offset = (round * 73_421) % 390_000;
        let mut piece = [0; 4096];
        big.read_exact_at(&mut piece, offset).unwrap();
        let from = offset as usize;
        assert_eq!(piece[..], bytes[from..from + piece.len()], "at {offset}");
        assert_eq!(
            fs::read_to_string(mount.join("small")).unwrap(),
            "0123456789"
        );
        fs::write(mount.join("copy"), "abcdefghij").unwrap();
        let stored = server.tree().content("/copy");
        assert_eq!(
            stored.as_deref(),
            Some(&b"abcdefghij"[..]),
            "after {offset}"
        );
    }
}

#[test]
fn what_the_user_switches_off_is_not_used() {
    let (server, state) = (start(Quirks::none()), TempDir::new().unwrap());
    let options = ["without=mlsd+mlst+epsv", "without=pipeline"];
    let mount = mount(&server, &options, &state);
    use_it(&mount, &server, "without");
    for command in server.commands() {
        let verb = command.split(' ').next().unwrap();
        assert!(
            !["MLSD", "MLST", "EPSV", "XFTPFS"].contains(&verb),
            "{command}"
        );
    }
    assert!(server.count("PASV") > 0 && server.count("LIST") > 0);
    let point = mount.path().to_str().unwrap();
    let status = ftpfs(&["status", point], state.path());
    let status = String::from_utf8(status.stdout).unwrap();
    for name in ["mlsd", "epsv", "pipeline"] {
        assert!(status.contains(&format!("{name}: ")), "{status}");
    }
}

#[test]
fn a_capability_that_there_is_not_is_an_error_that_names_the_option() {
    let state = TempDir::new().unwrap();
    let output = ftpfs(
        &["check", "-o", "without=mlsd+nosuch", "ftp://127.0.0.1/"],
        state.path(),
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("without") && said.contains("mlsd+nosuch"),
        "{said}"
    );
}

#[test]
fn a_command_of_the_servers_own_is_sent_after_each_login() {
    let (server, state) = (start(Quirks::none()), TempDir::new().unwrap());
    let options = ["login_command=NOOP", "login_command=CWD /docs"];
    mount(&server, &options, &state).unmount();
    for session in server.sessions() {
        let at = session
            .iter()
            .position(|it| it.starts_with("PASS"))
            .unwrap();
        assert_eq!(session[at + 1..at + 3], ["NOOP", "CWD /docs"]);
    }
    let refused = ["check", "-o", "login_command=NOSUCH thing", &server.url()];
    let output = ftpfs(&refused, state.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("login_command") && said.contains("500"),
        "{said}"
    );
    let nonsense = ["check", "-o", "login_command=?", &server.url()];
    assert_eq!(ftpfs(&nonsense, state.path()).status.code(), Some(1));
}

#[test]
fn check_shows_what_the_server_was_seen_to_lack() {
    let (server, state) = (
        start(Quirks::none().pipelined(Pipelined::Closes)),
        TempDir::new().unwrap(),
    );
    let output = ftpfs(&["check", &server.url()], state.path());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("pipeline: the server does not support pipelining"),
        "{said}"
    );
}

#[test]
fn the_next_mount_knows_how_many_sessions_the_server_takes() {
    let quirks = Quirks::none().most_sessions(2, "421 I can't accept more than 2 connections");
    let (server, state) = (start(quirks), TempDir::new().unwrap());
    for name in 'a'..='h' {
        server
            .tree()
            .file(&format!("/docs/{name}"), vec![b'x'; 100_000]);
    }
    let read_all = |mount: &Mount| {
        std::thread::scope(|scope| {
            for name in 'a'..='h' {
                let path = mount.join(format!("docs/{name}"));
                scope.spawn(move || assert_eq!(fs::read(path).unwrap().len(), 100_000));
            }
        });
    };
    let first = mount(&server, &[], &state);
    read_all(&first);
    first.unmount();
    let refused = |sessions: &[Vec<String>]| sessions.iter().filter(|it| it.is_empty()).count();
    let before = server.sessions();
    assert!(refused(&before) > 0, "the limit was met: {before:?}");
    let second = mount(&server, &[], &state);
    read_all(&second);
    second.unmount();
    let after = server.sessions();
    assert_eq!(refused(&after[before.len()..]), 0, "{after:?}");
}

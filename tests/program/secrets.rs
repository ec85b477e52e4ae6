//! Passwords must not leak: to other processes, in logs, in messages or in core dumps.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::home::MountingHome;
use crate::support::{
    HOST_BEHIND, Kind, Manner, Mount, OPEN_DEVICE, PASSWORD, Process, Speaks, TestProxy,
    TestServer, USER, contains, in_own_namespace, is_mounted, run_with, wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns the strings that must not be found anywhere.
fn secrets() -> Vec<&'static str> {
    [PASSWORD].into_iter().chain(TestProxy::secrets()).collect()
}

#[track_caller]
fn assert_holds_no_secret(what: &str, place: &[u8]) {
    for secret in secrets() {
        assert!(
            !contains(place, secret.as_bytes()),
            "{secret} is in the {what}:\n{}",
            String::from_utf8_lossy(place)
        );
    }
}

/// Asserts that nothing that others can read about a process and its mount has a secret.
fn assert_shows_no_secret(process: &Process) {
    for file in ["cmdline", "environ", "comm", "status"] {
        assert_holds_no_secret(file, &process.read(file).unwrap());
    }
    for table in ["mounts", "mountinfo"] {
        assert_holds_no_secret(
            table,
            &fs::read(Path::new("/proc/self").join(table)).unwrap(),
        );
    }
}

/// A home with a mountpoint, in which ftpfs is run; it is removed on drop.
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

    fn command(&self, program: &str) -> Command {
        self.command_here(program, &[])
    }

    /// Returns what a failing `ftpfs ARGUMENTS` prints.
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.command(FTPFS).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!is_mounted(&self.mountpoint));
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }
}

#[test]
fn no_secret_is_left_where_others_look() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let mount = Mount::of_url(&server.url_with_password(), PASSWORD, &["log_level=trace"]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    fs::write(mount.join("new"), "written").unwrap();
    let process = Process::of(mount.pid());
    assert_shows_no_secret(&process);
    assert_holds_no_secret("log", mount.log().as_bytes());

    // The rest of each file is still there.
    let shown = |file: &str| String::from_utf8(process.read(file).unwrap()).unwrap();
    assert!(shown("cmdline").contains(&format!("{USER}:*")));
    assert!(shown("environ").contains("FTPFS_PASSWORD=*"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains(&server.url()));
    for words in ["PASS ****", "STOR", "FUSE("] {
        assert!(mount.log().contains(words), "{words} is not in the log");
    }
}

/// The command line allows several forms of `-o`.
#[test]
fn no_form_of_an_option_leaves_its_password_where_others_look() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let home = Home::new();
    let url = format!("{}127.0.0.1:{}/", scheme_of(&server), server.port());
    let mut others = vec!["-f".to_owned()];
    for option in server.needed_options() {
        others.extend(["-o".to_owned(), option]);
    }
    let login = format!("user={USER}:{PASSWORD}");
    for form in [
        vec![format!("-fo{login}"), url.clone(), "mnt".to_owned()],
        vec![
            format!("-o={login}"),
            "--".to_owned(),
            url.clone(),
            "mnt".to_owned(),
        ],
        vec![
            url.clone(),
            "mnt".to_owned(),
            "-fo".to_owned(),
            login.clone(),
        ],
        vec![url.clone(), "mnt".to_owned(), format!("-sfo=ro,{login}")],
    ] {
        let is_in_foreground = form.iter().any(|argument| argument.contains("fo"));
        let flags = if is_in_foreground {
            &others[1..]
        } else {
            &others
        };
        let mut program = home.command(FTPFS).args(flags).args(&form).spawn().unwrap();
        assert!(wait_for(LIMIT, || is_mounted(&home.mountpoint)), "{form:?}");
        let process = Process::of(program.id());
        assert_shows_no_secret(&process);
        let shown = String::from_utf8(process.read("cmdline").unwrap()).unwrap();
        assert!(shown.contains(&format!("user={USER}:*")), "{shown}");
        assert_eq!(fs::read(home.mountpoint.join("file")).unwrap(), b"content");
        crate::support::unmount_unused(&home.mountpoint);
        assert!(program.wait().unwrap().success());
    }
}

/// Returns the scheme of the server's URL with its slashes.
fn scheme_of(server: &TestServer) -> String {
    let url = server.url();
    let (scheme, _) = url.split_once("://").unwrap();
    format!("{scheme}://")
}

#[test]
fn no_secret_of_a_proxy_is_left_where_others_look() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let url = format!("ftp://{USER}@{HOST_BEHIND}:{}/", server.port());
    for speaks in [Speaks::Socks5, Speaks::Http] {
        let proxy = TestProxy::start(speaks, Manner::ServesUsers);
        let value = proxy.url_with_password(match speaks {
            Speaks::Socks5 => "socks5h",
            Speaks::Http => "http",
        });
        let typed = format!("ro,proxy={value},log_level=trace");
        let by_option = Mount::of_url(&url, PASSWORD, &[&typed]);
        let variables = [("FTP_PROXY", value.as_str()), ("all_proxy", &value)];
        let log = ["log_level=trace"];
        let by_variable = Mount::in_environment(&url, PASSWORD, &log, &variables);
        for mount in [by_option, by_variable] {
            assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
            assert_shows_no_secret(&Process::of(mount.pid()));
            let log = mount.log();
            assert!(log.contains("asking the proxy"), "{log}");
            assert_holds_no_secret("log", log.as_bytes());
        }
    }
}

#[test]
fn the_process_in_the_background_shows_no_secret_either() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let proxy = TestProxy::start(Speaks::Http, Manner::ServesUsers);
    let home = Home::new();
    let mountpoint = home.mountpoint.to_str().unwrap();
    let output = home
        .command(FTPFS)
        .args([&server.url_with_password(), mountpoint, "-o"])
        .arg("log_file=log,log_level=trace")
        .env("FTPFS_PASSWORD", PASSWORD)
        .env("ALL_PROXY", proxy.url_with_password("http"))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_holds_no_secret("output", &output.stderr);
    assert_eq!(fs::read(home.mountpoint.join("file")).unwrap(), b"content");
    let process = Process::with_argument(mountpoint).unwrap();
    assert_shows_no_secret(&process);
    crate::support::unmount_unused(&home.mountpoint);
    assert!(wait_for(LIMIT, || process
        .read("cmdline")
        .is_none_or(|it| it.is_empty())));
    let log = fs::read(home.path().join("log")).unwrap();
    assert!(contains(&log, b"QUIT") || contains(&log, b"RETR"));
    assert_holds_no_secret("log", &log);
}

/// A core dump of a crash would contain the password. A control program shows that core dumps are
/// enabled here.
#[test]
fn a_crash_leaves_no_core_dump() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let crashed = |program: &mut Command, is_ready: &dyn Fn() -> bool| {
        let mut child = program.spawn().unwrap();
        assert!(wait_for(LIMIT, is_ready));
        run_with("kill", &["-ABRT".as_ref(), child.id().to_string().as_ref()]);
        let mut status = None;
        wait_for(LIMIT, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_else(|| {
            child.kill().unwrap();
            child.wait().unwrap()
        })
    };
    let with_dumps = |words: &str| {
        let mut command = home.command("bash");
        command.args(["-c", &format!("ulimit -c unlimited; exec {words}")]);
        command
    };
    let started = home.path().join("started");
    let dumps = crashed(
        &mut with_dumps("bash -c 'touch started; read < <(sleep 60)'"),
        &|| started.exists(),
    );
    assert!(
        dumps.core_dumped(),
        "this machine makes no core dumps at all"
    );
    let status = crashed(
        with_dumps(&format!("{FTPFS} -f {} mnt", server.url())).env("FTPFS_PASSWORD", PASSWORD),
        &|| is_mounted(&home.mountpoint),
    );
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
}

/// The process's memory is not accessible to other programs of the same user. It still mounts and
/// unmounts, with a password from a pipe.
#[test]
fn an_ordinary_user_s_other_programs_cannot_look_into_the_process() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let home = Home::new();
    let script = format!(
        "{OPEN_DEVICE}
        mkdir state; chown nobody state; export XDG_STATE_HOME=$PWD/state
        as_nobody bash -c '
            \"$1\" -f \"$2\" mnt -o password_file=<(echo \"$3\") & mounted=$!
            sleep 60 & other=$!
            for i in {{1..2000}}; do grep -q \" fuse.ftpfs .*user_id=65534\" /proc/self/mounts && break; sleep 0.01; done
            cat mnt/file
            for file in environ mem maps; do
                head -c 1 /proc/$other/$file > /dev/null || [ $file = mem ]
                ! head -c 1 /proc/$mounted/$file 2> /dev/null || {{ kill $mounted $other; exit 9; }}
            done
            kill $mounted $other
            wait $mounted
        ' bash \"$@\"
        ! grep ' fuse.ftpfs .*user_id=65534' /proc/self/mounts"
    );
    let url = server.url();
    let arguments = [FTPFS, &url, PASSWORD].map(OsStr::new);
    let output = in_own_namespace(home.path(), &script, &arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    assert_eq!(output.stdout, b"content", "{words}");
}

#[test]
fn a_file_with_a_password_that_others_can_read_is_refused() {
    let home = Home::new();
    home.write("password", "secret\n", 0o640);
    home.write("netrc", "machine h login me password secret\n", 0o604);
    home.write(".netrc", "machine h login me password secret\n", 0o644);
    for (arguments, file) in [
        (
            &["me@h:", "mnt", "-o", "password_file=password"][..],
            "password",
        ),
        (&["h:", "mnt", "-o", "netrc=netrc"], "netrc"),
        (&["h:", "mnt"], ".netrc"),
    ] {
        let message = home.refusal(arguments);
        let path = home.path().join(file);
        let words = format!(
            "{} contains a password and can be read by others",
            path.display()
        );
        assert!(message.contains(&words), "{message}");
        assert!(message.contains("chmod 600"), "{message}");
    }
}

#[test]
fn no_message_repeats_a_password() {
    let home = Home::new();
    for arguments in [
        &["ftp://me:hunter2@h/", "mnt", "ftp://me:hunter2@h/"][..],
        &["check", "ftps://me:hunter2@h/", "ftpes://me:hunter2@h/"],
        &["ftp://me:hunt/hunter2@h/", "mnt"],
        &["me:hunter2@h:path", "mnt"],
        &["ftp://me:hunter2@nonexistent.invalid/", "mnt"],
        &["h:", "mnt", "-o", "password=hunter2"],
        &["h:", "mnt", "-o", "proxy=socks5://me:a,hunter2@h:1"],
        &[
            "h:",
            "mnt",
            "-o",
            "proxy=socks5://me:hunter2@nonexistent.invalid:1",
        ],
    ] {
        let message = home.refusal(arguments);
        assert!(
            message.len() > 10 && !message.contains("hunter2"),
            "{message}"
        );
    }
}

/// The log names the files in use; the spool and the state contain them.
#[test]
fn what_ftpfs_writes_to_the_disk_is_for_its_user_alone() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let spool = home.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let log = home.path().join("log");
    let options = [
        format!("spool={}", spool.display()),
        format!("log_file={},log_level=debug", log.display()),
    ];
    let state = home.path().join("state");
    let mount = Mount::with_state(&server, &[&options[0], &options[1]], &state);
    let mut open = fs::File::create(mount.join("new")).unwrap();
    std::io::Write::write_all(&mut open, b"half of it").unwrap();
    let mut files = 0;
    let mut rest = vec![state, spool, log];
    while let Some(path) = rest.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let is_given = path.parent() == Some(home.path()) && about.is_dir();
        if about.is_dir() {
            rest.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            files += 1;
        }
        let expected = if about.is_dir() { 0o700 } else { 0o600 };
        assert!(
            is_given || about.mode() & 0o7777 == expected,
            "{}",
            path.display()
        );
    }
    assert!(
        files >= 5,
        "the log, locks, the journal and what is written: {files}"
    );
}

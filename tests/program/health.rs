//! `ftpfs status`: what is wrong with the server, what was done so far, and where mounts are found.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::status::stalled_read;
use crate::support::{Kind, Mount, OPEN_DEVICE, TestServer, in_own_namespace, shell, wait_for};
use ftpfs::server::{CONNECT, Fault, Misdeed};

const SOON: Duration = Duration::from_secs(30);
const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

fn status(arguments: &[&str], point: &Path) -> Output {
    let mut command = Command::new(FTPFS);
    command.arg("status").args(arguments).arg(point);
    command.output().unwrap()
}

fn text(arguments: &[&str], point: &Path) -> String {
    let output = status(arguments, point);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the value of a Python expression on the JSON `j` of a mount.
fn asked(point: &Path, expression: &str) -> String {
    evaluated(&text(&["--json"], point), expression)
}

fn evaluated(json: &str, expression: &str) -> String {
    let script = format!("import json, sys; j = json.load(sys.stdin); print({expression})");
    let mut python = Command::new("python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(json.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{json}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Lists the root until the status shows this kind of problem.
fn wait_for_problem(mount: &Mount, kind: &str) {
    let mut reported = String::new();
    let is_reported = wait_for(SOON, || {
        let _listing = std::fs::read_dir(mount.path()).map(Iterator::count);
        reported = asked(mount.path(), "j['problem'] and j['problem']['kind']");
        reported == kind
    });
    assert!(is_reported, "{reported} instead of {kind}");
}

fn refuse(code: u16, text: &str) -> Misdeed {
    Misdeed::Refuse {
        code,
        text: text.to_owned(),
    }
}

#[test]
fn the_status_says_what_is_wrong_until_it_is_over() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["timeout=1", "dir_ttl=0", "attr_ttl=0"]);
    assert!(!text(&[], mount.path()).contains("problem"));
    let embedded = server.embedded().unwrap();
    let no_sessions = |fault: Fault| {
        embedded.faults().clear();
        for verb in ["MLSD", "MLST", "LIST", "STAT", "NOOP"] {
            embedded
                .faults()
                .add(Fault::on(verb, Misdeed::DropControl).always());
        }
        embedded.faults().add(fault.always());
    };
    for (fault, kind, sentence, reason) in [
        (
            Fault::on("PASS", refuse(530, "Login incorrect")),
            "login_refused",
            "the server refuses the login, for ",
            "530 Login incorrect",
        ),
        (
            Fault::on(CONNECT, refuse(421, "Too many connections")),
            "server_full",
            "the server is full",
            "421 Too many connections",
        ),
        (
            Fault::on(CONNECT, Misdeed::StallControl),
            "timed_out",
            "the server does not answer, for ",
            "timed out",
        ),
    ] {
        no_sessions(fault);
        wait_for_problem(&mount, kind);
        let shown = text(&[], mount.path());
        let line = shown.lines().find(|line| line.contains("  problem "));
        let line = line.unwrap_or_default();
        assert!(line.contains(sentence) && line.contains(reason), "{shown}");
        let since = "j['problem']['failures'] > 0, 0 <= j['problem']['last_attempt_seconds'] <= j['problem']['seconds']";
        assert_eq!(asked(mount.path(), since), "True True");
        let metrics = text(&["--prometheus"], mount.path());
        assert!(
            metrics.contains(&format!("kind=\"{kind}\"}} 1\n")),
            "{metrics}"
        );
    }
    embedded.faults().clear();
    wait_for_problem(&mount, "None");

    server.kill();
    wait_for_problem(&mount, "connection_refused");
    let shown = text(&[], mount.path());
    assert!(shown.contains("its machine refuses connections"), "{shown}");
    server.start_again();
    wait_for_problem(&mount, "None");
    let metrics = text(&["--prometheus"], mount.path());
    assert!(metrics.contains("ftpfs_up{"), "{metrics}");
    assert!(
        !metrics.contains("kind=\"connection_refused\"} 1\n"),
        "{metrics}"
    );
}

/// The name of the server disappears while the mount needs another session.
#[test]
fn a_name_that_is_not_resolved_any_more_is_reported() {
    let server = TestServer::start(Kind::Embedded);
    for file in ["one", "other"] {
        server.write(file, "content");
    }
    let late = Misdeed::LateReply(Duration::from_secs(8));
    server
        .embedded()
        .unwrap()
        .faults()
        .add(Fault::on("RETR", late));
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("mnt")).unwrap();
    let script = "
        echo 127.0.0.1 ftp.invalid > hosts; : > empty
        mount --bind hosts /etc/hosts; mount --bind empty /etc/resolv.conf
        export FTPFS_PASSWORD=\"$4\" XDG_STATE_HOME=$PWD/state
        \"$1\" -o \"port=$2,user=$3,timeout=20\" ftp.invalid:/ mnt
        : > /etc/hosts
        cat mnt/one > /dev/null & cat mnt/other > /dev/null &
        for i in {1..200}; do
            \"$1\" status mnt | grep ' problem ' && break; sleep 0.05
        done
        wait; umount mnt";
    let port = server.port().to_string();
    let output = in_own_namespace(
        home.path(),
        script,
        &[FTPFS, &port, server.user(), server.password()].map(AsRef::as_ref),
    );
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("the server's name cannot be resolved"),
        "{output:?}"
    );
    assert!(
        shown.contains("cannot find the host ftp.invalid"),
        "{output:?}"
    );
}

#[test]
fn the_totals_count_what_was_done() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", vec![7; 300_000]);
    let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=0"]);
    shell(
        mount.path(),
        "cat file > /dev/null; head -c 50000 /dev/zero > new",
    );
    let totals = "t['bytes_received'] >= 300000, t['bytes_sent'], t['commands'] >= t['round_trips'] > 0, \
                  t['requests'] >= t['requests_waited'] > 0, t['requests_failed']";
    let totals = format!("*(lambda t: ({totals}))(j['totals'])");
    assert_eq!(asked(mount.path(), &totals), "True 50000 True True 0");
    let hits = || {
        asked(mount.path(), "j['totals']['cache_hits']")
            .parse::<u64>()
            .unwrap()
    };
    let before = hits();
    shell(mount.path(), "stat file > /dev/null");
    assert!(hits() > before);
    let embedded = server.embedded().unwrap();
    let lost = Misdeed::DropControl;
    embedded.faults().add(Fault::on("MKD", lost));
    shell(mount.path(), "mkdir directory");
    assert_eq!(asked(mount.path(), "j['totals']['retries'] > 0"), "True");
    let shown = text(&[], mount.path());
    assert!(shown.contains("48.8 KiB sent"), "{shown}");
    assert!(
        shown.contains("names and listings came from the cache"),
        "{shown}"
    );
}

/// A minimal parser of OpenMetrics: describes each family once, with its samples behind it.
const PARSER: &str = r#"
import re, sys
lines = sys.stdin.read().split('\n')
assert lines[-2:] == ['# EOF', ''], lines[-2:]
kinds, helped, family, found = {}, set(), None, set()
label = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"'
sample = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:%s)(?:,%s)*)\} (\S+)' % (label, label))
for line in lines[:-2]:
    if line.startswith('# '):
        _, word, name, text = line.split(' ', 3)
        if word == 'HELP':
            assert name not in helped and text.endswith('.'), line
            helped.add(name)
        else:
            assert word == 'TYPE' and name == name and name in helped and name not in kinds, line
            assert text in ('counter', 'gauge'), line
            kinds[name] = text
            family = name
        continue
    name, labels, value = sample.fullmatch(line).groups()
    assert name == family + ('_total' if kinds[family] == 'counter' else ''), line
    assert (name, labels) not in found, line
    found.add((name, labels))
    assert re.search(r'(^|,)mountpoint="', labels) and ',source="ftp' in labels, line
    float(value)
print(len({labels.split(',')[0] for _, labels in found}), len(kinds) > 20, set(kinds) == helped)
"#;

#[test]
fn the_metrics_of_one_mount_and_of_all_are_valid() {
    let server = TestServer::start(Kind::Embedded);
    let mounts = [Mount::new(&server), Mount::new(&server)];
    let parsed = |arguments: &str| {
        let script = format!("\"$FTPFS\" status --prometheus {arguments} | python3 -c \"$PARSER\"");
        let output = Command::new("bash")
            .args(["-ec", &script])
            .env("FTPFS", FTPFS)
            .env("PARSER", PARSER)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for mount in &mounts {
        assert!(wait_for(SOON, || status(&[], mount.path())
            .status
            .success()));
        assert_eq!(parsed(mount.path().to_str().unwrap()), "1 True True\n");
    }
    // A mount that is unmounted and still stores files can have the mountpoint and the source of
    // another.
    for mount in &mounts {
        let metrics = text(&["--prometheus"], mount.path());
        let pid = format!("pid=\"{}\"", mount.pid());
        let mut samples = metrics.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.all(|line| line.contains(&pid)), "{pid}: {metrics}");
    }
    // Other tests have mounts, too.
    let all = parsed("");
    let count: usize = all.split(' ').next().unwrap().parse().unwrap();
    assert!(count >= 2 && all.ends_with(" True True\n"), "{all}");
}

/// Without a terminal, each interval prints a new text. The end of the mount ends it.
#[test]
fn a_watched_status_is_printed_again_until_the_mount_ends() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    assert!(wait_for(SOON, || status(&[], mount.path())
        .status
        .success()));
    let watch = || {
        let mut command = Command::new(FTPFS);
        command.args(["status", "--watch=0.1"]).arg(mount.path());
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let begin = format!("{} at ", server.url());
    let mut watching = watch();
    let mut lines = BufReader::new(watching.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    for _ in 0..3 {
        assert!(lines.any(|line| line.starts_with(&begin)));
    }
    // A closed output is no error.
    let mut left = watch();
    drop(left.stdout.take());
    assert!(left.wait().unwrap().success());
    mount.unmount();
    assert!(watching.wait().unwrap().success());
    let rest: Vec<_> = lines.collect();
    assert!(!rest.iter().any(|line| line.contains('\x1b')), "{rest:?}");
}

/// At a terminal, the text is redrawn in place, with progress bars that fit.
#[test]
fn a_status_watched_at_a_terminal_has_progress_bars() {
    let server = TestServer::start(Kind::Embedded);
    let (mount, mut reader) = stalled_read(&server, 2 << 20);
    let watching = format!(
        "stty cols 60 rows 40; exec {FTPFS} status --watch=0.1 {}",
        mount.path().display()
    );
    let mut terminal = Command::new("script")
        .args(["-qfec", &watching, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = terminal.stdout.take().unwrap();
    let (mut shown, mut piece) = (String::new(), [0; 4096]);
    let bar = format!("[{}{}] 25%", "#".repeat(9), "-".repeat(27));
    let has_bar = wait_for(SOON, || {
        let count = output.read(&mut piece).unwrap();
        shown.push_str(&String::from_utf8_lossy(&piece[..count]));
        shown.contains(&bar)
    });
    assert!(has_bar, "{shown}");
    assert!(shown.contains("\x1b[H"), "{shown}");
    for line in shown.split("\r\n") {
        let line = line
            .trim_start_matches("\x1b[J")
            .trim_start_matches("\x1b[H")
            .trim_start_matches("\x1b[2J");
        let line = line.trim_end_matches("\x1b[K");
        assert!(line.chars().count() <= 60, "{line:?}");
    }
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    assert!(reader.wait().unwrap().success());
}

/// A mount is found from an environment that is not the one in which it was mounted. Places that
/// other users prepared are not used.
#[test]
fn a_mount_is_found_from_every_environment() {
    let server = TestServer::start(Kind::Embedded);
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("mnt")).unwrap();
    let script = format!(
        "{OPEN_DEVICE}
        mkdir one two; chown daemon mnt one two; own=/tmp/ftpfs-$(id -u daemon); rm -rf $own
        as_daemon() {{ setpriv --reuid=daemon --regid=daemon --clear-groups \"$@\"; }}
        begin() {{
            FTPFS_PASSWORD=\"$3\" as_daemon env HOME=$PWD/one XDG_RUNTIME_DIR=$PWD/one \"$1\" \"$2\" mnt
        }}
        begin \"$@\"
        as_daemon env -u XDG_RUNTIME_DIR HOME=$PWD/two \"$1\" status mnt
        as_daemon env XDG_RUNTIME_DIR=$PWD/two HOME=/ \"$1\" status
        as_daemon env -i \"$1\" status --json mnt
        test \"$(stat -c '%a %U' $own)\" = '700 daemon'
        umount mnt; rm -rf $own
        echo planted
        mkdir -m 777 $own
        begin \"$@\"; as_daemon env XDG_RUNTIME_DIR=$PWD/one \"$1\" status mnt; umount mnt
        test -z \"$(ls $own)\"; rm -rf $own"
    );
    let url = server.url();
    let output = in_own_namespace(
        home.path(),
        &script,
        &[FTPFS.as_ref(), url.as_ref(), server.password().as_ref()],
    );
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let (before, after) = shown.split_once("planted\n").unwrap();
    let head = format!("{url} at ");
    assert_eq!(before.matches(&head).count(), 2, "{shown}");
    assert_eq!(before.matches("\"mountpoint\":").count(), 1, "{shown}");
    assert_eq!(after.matches(&head).count(), 1, "{shown}");
}

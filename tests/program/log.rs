//! Where the log goes, and its fields: systemd's journal, JSON, syslog.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ftpfs::server::{Fault, Misdeed};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Kind, Mount, Process, TestServer, command, in_own_namespace, wait_for};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for a record.
const LIMIT: Duration = Duration::from_secs(30);

/// A name with a byte that is not UTF-8.
const ODD_NAME: &[u8] = b"odd\xff";

/// How messages show [`ODD_NAME`], in the root.
const ODD_PATH: &str = "/odd\\xff";

/// A server that refuses to send a file with an odd name.
fn refusing_server() -> TestServer {
    let server = TestServer::start(Kind::Embedded);
    server.write(OsStr::from_bytes(ODD_NAME), "content");
    let text = "No way".to_owned();
    let refusal = Misdeed::Refuse { code: 553, text };
    let faults = Fault::on("RETR", refusal).always();
    server.embedded().unwrap().faults().add(faults);
    server
}

/// A directory with a mountpoint, and with the sockets of log daemons that replace the machine's in
/// a private mount namespace.
struct Machine {
    home: TempDir,
    journal: UnixDatagram,
    syslog: UnixDatagram,
    mountpoint: PathBuf,
}

/// Hides the machine's log daemons. `with_journal` shows the journal of [`Machine`].
const HIDE: &str = r"
    mount -t tmpfs none /run
    mknod dev/fuse c 10 229; mknod dev/null c 1 3; mount --bind dev /dev
    with_journal() {
        mkdir -p /run/systemd/journal; touch /run/systemd/journal/socket
        mount --bind journal /run/systemd/journal/socket
    }
";

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        // A line break in a path is possible only here, on this machine.
        let mountpoint = home.path().join("mnt\nx");
        fs::create_dir(&mountpoint).unwrap();
        fs::create_dir(home.path().join("dev")).unwrap();
        let listen = |name: &str| {
            let socket = UnixDatagram::bind(home.path().join(name)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self {
            journal: listen("journal"),
            syslog: listen("dev/log"),
            home,
            mountpoint,
        }
    }

    /// Runs `script` with the program, a URL of the server and the mountpoint as arguments.
    /// Returns its output.
    fn run(&self, server: &TestServer, script: &str) -> String {
        let url = server.url_with_password();
        let script = format!("{HIDE}\nexport XDG_STATE_HOME=$PWD/state\n{script}");
        let arguments = [
            OsStr::new(FTPFS),
            OsStr::new(&url),
            self.mountpoint.as_os_str(),
        ];
        let output = in_own_namespace(self.home.path(), &script, &arguments);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {words}", output.status);
        let mountpoint = self.mountpoint.to_str().unwrap();
        assert!(wait_for(LIMIT, || Process::with_argument(mountpoint).is_none()));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns the records that the journal received.
    fn journal(&self) -> Vec<Fields> {
        let records = datagrams(&self.journal).into_iter();
        // The journal ignores an empty datagram.
        records
            .filter(|it| !it.is_empty())
            .map(|it| Fields::parse(&it))
            .collect()
    }
}

fn datagrams(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut datagram = vec![0; 1 << 20];
    let next = || {
        let length = socket.recv(&mut datagram).ok()?;
        Some(datagram[..length].to_vec())
    };
    std::iter::from_fn(next).collect()
}

/// The fields of one record (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
#[derive(Debug)]
struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn parse(mut datagram: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !datagram.is_empty() {
            let end = datagram.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = datagram.split_at(end);
            let rest = &rest[1..];
            let equals = line.iter().position(|byte| *byte == b'=');
            let (name, value, rest) = if let Some(at) = equals {
                (&line[..at], &line[at + 1..], rest)
            } else {
                let (length, rest) = rest.split_at(8);
                let length = u64::from_le_bytes(length.try_into().unwrap());
                let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
                assert_eq!(rest[0], b'\n');
                (line, value, &rest[1..])
            };
            let name = String::from_utf8(name.to_vec()).unwrap();
            fields.push((name, value.to_vec()));
            datagram = rest;
        }
        Self(fields)
    }

    /// Returns the field's only value.
    fn get(&self, name: &str) -> Option<OsString> {
        let mut values = self.0.iter().filter(|(field, _)| field == name);
        let value = values
            .next()
            .map(|(_, value)| OsString::from_vec(value.clone()));
        assert!(values.next().is_none(), "{self:?}");
        value
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.into_string().unwrap())
    }
}

/// Asserts that the record about the refusal is among `records`, with its fields.
fn assert_refusal(records: &[Fields], mountpoint: &OsStr) {
    let is_about_it = |record: &&Fields| record.text("FTPFS_PATH").as_deref() == Some(ODD_PATH);
    let refusal = records.iter().find(is_about_it);
    let refusal = refusal.unwrap_or_else(|| panic!("{records:?}"));
    let message = refusal.text("MESSAGE").unwrap();
    assert_eq!(message, format!("cannot read {ODD_PATH}: RETR: 553 No way"));
    assert_eq!(refusal.text("FTPFS_REPLY").as_deref(), Some("553 No way"));
    assert_eq!(refusal.text("PRIORITY").as_deref(), Some("4"));
    assert_eq!(refusal.text("SYSLOG_IDENTIFIER").as_deref(), Some("ftpfs"));
    for record in records {
        assert_eq!(
            record.get("FTPFS_MOUNT").as_deref(),
            Some(mountpoint),
            "{record:?}"
        );
    }
}

#[test]
fn a_mount_in_the_background_logs_to_the_journal_with_fields() {
    let server = refusing_server();
    let machine = Machine::new();
    machine.run(
        &server,
        r#"with_journal
        "$1" "$2" "$3" -o log_level=info
        ! cat "$3"/odd* 2>/dev/null
        umount "$3""#,
    );
    let records = machine.journal();
    assert_refusal(&records, machine.mountpoint.as_os_str());
    let mounted = records
        .iter()
        .find(|record| record.text("PRIORITY").as_deref() == Some("6"));
    let mounted = mounted.unwrap_or_else(|| panic!("{records:?}"));
    assert_eq!(mounted.get("FTPFS_PATH"), None);
    assert_eq!(mounted.get("FTPFS_REPLY"), None);
    // The line break of the mountpoint is in the message, too, and begins no field.
    let message = records.iter().filter_map(|record| record.text("MESSAGE"));
    let mounted: Vec<_> = message.filter(|it| it.starts_with("mounted ")).collect();
    assert!(mounted[0].contains('\n'), "{mounted:?}");
    assert!(datagrams(&machine.syslog).is_empty());
}

#[test]
fn without_a_journal_a_mount_in_the_background_logs_to_syslog() {
    let server = refusing_server();
    let machine = Machine::new();
    machine.run(
        &server,
        r#""$1" "$2" "$3"
        ! cat "$3"/odd* 2>/dev/null
        umount "$3""#,
    );
    let text = format!(": cannot read {ODD_PATH}: RETR: 553 No way");
    let records = datagrams(&machine.syslog);
    let record = records
        .iter()
        .map(|it| String::from_utf8(it.clone()).unwrap());
    let record = record.into_iter().find(|it| it.ends_with(&text));
    let record = record.unwrap_or_else(|| panic!("{records:?}"));
    assert!(record.starts_with("<28>ftpfs["), "{record}");
    assert!(machine.journal().is_empty());
}

#[test]
fn syslog_gets_json_on_request() {
    let server = refusing_server();
    let machine = Machine::new();
    machine.run(
        &server,
        r#""$1" "$2" "$3" -o log_format=json
        ! cat "$3"/odd* 2>/dev/null
        umount "$3""#,
    );
    let records = datagrams(&machine.syslog);
    let objects: Vec<Value> = records
        .iter()
        .map(|record| {
            let (header, object) =
                record.split_at(record.iter().position(|it| *it == b' ').unwrap());
            assert!(header.starts_with(b"<28>ftpfs["), "{records:?}");
            serde_json::from_slice(object).unwrap()
        })
        .collect();
    let refusal = objects.iter().find(|object| object["path"] == ODD_PATH);
    assert_eq!(refusal.unwrap()["reply"], "553 No way", "{objects:?}");
}

#[test]
fn a_mount_in_the_foreground_logs_to_the_journal_if_its_standard_error_is_the_journal() {
    let server = refusing_server();
    let machine = Machine::new();
    let shown = machine.run(
        &server,
        r#"with_journal
        run() {
            "$@" & mounted=$!
            for i in {1..2000}; do mountpoint -q "$4" && break; sleep 0.01; done
            ! cat "${4}"/odd* 2>/dev/null
            kill $mounted; wait $mounted
        }
        touch elsewhere
        JOURNAL_STREAM=$(stat -c %d:%i elsewhere) run "$1" -f "$2" "$3" 2>shown
        cat shown; : > stream
        JOURNAL_STREAM=$(stat -c %d:%i stream) run "$1" -f "$2" "$3" -o log_format=json 2>stream
        ! JOURNAL_STREAM=$(stat -c %d:%i stream) "$1" -f ftp://127.0.0.1:1/ "$3" 2>>stream
        cat stream >&2; ! grep . stream"#,
    );
    let on_terminal = format!("cannot read {ODD_PATH}: RETR: 553 No way");
    assert!(shown.contains(&on_terminal), "{shown}");
    let records = machine.journal();
    assert_refusal(&records, machine.mountpoint.as_os_str());
    let failures = records
        .iter()
        .filter(|it| it.text("PRIORITY").as_deref() == Some("3"));
    let failures: Vec<_> = failures.filter_map(|it| it.text("MESSAGE")).collect();
    assert!(
        failures.len() == 1 && failures[0].contains("refused"),
        "{failures:?}"
    );
}

#[test]
fn each_line_of_a_json_log_is_an_object() {
    let server = refusing_server();
    let options = ["log_format=json,log_level=debug"];
    let mount = Mount::with_options(&server, &options);
    assert!(fs::read(mount.join(OsStr::from_bytes(ODD_NAME))).is_err());
    fs::write(mount.join("\u{1b}[2J\u{7f}"), "x").unwrap();
    assert!(wait_for(LIMIT, || mount.log().contains("553 No way")));
    let mountpoint = mount.path().to_str().unwrap().to_owned();
    let log = mount.log();
    // The last line may not be complete yet.
    let lines: Vec<_> = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .collect();
    assert!(lines.len() > 4, "{log}");
    let objects: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for object in &objects {
        assert_eq!(object["mount"], mountpoint.as_str());
        assert!(object["message"].is_string(), "{object}");
        let time: jiff::Timestamp = object["time"].as_str().unwrap().parse().unwrap();
        assert!(time <= jiff::Timestamp::now(), "{object}");
        assert!(object["time"].as_str().unwrap().ends_with('Z'), "{object}");
    }
    let refusal = objects
        .iter()
        .find(|object| object["level"] == "warn")
        .unwrap();
    assert_eq!(refusal["path"], ODD_PATH);
    assert_eq!(refusal["reply"], "553 No way");
    assert!(objects.iter().any(|it| it.get("path").is_none()), "{log}");
}

/// A program that reads records from the standard error reads the reason of a failure, too.
#[test]
fn a_failure_to_mount_is_an_object_of_a_json_log() {
    let server = TestServer::start(Kind::Embedded);
    let home = tempfile::tempdir().unwrap();
    let mountpoint = home.path().join("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let failed = |format: &str| {
        let output = command(FTPFS)
            .arg("-f")
            .arg(server.url())
            .arg(&mountpoint)
            .args(["-o", format])
            .env("FTPFS_PASSWORD", "wrong")
            .env("XDG_STATE_HOME", home.path().join("state"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = failed("log_format=text");
    assert!(text.starts_with("ftpfs: login refused: 530 "), "{text}");
    let line = failed("log_format=json");
    let object: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["level"], "error");
    assert_eq!(object["mount"], mountpoint.to_str().unwrap());
    let reason = object["message"].as_str().unwrap();
    assert_eq!(text, format!("ftpfs: {reason}\n"));
    let reply = object["reply"].as_str().unwrap();
    assert!(
        reply.starts_with("530 ") && reason.contains(reply),
        "{line}"
    );
}

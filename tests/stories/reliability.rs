//! Every fault at every operation, and what a program sees of it, as shown in `doc/reliability.md`.
//! Nothing fails silently: a program that succeeded has done its work, and one that failed has
//! reported why.
//!
//! `FTPFS_WRITE_DOC=1` regenerates the table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Kind, Mount, TestServer};
use ftpfs::server::{Fault, Misdeed};

/// The number of table cells computed in parallel.
const WORKERS: usize = 6;

/// Maximum time for any program here: the mount's timeouts of two seconds, with a few retries.
const DEADLINE: Duration = Duration::from_secs(60);

const SIZE: usize = 2 << 20;
const HALF: u64 = 1 << 20;

/// An operation of a program on the mount.
struct Operation {
    name: &'static str,
    script: &'static str,
    /// The command at which the fault strikes.
    verb: &'static str,
    is_transfer: bool,
    /// Whether the server's tree and the program's output are as expected after success.
    is_done: fn(&Path, &[u8]) -> bool,
    /// Whether the previous content is intact after the program failed; always true if the change
    /// may have been made nevertheless.
    is_undamaged: fn(&Path) -> bool,
}

const OPERATIONS: [Operation; 7] = [
    Operation {
        name: "`ls`",
        script: "ls dir",
        verb: "MLSD",
        is_transfer: true,
        is_done: |_, output| output == b"empty\nold\n",
        is_undamaged: has_old,
    },
    Operation {
        name: "`cat`",
        script: "cat dir/old",
        verb: "RETR",
        is_transfer: true,
        is_done: |_, output| output == old(),
        is_undamaged: has_old,
    },
    Operation {
        name: "`cp` to a new file",
        script: "cp \"$LOCAL\" dir/new",
        verb: "STOR",
        is_transfer: true,
        is_done: |root, _| holds(&root.join("dir/new"), &new()),
        is_undamaged: |root| has_old(root) && !root.join("dir/new").exists(),
    },
    Operation {
        name: "`cp` over a file",
        script: "cp \"$LOCAL\" dir/old",
        verb: "STOR",
        is_transfer: true,
        is_done: |root, _| holds(&root.join("dir/old"), &new()),
        is_undamaged: has_old,
    },
    Operation {
        name: "`mkdir`",
        script: "mkdir dir/made",
        verb: "MKD",
        is_transfer: false,
        is_done: |root, _| root.join("dir/made").is_dir(),
        is_undamaged: has_old,
    },
    Operation {
        name: "`mv`",
        script: "mv dir/old dir/moved",
        verb: "RNTO",
        is_transfer: false,
        is_done: |root, _| holds(&root.join("dir/moved"), &old()) && !root.join("dir/old").exists(),
        is_undamaged: |root| has_old(root) || holds(&root.join("dir/moved"), &old()),
    },
    Operation {
        name: "`rm`",
        script: "rm dir/old",
        verb: "DELE",
        is_transfer: false,
        is_done: |root, _| !root.join("dir/old").exists(),
        is_undamaged: |root| has_old(root) || !root.join("dir/old").exists(),
    },
];

fn old() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 251 + at) as u8).collect()
}

fn new() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 241 + at) as u8 ^ 0x55).collect()
}

fn holds(file: &Path, content: &[u8]) -> bool {
    fs::read(file).is_ok_and(|found| found == content)
}

fn has_old(root: &Path) -> bool {
    holds(&root.join("dir/old"), &old())
}

/// Returns what the server does, in the table's words, and whether it applies only to transfers.
fn misdeeds() -> Vec<(&'static str, bool, Misdeed)> {
    let refuse = |code, text: &str| Misdeed::Refuse {
        code,
        text: text.to_owned(),
    };
    let late = Misdeed::LateReply(Duration::from_millis(700));
    let breaks = |code| Misdeed::BreakData { after: HALF, code };
    vec![
        ("closes the control connection", false, Misdeed::DropControl),
        (
            "does it and closes the control connection",
            false,
            Misdeed::DoneThenDrop,
        ),
        (
            "says nothing more on the connection",
            false,
            Misdeed::StallControl,
        ),
        ("does it and never says so", false, Misdeed::NoReply),
        ("says so late", false, late),
        ("cuts its reply", false, Misdeed::CutReply(4)),
        ("sends a reply without an end", false, Misdeed::EndlessReply),
        ("421 closing", false, refuse(421, "Service not available")),
        ("450 busy", false, refuse(450, "File busy")),
        ("451 local error", false, refuse(451, "Local error")),
        (
            "452 no space",
            false,
            refuse(452, "Insufficient storage space"),
        ),
        (
            "550 permission denied",
            false,
            refuse(550, "Permission denied"),
        ),
        ("552 over quota", false, refuse(552, "Disk quota exceeded")),
        ("425 no data connection", true, Misdeed::RefuseData),
        (
            "resets the data connection halfway",
            true,
            Misdeed::DropData { after: HALF },
        ),
        (
            "stalls the data halfway",
            true,
            Misdeed::StallData { after: HALF },
        ),
        ("426 halfway", true, breaks(426)),
        ("451 halfway", true, breaks(451)),
        ("552 halfway", true, breaks(552)),
        (
            "ends the data at once with 226",
            true,
            Misdeed::ShortThen226 { after: 0 },
        ),
    ]
}

/// Returns what a program sees of a fault that strikes once, and of one that strikes always.
fn cell(operation: &Operation, misdeed: &Misdeed) -> String {
    let once = trial(operation, &Fault::on(operation.verb, misdeed.clone()));
    let always = trial(
        operation,
        &Fault::on(operation.verb, misdeed.clone()).always(),
    );
    if once == always {
        once
    } else {
        format!("{once}; always: {always}")
    }
}

/// Describes the program's result in a few words, after checking it against the server.
fn trial(operation: &Operation, fault: &Fault) -> String {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/old", old());
    server.write("dir/empty", "");
    let mount = Mount::with_options(&server, &["timeout=4", "connect_timeout=4"]);
    let embedded = server.embedded().unwrap();
    embedded.faults().add(fault.clone());
    let began = Instant::now();
    let output = program(&mount, operation.script);
    let took = began.elapsed();
    let case = format!("{} under {fault:?}", operation.name);
    assert!(took < DEADLINE, "{case} took {took:?}");
    assert!(embedded.faults().happened() > 0, "{case} never happened");
    embedded.faults().clear();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        let is_done = (operation.is_done)(server.root(), &output.stdout);
        assert!(is_done, "{case} was to be done, and is not");
        return "done".to_owned();
    }
    assert!((operation.is_undamaged)(server.root()), "{case}: {words}");
    let reason = words.lines().next().unwrap_or_default();
    let (_, reason) = reason.rsplit_once(": ").unwrap_or(("", reason));
    assert!(!reason.is_empty(), "{case} failed without a word");
    reason.to_owned()
}

/// Runs the script in a separate process: other cells fork this one, and the children would close
/// copies of its descriptors.
fn program(mount: &Mount, script: &str) -> Output {
    let local = tempfile::NamedTempFile::new().unwrap();
    fs::write(local.path(), new()).unwrap();
    Command::new("bash")
        .args(["-c", &format!("exec {script}")])
        .current_dir(mount.path())
        .env("LC_ALL", "C")
        .env("LOCAL", local.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn table() -> String {
    let misdeeds = misdeeds();
    let cells = Mutex::new(vec![vec![String::new(); OPERATIONS.len()]; misdeeds.len()]);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let (row, column) = (index / OPERATIONS.len(), index % OPERATIONS.len());
                    let Some((_, of_data, misdeed)) = misdeeds.get(row) else {
                        return;
                    };
                    let operation = &OPERATIONS[column];
                    if *of_data && !operation.is_transfer {
                        continue;
                    }
                    // A listing of two names cannot be cut in half.
                    if operation.verb == "MLSD" && format!("{misdeed:?}").contains("after") {
                        continue;
                    }
                    let words = cell(operation, misdeed);
                    cells.lock().unwrap_or_else(PoisonError::into_inner)[row][column] = words;
                }
            });
        }
    });
    let mut table = String::from("| The server |");
    for operation in &OPERATIONS {
        write!(table, " {} |", operation.name).unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(OPERATIONS.len()));
    let cells = cells.into_inner().unwrap();
    for ((name, _, _), row) in misdeeds.iter().zip(cells) {
        write!(table, "\n| {name} |").unwrap();
        for words in row {
            let words = if words.is_empty() {
                "–".to_owned()
            } else {
                words
            };
            write!(table, " {words} |").unwrap();
        }
    }
    table.push('\n');
    table
}

const START: &str = "<!-- table -->\n";
const END: &str = "<!-- end of table -->\n";

#[test]
fn every_fault_at_every_operation_is_made_good_or_told() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/reliability.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(START).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("FTPFS_WRITE_DOC").is_some() {
        fs::write(&page, format!("{before}{START}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        shown == table,
        "doc/reliability.md is not what happens (FTPFS_WRITE_DOC=1 writes it anew):\n{table}"
    );
}

//! Several workers do random work while everything goes wrong: a call that succeeded took effect,
//! every file has its expected content, and nothing hangs or leaks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::server::{ANY, Fault, Misdeed};
use tempfile::TempDir;

use crate::amount;
use crate::programs::DEADLINE;
use crate::support::{Kind, Mount, Random, TestServer, shell, wait_for};
use crate::worker::{Clock, Tally, Worker};

const WORKERS: usize = 4;

/// Maximum pause between two faults, in milliseconds.
const FAULT_EVERY: usize = 150;

/// How many more descriptors ftpfs may hold after the work than before it.
const MORE_DESCRIPTORS: usize = 16;
const MORE_KIB: usize = 64 << 10;

/// The mount's connection limit.
const CONNECTIONS: usize = 4;

/// The resources that a mount's process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    connections: usize,
    kib: usize,
}

impl Held {
    fn by(mount: &Mount) -> Self {
        let process = Path::new("/proc").join(mount.pid().to_string());
        let descriptors = fs::read_dir(process.join("fd")).unwrap();
        let targets: Vec<_> = descriptors
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .collect();
        let tcp = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(process.join(table)));
        let tcp: Vec<_> = tcp
            .iter()
            .flatten()
            .flat_map(|table| table.lines())
            .collect();
        // The tenth column is the inode (proc_net_tcp).
        let is_tcp = |inode: &str| {
            let inodes = tcp.iter().filter_map(|line| line.split_whitespace().nth(9));
            inodes.into_iter().any(|of| of == inode)
        };
        let is_connection = |target: &&PathBuf| {
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[");
            inode.is_some_and(|inode| is_tcp(inode.trim_end_matches(']')))
        };
        let status = fs::read_to_string(process.join("status")).unwrap();
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        Self {
            descriptors: targets.len(),
            connections: targets.iter().filter(is_connection).count(),
            kib: rss.split_whitespace().next().unwrap().parse().unwrap(),
        }
    }
}

/// Returns a random misdeed, to happen at the next command where it is possible.
fn fault(random: &mut Random) -> Fault {
    let code = [426, 450, 451, 452, 552][random.below(5)];
    let after = [0, 1, 4_000, 100_000, 1 << 20][random.below(5)] as u64;
    let text = "not now".to_owned();
    let verbs = [
        "RETR", "REST", "STOR", "APPE", "MLSD", "RNTO", "DELE", "MLST", "EPSV", ANY,
    ];
    let any = verbs[random.below(verbs.len())];
    let transfer = ["RETR", "STOR", "APPE", "MLSD"][random.below(4)];
    let fault = match random.below(16) {
        0 => Fault::on(any, Misdeed::DropControl),
        1 => Fault::on(any, Misdeed::DoneThenDrop),
        2 => Fault::on(any, Misdeed::StallControl),
        3 => Fault::on(any, Misdeed::Refuse { code: 421, text }),
        4 => Fault::on(any, Misdeed::Refuse { code: 450, text }),
        5 => Fault::on(any, Misdeed::DoneThenRefuse { code: 451, text }),
        6 => Fault::on(any, Misdeed::NoReply),
        7 => Fault::on(any, Misdeed::LateReply(Duration::from_millis(500))),
        8 => Fault::on(any, Misdeed::CutReply(2)),
        9 => Fault::on(any, Misdeed::EndlessReply),
        10 => Fault::on(transfer, Misdeed::RefuseData),
        11 => Fault::on(transfer, Misdeed::DropData { after }),
        12 => Fault::on(transfer, Misdeed::StallData { after }),
        13 => Fault::on(transfer, Misdeed::BreakData { after, code }),
        14 => Fault::on("RETR", Misdeed::ShortThen226 { after }),
        _ => Fault::on("RNTO", Misdeed::NoReplace),
    };
    fault.skip(random.below(4) as u32)
}

/// Disturbs the server for a moment; returns how many faults that caused.
fn disturb(server: &TestServer, random: &mut Random) -> u64 {
    let moment = Duration::from_millis(random.below(700) as u64);
    if let Some(embedded) = server.embedded()
        && random.below(30) > 0
    {
        let before = embedded.faults().happened();
        embedded.faults().add(fault(random));
        thread::sleep(Duration::from_millis(random.below(FAULT_EVERY) as u64));
        return embedded.faults().happened() - before;
    }
    // vsftpd may never answer a command that arrived while it was stopped.
    if random.below(2) == 0 && server.kind() != Kind::Vsftpd {
        server.freeze();
        thread::sleep(moment);
        server.thaw();
    } else {
        server.kill();
        thread::sleep(moment);
        server.start_again();
    }
    thread::sleep(Duration::from_millis(random.below(2_000) as u64));
    1
}

fn work(kind: Kind) {
    let duration = Duration::from_secs(amount("FTPFS_SOAK_SECONDS", 6) as u64);
    let server = TestServer::start(kind);
    let state = TempDir::new().unwrap();
    let connections = format!("connections={CONNECTIONS}");
    let more = std::env::var("FTPFS_SOAK_OPTIONS").unwrap_or_default();
    let mut options = vec!["timeout=2", "connect_timeout=2", &connections];
    options.extend(more.split_whitespace());
    let mount = Mount::with_state(&server, &options, state.path());
    let mut random = Random::new();
    let tally = Arc::new(Tally::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clocks = Vec::new();
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let name = format!("worker-{number}");
        fs::create_dir(mount.join(&name)).unwrap();
        let (worker, clock) = Worker::new(kind, mount.join(name), random.fork(), &tally);
        clocks.push(clock);
        let stop = Arc::clone(&stop);
        workers.push(thread::spawn(move || worker.run(&stop)));
    }
    let end = Instant::now() + duration;
    thread::sleep(duration / 8);
    let before = Held::by(&mount);
    let mut faults = 0;
    while Instant::now() < end {
        faults += disturb(&server, &mut random);
        if clocks.iter().any(is_over) {
            tally.hung.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    if let Some(embedded) = server.embedded() {
        embedded.faults().clear();
    }
    let all_ended = wait_for(DEADLINE, || {
        workers.iter().all(thread::JoinHandle::is_finished)
    });
    if !all_ended {
        println!("{}", mount.kill_nine());
        panic!("{kind:?}: a call hangs; {tally:?}");
    }
    if !more.is_empty() {
        shell(mount.path(), "sync . || sync .");
    }
    for worker in workers {
        let worker = worker.join().unwrap();
        let name = worker.directory.file_name().unwrap();
        worker.check(&server.root().join(name));
    }
    let after = Held::by(&mount);
    let log = mount.log();
    mount.unmount();
    Mount::with_state(&server, &options, state.path()).unmount();
    let left = temporary_names(server.root());
    println!(
        "{kind:?}: {} operations, {faults} faults, {} errors returned, {} mismatches, {} hung calls; \
        connections {} (at most {CONNECTIONS}), descriptors {} to {}, memory {} to {} KiB, \
        temporary names left: {}",
        tally.operations.load(Ordering::Relaxed),
        tally.errors.load(Ordering::Relaxed),
        tally.mismatches.lock().unwrap().len(),
        tally.hung.load(Ordering::Relaxed),
        after.connections,
        before.descriptors,
        after.descriptors,
        before.kib,
        after.kib,
        left.len(),
    );
    let mismatches = tally.mismatches.lock().unwrap();
    assert!(
        mismatches.is_empty(),
        "{}\nthe mount's log:\n{log}",
        mismatches.join("\n")
    );
    assert_eq!(tally.hung.load(Ordering::Relaxed), 0);
    assert!(faults > 0, "nothing went wrong");
    assert_eq!(left, [""; 0].map(PathBuf::from));
    // A connection consists of a control and possibly a data connection.
    assert!(after.connections <= 2 * CONNECTIONS, "{after:?}");
    assert!(after.descriptors <= before.descriptors + MORE_DESCRIPTORS);
    assert!(after.kib <= before.kib + MORE_KIB);
}

fn is_over(clock: &Clock) -> bool {
    clock
        .lock()
        .unwrap()
        .is_some_and(|began| began.elapsed() > DEADLINE)
}

/// Returns the temporary names of ftpfs below `root`.
fn temporary_names(root: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for directory in fs::read_dir(root).unwrap() {
        for entry in fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().as_encoded_bytes();
            if name.starts_with(b".ftpfs-") {
                names.push(path);
            }
        }
    }
    names
}

#[test]
fn embedded() {
    work(Kind::Embedded);
}

#[test]
fn vsftpd() {
    work(Kind::Vsftpd);
}

#[test]
fn proftpd() {
    work(Kind::Proftpd);
}

#[test]
fn ftp_srv() {
    work(Kind::FtpSrv);
}

#[test]
fn twisted() {
    work(Kind::Twisted);
}

#[test]
fn libunftp() {
    work(Kind::Libunftp);
}

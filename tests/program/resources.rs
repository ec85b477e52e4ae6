//! What a mount costs the machine: threads at rest, and memory after work. And `scripts/resources`,
//! which measures that.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::support::{
    Kind, Mount, Process, TestServer, command, lines, run_with, script, shell, wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time for threads to end, and for memory to be given back.
const SOON: Duration = Duration::from_secs(60);

/// A mount at rest has fewer threads.
const THREADS: usize = 20;

/// Size of the buffer of each thread that receives the kernel's requests, in fuser.
const FUSE_BUFFER: u64 = 16 << 20;

/// Names in the directory that a program lists.
const NAMES: usize = 50_000;

/// Number of threads of a mount.
fn threads(mount: &Mount) -> usize {
    Process::of(mount.pid()).threads("State:").len()
}

/// The resident memory of a mount's process in KiB.
fn memory(mount: &Mount) -> usize {
    let status = Process::of(mount.pid()).read("status").unwrap();
    let status = String::from_utf8(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse().unwrap()
}

#[test]
fn a_mount_at_rest_has_few_threads() {
    let server = TestServer::start(Kind::Embedded);
    for number in 0..32 {
        server.write(format!("file{number}"), vec![7; 100_000]);
    }
    let mount = Mount::new(&server);
    thread::scope(|scope| {
        for number in 0..32 {
            let file = mount.join(format!("file{number}"));
            scope.spawn(move || assert_eq!(fs::read(file).unwrap().len(), 100_000));
        }
    });
    assert!(
        wait_for(SOON, || threads(&mount) < THREADS),
        "{}",
        threads(&mount)
    );
}

#[test]
fn memory_goes_back_to_the_system_when_what_was_cached_is_forgotten() {
    let server = TestServer::start(Kind::Embedded);
    fs::create_dir(server.root().join("dir")).unwrap();
    for number in 0..NAMES {
        let name = format!("a name of middling length {number}");
        fs::File::create(server.root().join("dir").join(name)).unwrap();
    }
    let mount = Mount::new(&server);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 1);
    let fresh = memory(&mount);
    let listed = shell(mount.path(), "ls -l dir | wc -l");
    assert_eq!(lines(&listed), [(NAMES + 1).to_string()]);
    let grown = memory(&mount) - fresh;
    let refresh = [Path::new("refresh").as_os_str(), mount.path().as_os_str()];
    run_with(FTPFS, &refresh);
    // The kernel forgets the names in its own time.
    let left = || memory(&mount).saturating_sub(fresh);
    let is_back = wait_for(SOON, || left() * 4 < grown);
    assert!(is_back, "{} of {grown} KiB are left", left());
}

/// Memory in the heap may have been used before: the allocator clears it for a large buffer, all of
/// which is then resident, however little of it is used.
#[test]
fn large_buffers_are_not_in_the_heap() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
    let maps = Process::of(mount.pid()).read("maps").unwrap();
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let size = |line: &str| {
        let range = line.split(' ').next()?;
        let (start, end) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        Some(address(end)? - address(start)?)
    };
    let heap = maps.lines().find(|line| line.ends_with("[heap]"));
    let heap = heap.and_then(size).unwrap();
    assert!(heap < FUSE_BUFFER, "{heap}");
}

/// The tables of a small run: it reaches all targets and stores what a killed mount left.
#[test]
fn a_small_measurement_of_scale_has_all_tables() {
    let script = script("resources");
    let words = ["--only", "scale", "--largest", "10000", "--ftpfs", FTPFS].map(AsRef::as_ref);
    let shown = run_with(script.to_str().unwrap(), &words);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for (title, largest) in [
        ("files of a tree", "10,000"),
        ("names in a directory", "10,000"),
        ("programs that read", "64"),
        ("waiting uploads", "100"),
    ] {
        let table = shown.split("\n\n").find(|part| part.contains(title));
        let last = table.and_then(|table| table.lines().last());
        let first = last.and_then(|line| line.split('|').nth(1));
        assert_eq!(first.map(str::trim), Some(largest), "{title}: {shown}");
    }
    assert_eq!(shown.matches("yes ").count(), 2, "{shown}");
}

/// Ctrl-C at a terminal reaches the script and the programs that it started.
#[test]
fn a_measurement_that_is_interrupted_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut measuring = command(script("resources"))
        .args(["--only", "idle", "--mounts", "3", "--settle", "600"])
        .args(["--ftpfs", FTPFS])
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mounts = || {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = place.path().to_str().unwrap();
        table.lines().filter(|line| line.contains(here)).count()
    };
    assert!(wait_for(SOON, || mounts() == 3));
    let group = format!("-{}", measuring.id());
    run_with("kill", &["-INT".as_ref(), "--".as_ref(), group.as_ref()]);
    assert_eq!(measuring.wait().unwrap().code(), Some(130));
    assert_eq!(mounts(), 0);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    let here = place.path().to_str().unwrap();
    let is_of_it = |process: &Process| {
        let arguments = process.read("cmdline").unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(here)
    };
    assert_eq!(Process::all().filter(is_of_it).count(), 0);
}

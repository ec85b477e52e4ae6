//! Kills ftpfs with SIGKILL at random moments while it fills and trims a persistent cache, and
//! while files change on the server or through the mount. Every byte that the next mount shows is
//! compared.
//!
//! A large cache costs little memory, and no time at the mount.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::amount;
use crate::support::{Kind, Mount, Random, TestServer, wait_for};

/// File lengths: of one block, of exactly one, of some, and of more than a tenth of the cache.
const LENGTHS: [usize; 12] = [
    1, 700, 65_535, 65_536, 65_537, 200_000, 700_000, 1_000_000, 2_500_000, 3, 300_000, 4_000_000,
];

/// The cache holds about half of the files, so that it is trimmed all the time.
const OPTIONS: [&str; 3] = ["cache_disk=6M", "cache_free=0", "timeout=10"];

/// The latest moment of a kill, in µs.
const LATEST: usize = 250_000;

#[test]
fn a_killed_mount_leaves_no_wrong_byte_in_the_cache() {
    let kills = amount("FTPFS_SOAK_CACHE_KILLS", 6);
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let option = format!("cache_dir={}", cache.path().display());
    let options: Vec<&str> = OPTIONS.into_iter().chain([option.as_str()]).collect();
    let mut random = Random::new();
    let mut contents: Vec<Vec<u8>> = LENGTHS.map(|length| random.bytes(length)).into();
    let mut versions = 0;
    for (number, bytes) in contents.iter().enumerate() {
        write(&server, number, bytes, &mut versions);
    }
    let (mut compared, mut cached) = (0_u64, 0_u64);
    for kill in 0..kills {
        let mount = Mount::with_options(&server, &options);
        // Programs read in random order, until the mount is gone.
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let script = format!(
                    "cd {} && while :; do for file in $(ls | shuf); do cat $file || exit; done; done",
                    mount.path().display()
                );
                let mut reader = Command::new("bash");
                let quiet = reader.args(["-c", &script]).stdout(Stdio::null());
                quiet.stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        thread::sleep(Duration::from_micros(random.below(LATEST) as u64));
        mount.kill_nine();
        for mut reader in readers {
            let _ = reader.kill();
            reader.wait().unwrap();
        }
        // A file changes, keeps its size, and is older than any clock's error.
        let changed = random.below(contents.len());
        contents[changed] = random.bytes(LENGTHS[changed]);
        write(&server, changed, &contents[changed], &mut versions);
        let mount = Mount::with_options(&server, &options);
        let before = received(&mount);
        let mut bytes = 0;
        for (number, expected) in contents.iter().enumerate() {
            let found = fs::read(mount.join(number.to_string())).unwrap();
            assert!(found == *expected, "file {number} after kill {kill}");
            bytes += found.len() as u64;
        }
        compared += bytes;
        cached += bytes.saturating_sub(received(&mount) - before);
    }
    println!("{kills} kills, {compared} bytes compared, {cached} of them from the cache, 0 wrong");
    assert!(kills < 5 || cached > 0, "the cache was never used");
}

/// Sizes of the files that programs change.
const CHANGED: [usize; 2] = [5_000, 400_000];

/// Programs copy, rename and remove files of the same sizes and times until the mount is killed.
/// The server tells nothing else of them, so only the mount knows which contents a name has.
#[test]
fn a_killed_mount_leaves_no_old_bytes_of_what_it_changed() {
    let kills = amount("FTPFS_SOAK_CACHE_KILLS", 6);
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.disabled.extend(["MLSD", "MLST"].map(str::to_owned));
    });
    let (cache, sources) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let option = format!("cache_dir={}", cache.path().display());
    let mut random = Random::new();
    let time = SystemTime::now() - Duration::from_secs(100 * 24 * 3600);
    for (letter, size) in CHANGED.iter().enumerate() {
        for number in 0..4 {
            let path = sources.path().join(format!("{letter}{number}"));
            fs::write(&path, random.bytes(*size)).unwrap();
            set_time(&path, time);
        }
    }
    let (mut compared, mut cached) = (0_u64, 0_u64);
    for kill in 0..kills {
        let mount = Mount::with_options(&server, &[&option, "timeout=10"]);
        let script = format!(
            "cd {} || exit; mkdir -p a/deep; while :; do
                 for letter in 0 1; do
                     from={}/$letter$((RANDOM % 4))
                     to=$letter$((RANDOM % 3))
                     case $((RANDOM % 7)) in
                         0 | 1) cp -p $from $to ;;
                         2) cp -p $from a/deep/$to ;;
                         3) mv $to $letter$((RANDOM % 3)) ;;
                         4) mv a/deep/$to $to ;;
                         5) mv a b && cat b/deep/* && mv b a ;;
                         6) rm $to ;;
                     esac
                     cat $to
                 done
                 [ -d . ] || exit
             done",
            mount.path().display(),
            sources.path().display()
        );
        let mut changer = Command::new("bash");
        let quiet = changer.args(["-c", &script]).stdout(Stdio::null());
        let mut changer = quiet.stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_micros(random.below(3 * LATEST) as u64));
        mount.kill_nine();
        let _ = changer.kill();
        changer.wait().unwrap();
        for _ in 0..2 {
            let mount = Mount::with_options(&server, &[&option, "timeout=10"]);
            let before = received(&mount);
            let mut bytes = 0;
            for path in entries(server.root()) {
                let below = path.strip_prefix(server.root()).unwrap();
                let name = below.file_name().unwrap().to_str().unwrap();
                // Those of killed uploads have other names.
                if name.len() == 2 {
                    let found = fs::read(mount.join(below)).unwrap();
                    let expected = fs::read(&path).unwrap();
                    assert!(found == expected, "{} after kill {kill}", below.display());
                    bytes += found.len() as u64;
                }
            }
            compared += bytes;
            cached += bytes.saturating_sub(received(&mount) - before);
            mount.unmount();
        }
    }
    println!("{kills} kills, {compared} bytes compared, {cached} of them from the cache, 0 wrong");
    assert!(kills < 5 || cached > 0, "the cache was never used");
}

/// Number of blocks of 64 KiB in a large cache.
const BLOCKS: u64 = 1_000_000;
const BLOCK: u64 = 64 << 10;

/// Maximum memory in KiB of a mount with such a cache.
const MOST_MEMORY: u64 = 200_000;

/// The slots of the blocks are written here, as `src/disk_cache/block.rs` describes them, because
/// reading 64 GiB would take too long.
#[test]
fn a_cache_of_a_million_blocks_costs_little_memory() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let path = server.write("large", []);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(BLOCKS * BLOCK).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(24 * 3600))
        .unwrap();
    let option = format!("cache_dir={}", cache.path().display());
    let first = Mount::with_options(&server, &[&option, "cache_free=0"]);
    let file = File::open(first.join("large")).unwrap();
    file.read_exact_at(&mut vec![0; 100_000], 0).unwrap();
    drop(file);
    let slots = || {
        entries(cache.path())
            .into_iter()
            .find(|path| path.extension().is_some_and(|it| it == "m"))
    };
    assert!(wait_for(Duration::from_secs(30), || slots().is_some()));
    first.unmount();
    let path = slots().unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut nonce = [0; 8];
    file.read_exact_at(&mut nonce, 48).unwrap();
    let zeros = vec![0; BLOCK as usize];
    let mut bytes = Vec::new();
    for index in 0..BLOCKS {
        let seeded = |what: &[&[u8]]| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&nonce);
            hasher.update(&index.to_le_bytes());
            for bytes in what {
                hasher.update(bytes);
            }
            hasher.finalize().to_le_bytes()
        };
        // Only the first blocks are read.
        let sum = if index < 64 {
            seeded(&[&zeros])
        } else {
            [1; 4]
        };
        bytes.extend(sum);
        bytes.extend(seeded(&[b"slot", &sum]));
    }
    let at = file.metadata().unwrap().len() - BLOCKS * 8;
    file.write_all_at(&bytes, at).unwrap();
    let began = Instant::now();
    let second = Mount::with_options(&server, &[&option, "cache_free=0"]);
    let mounted = began.elapsed();
    let before = received(&second);
    let file = File::open(second.join("large")).unwrap();
    let mut found = vec![1; 1 << 20];
    let began = Instant::now();
    file.read_exact_at(&mut found, 0).unwrap();
    println!(
        "mounted in {mounted:?}, first read in {:?}, {} KiB at most",
        began.elapsed(),
        memory(&second)
    );
    assert!(found.iter().all(|byte| *byte == 0));
    assert!(
        received(&second) - before < 100_000,
        "it is read from the cache"
    );
    assert!(memory(&second) < MOST_MEMORY);
}

/// Returns the most memory that the mount has had, in KiB.
fn memory(mount: &Mount) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Returns all files below `directory`.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                entries(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Writes a file whose time is unlike those of all other versions.
fn write(server: &TestServer, number: usize, bytes: &[u8], versions: &mut u64) {
    *versions += 1;
    let path = server.write(number.to_string(), bytes);
    let age = Duration::from_secs(24 * 3600 + *versions * 7);
    set_time(&path, SystemTime::now() - age);
}

fn set_time(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// Returns the bytes that came over data connections, as the mount reports. Its socket opens a
/// moment after the mount.
fn received(mount: &Mount) -> u64 {
    let mut text = String::new();
    wait_for(Duration::from_secs(30), || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
        let output = command
            .args(["status", "--json"])
            .arg(mount.path())
            .output();
        text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.contains("\"bytes_received\":")
    });
    let (_, after) = text.split_once("\"bytes_received\":").expect(&text);
    let digits: String = after
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect(&text)
}

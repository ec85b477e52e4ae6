//! What was read stays on the local disk: the next mount reads it there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::{
    Kind, Mount, Random, TestServer, assert_same_bytes, in_own_namespace, lines, shell, tell_on,
    wait_for,
};

/// Longest that a test waits for what must happen.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// Sizes of files of one block, of exactly one, and of many.
pub(crate) const SIZES: [usize; 5] = [1, 3_000, 65_536, 65_537, 5_000_000];

/// Writes a file that was changed long ago, so that its time tells it from every later one.
pub(crate) fn write_old(server: &TestServer, name: &str, bytes: &[u8], age: Duration) {
    let path = server.write(name, bytes);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

fn option(cache: &Path) -> String {
    format!("cache_dir={}", cache.display())
}

/// Mounts with `cache`, and what else.
pub(crate) fn mount(server: &TestServer, cache: &Path, options: &[&str]) -> Mount {
    let cache = option(cache);
    let options: Vec<&str> = options.iter().copied().chain([cache.as_str()]).collect();
    Mount::with_options(server, &options)
}

/// The files with the contents of remote files.
pub(crate) fn stored(cache: &Path) -> Vec<PathBuf> {
    let found = shell(cache, "find $PWD -path '*/files/*/*' -type f");
    lines(&found).into_iter().map(PathBuf::from).collect()
}

/// A second mount shows what the first one read, although the bytes on the server were replaced
/// without a trace: so it did not fetch them. A change that leaves a trace is seen.
mod a_second_mount_reads_what_the_first_one_read {
    use super::*;

    fn tell(kind: Kind) {
        let server = TestServer::start(kind);
        let cache = TempDir::new().unwrap();
        let mut random = Random::new();
        let name = |size: usize| format!("file {size}");
        let contents = SIZES.map(|size| random.bytes(size));
        for (size, bytes) in SIZES.iter().zip(&contents) {
            write_old(&server, &name(*size), bytes, 400 * DAY);
        }
        let first = mount(&server, cache.path(), &[]);
        for (size, bytes) in SIZES.iter().zip(&contents) {
            assert!(fs::read(first.join(name(*size))).unwrap() == *bytes);
        }
        first.unmount();
        for size in SIZES {
            let path = server.root().join(name(size));
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&random.bytes(size), 0).unwrap();
            file.set_modified(time).unwrap();
        }
        let second = mount(&server, cache.path(), &[]);
        for (size, bytes) in SIZES.iter().zip(&contents) {
            assert!(
                fs::read(second.join(name(*size))).unwrap() == *bytes,
                "{size}"
            );
        }
        second.unmount();
        // The same size, another day.
        for size in SIZES {
            write_old(&server, &name(size), &random.bytes(size), 398 * DAY);
        }
        let third = mount(&server, cache.path(), &[]);
        for size in SIZES {
            assert_same_bytes(third.join(name(size)), server.root().join(name(size)));
        }
    }

    tell_on! { [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd, pure_ftpd PureFtpd] }
}

/// What was changed a moment ago may change again without a trace, so it is not kept.
mod what_changes_is_never_stale {
    use super::*;

    fn tell(kind: Kind) {
        let server = TestServer::start(kind);
        let cache = TempDir::new().unwrap();
        let mut random = Random::new();
        for _ in 0..4 {
            let bytes = random.bytes(200_000);
            server.write("file", &bytes);
            let mounted = mount(&server, cache.path(), &[]);
            assert!(fs::read(mounted.join("file")).unwrap() == bytes);
        }
        assert!(stored(cache.path()).is_empty());
        for round in 0..6 {
            let bytes = random.bytes(200_000);
            write_old(&server, "file", &bytes, DAY * (400 - round));
            let mounted = mount(&server, cache.path(), &["open_ttl=0"]);
            assert!(fs::read(mounted.join("file")).unwrap() == bytes, "{round}");
            // Changed while it is mounted.
            let bytes = random.bytes(200_000);
            write_old(&server, "file", &bytes, DAY * (300 - round));
            assert!(fs::read(mounted.join("file")).unwrap() == bytes, "{round}");
        }
    }

    tell_on! { [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd] }
}

/// The second mount needs the listing, and nothing else.
#[test]
fn a_second_mount_takes_three_round_trips_at_most() {
    let delay = Duration::from_millis(100);
    let server = TestServer::start_with(Kind::Embedded, |options| options.delay = delay);
    let cache = TempDir::new().unwrap();
    // What fits in the queue of the cache is kept, however busy the machine is.
    let bytes = Random::new().bytes(6 << 20);
    write_old(&server, "file", &bytes, DAY);
    let first = mount(&server, cache.path(), &[]);
    assert!(fs::read(first.join("file")).unwrap() == bytes);
    first.unmount();
    let second = mount(&server, cache.path(), &["connections=1"]);
    let embedded = server.embedded().unwrap();
    embedded.clear_commands();
    assert!(fs::read(second.join("file")).unwrap() == bytes);
    let commands = server.commands();
    assert!(embedded.flights().len() <= 3, "{commands:?}");
    assert!(
        !commands.iter().any(|it| it.starts_with("RETR")),
        "{commands:?}"
    );
}

/// Several programs in two mounts that share one cache.
#[test]
fn two_mounts_share_a_cache() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let mut random = Random::new();
    for name in 0..20 {
        let size = random.below(3_000_000);
        write_old(&server, &name.to_string(), &random.bytes(size), DAY);
    }
    let options = ["cache_disk=16M", "cache_free=0"];
    let mounts = [
        mount(&server, cache.path(), &options),
        mount(&server, cache.path(), &options),
    ];
    std::thread::scope(|scope| {
        for mounted in &mounts {
            for offset in [0, 7] {
                let root = server.root();
                scope.spawn(move || {
                    for name in 0..40 {
                        let name = ((name * 3 + offset) % 20).to_string();
                        let found = fs::read(mounted.join(&name)).unwrap();
                        assert!(found == fs::read(root.join(&name)).unwrap(), "{name}");
                    }
                });
            }
        }
    });
}

/// A flipped bit costs a fetch.
#[test]
fn damage_is_fetched_again() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let mut random = Random::new();
    let bytes = random.bytes(3_000_000);
    write_old(&server, "file", &bytes, DAY);
    for round in 0..20 {
        let mounted = mount(&server, cache.path(), &[]);
        assert!(fs::read(mounted.join("file")).unwrap() == bytes, "{round}");
        mounted.unmount();
        let files = stored(cache.path());
        assert!(files.len() >= 2, "{round}");
        for path in files {
            let file = File::options().read(true).write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            if length == 0 {
                continue;
            }
            for _ in 0..random.below(4) {
                let at = random.below(length as usize) as u64;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << random.below(8))], at)
                    .unwrap();
            }
            match random.below(8) {
                0 => file.set_len(random.below(length as usize) as u64).unwrap(),
                1 => {
                    file.set_len(random.below(length as usize) as u64).unwrap();
                    file.set_len(length).unwrap();
                }
                _ => {}
            }
        }
    }
}

/// The mount works at the server's speed where the cache cannot be used.
#[test]
fn a_mount_works_without_its_cache() {
    let server = TestServer::start(Kind::Embedded);
    write_old(&server, "file", b"hello", DAY);
    let cache = TempDir::new().unwrap();
    fs::set_permissions(cache.path(), Permissions::from_mode(0o777)).unwrap();
    let mounted = mount(&server, cache.path(), &[]);
    assert_eq!(fs::read(mounted.join("file")).unwrap(), b"hello");
    let log = mounted.log();
    assert!(log.contains("cannot use the cache in"), "{log}");
    assert!(log.contains("others can write to it"), "{log}");
    assert!(stored(cache.path()).is_empty());
}

/// ftpfs would wait for itself.
#[test]
fn a_cache_inside_the_mountpoint_is_refused() {
    let server = TestServer::start(Kind::Embedded);
    let home = TempDir::new().unwrap();
    let output = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_ftpfs"), "-f", &server.url()])
        .arg(home.path())
        .args(["-o", &option(&home.path().join("below/it"))])
        .env("FTPFS_PASSWORD", server.password())
        .env("XDG_STATE_HOME", "/nonexistent")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("the cache directory"), "{error}");
    assert!(error.contains("is inside the mountpoint"), "{error}");
}

/// A cache on a full disk keeps what fits, and every byte that is read is right.
#[test]
fn a_small_disk_is_filled_and_not_more() {
    let server = TestServer::start(Kind::Embedded);
    let home = TempDir::new().unwrap();
    let mut random = Random::new();
    for name in 0..12 {
        write_old(
            &server,
            &format!("file{name}"),
            &random.bytes(4_000_000),
            DAY,
        );
    }
    let script = "
        mkdir cache mnt
        mount -t tmpfs -o size=16M,mode=700 cache cache
        FTPFS_PASSWORD=$3 \"$1\" \"$2\" mnt -o cache_dir=$PWD/cache,log_file=$PWD/log
        trap 'fusermount3 -u mnt' EXIT
        for round in 1 2 3; do
            for file in mnt/*; do cmp $file $4/${file#mnt/}; done
        done
        # A disk that others filled.
        head -c 20000000 /dev/zero > cache/filler 2>/dev/null || true
        for file in mnt/*; do cmp $file $4/${file#mnt/}; done
    ";
    let url = server.url();
    let arguments = [
        env!("CARGO_BIN_EXE_ftpfs").as_ref(),
        url.as_ref(),
        server.password().as_ref(),
        server.root().as_os_str(),
    ];
    let output = in_own_namespace(home.path(), script, &arguments);
    assert!(output.status.success(), "{output:?}");
}

/// What is kept is for its user alone.
#[test]
fn the_cache_is_private() {
    let server = TestServer::start(Kind::Embedded);
    let home = TempDir::new().unwrap();
    write_old(&server, "small", b"hello", DAY);
    write_old(&server, "large", &vec![7; 200_000], DAY);
    let cache = home.path().join("new/cache");
    let mounted = mount(&server, &cache, &[]);
    fs::read(mounted.join("small")).unwrap();
    fs::read(mounted.join("large")).unwrap();
    mounted.unmount();
    assert_eq!(stored(&cache).len(), 3);
    let open = shell(&cache, "find . -perm /077");
    assert_eq!(lines(&open), Vec::<String>::new());
}

/// The beginning of a large file that a program looked at is kept, too.
#[test]
fn a_part_that_was_read_is_kept() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    write_old(&server, "file", &Random::new().bytes(64 << 20), DAY);
    let first = mount(&server, cache.path(), &[]);
    shell(first.path(), "head -c 1000000 file | sha256sum");
    assert!(wait_for(SOON, || {
        let is_stored = |path: &PathBuf| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(path).is_ok_and(|about| about.blocks() * 512 >= 1_000_000)
        };
        stored(cache.path()).iter().any(is_stored)
    }));
    first.unmount();
    let second = mount(&server, cache.path(), &[]);
    server.embedded().unwrap().clear_commands();
    let file = File::open(second.join("file")).unwrap();
    let mut bytes = vec![0; 500_000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == server.read("file")[..500_000]);
}

/// Runs `ftpfs` with these arguments, and returns what it prints.
pub(crate) fn ftpfs(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `ftpfs warmup` fetches files, too, and then nothing is read from the server.
mod a_warm_up_fetches_the_files {
    use super::*;

    fn tell(kind: Kind) {
        let server = TestServer::start(kind);
        let cache = TempDir::new().unwrap();
        let mut random = Random::new();
        for (number, size) in SIZES.iter().enumerate() {
            let name = format!("tree/{}/file {number}", number % 2);
            write_old(&server, &name, &random.bytes(*size), 400 * DAY);
        }
        server.write("tree/new", b"of today");
        write_old(&server, "other", &random.bytes(1000), 400 * DAY);
        server.hand_over();
        let first = mount(&server, cache.path(), &[]);
        let tree = first.join("tree");
        let words = ftpfs(&["warmup", tree.to_str().unwrap()]);
        assert!(
            words.starts_with("listed 3 directories with 8 names; 5 files with"),
            "{words}"
        );
        first.unmount();
        let count = stored(cache.path()).len();
        assert_eq!(
            count,
            3 + 2 * 2,
            "one file for each small one, two for a large one"
        );
        let second = mount(&server, cache.path(), &[]);
        let tree = second.join("tree");
        for entry in ["0/file 0", "1/file 1", "0/file 2", "1/file 3", "0/file 4"] {
            assert_same_bytes(tree.join(entry), server.root().join("tree").join(entry));
        }
        if kind == Kind::Embedded {
            let commands = server.commands();
            let fetched = commands.iter().filter(|it| it.starts_with("RETR")).count();
            assert_eq!(fetched, SIZES.len(), "{commands:?}");
        }
    }

    tell_on! { [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd] }
}

/// `ftpfs cache` shows, trims and clears, while a mount uses the cache.
#[test]
fn the_cache_is_shown_trimmed_and_cleared() {
    let server = TestServer::start(Kind::Embedded);
    let home = TempDir::new().unwrap();
    let cache = home.path().join("cache");
    let directory = format!("--dir={}", cache.display());
    let cache_command = |arguments: &[&str]| {
        let all: Vec<&str> = ["cache"].iter().chain(arguments).copied().collect();
        ftpfs(&[all.as_slice(), &[directory.as_str()]].concat())
    };
    assert!(cache_command(&[]).starts_with("no caches in "));
    let mut random = Random::new();
    for name in 0..10 {
        write_old(&server, &name.to_string(), &random.bytes(300_000), DAY);
    }
    let mounted = mount(&server, &cache, &[]);
    let read_all = || {
        for name in 0..10 {
            assert_same_bytes(
                mounted.join(name.to_string()),
                server.root().join(name.to_string()),
            );
        }
    };
    read_all();
    assert!(wait_for(SOON, || cache_command(&["show"]).contains(": 10 files, ")));
    assert!(cache_command(&["show", server.user()]).contains("10 files"));
    let refused = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(["cache", "clear", "nobody@nowhere", &directory])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let trimmed = cache_command(&["trim", "--size=1M"]);
    assert!(
        trimmed.contains("removed 7 files") && trimmed.contains("left 3 files"),
        "{trimmed}"
    );
    read_all();
    let cleared = cache_command(&["clear"]);
    assert!(cleared.contains("removed"), "{cleared}");
    read_all();
    mounted.unmount();
    let second = mount(&server, &cache, &[]);
    assert_same_bytes(second.join("3"), server.root().join("3"));
}

/// Reads at random offsets are kept as well.
#[test]
fn random_reads_are_kept() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let mut random = Random::new();
    write_old(&server, "file", &random.bytes(48 << 20), DAY);
    let offsets: Vec<u64> = (0..12).map(|_| random.below(47 << 20) as u64).collect();
    let read_all = |mounted: &Mount| {
        let file = File::open(mounted.join("file")).unwrap();
        let there = File::open(server.root().join("file")).unwrap();
        for offset in &offsets {
            let (mut found, mut expected) = ([0; 3000], [1; 3000]);
            file.read_exact_at(&mut found, *offset).unwrap();
            there.read_exact_at(&mut expected, *offset).unwrap();
            assert_eq!(found, expected);
        }
    };
    // Transfers that were given up are confirmed in the background.
    let is_kept = |mounted: Mount| {
        read_all(&mounted);
        mounted.unmount();
        let mounted = mount(&server, cache.path(), &[]);
        server.embedded().unwrap().clear_commands();
        read_all(&mounted);
        let commands = server.commands();
        mounted.unmount();
        !commands.iter().any(|it| it.starts_with("RETR"))
    };
    assert!(wait_for(SOON, || is_kept(mount(
        &server,
        cache.path(),
        &[]
    ))));
}

//! What was read stays on the local disk: the next mount reads it there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::{
    Kind, Mount, Random, TestServer, assert_same_bytes, in_own_namespace, lines, run, shell,
    tell_on, wait_for,
};

/// Longest that a test waits for what must happen.
const SOON: Duration = Duration::from_secs(30);

/// Sizes of files of one block, of exactly one, and of many.
const SIZES: [usize; 5] = [1, 3_000, 65_536, 65_537, 5_000_000];

/// Writes a file that was changed long ago, so that its time tells it from every later one.
fn write_old(server: &TestServer, name: &str, bytes: &[u8], age: Duration) {
    let path = server.write(name, bytes);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn option(cache: &Path) -> String {
    format!("cache_dir={}", cache.display())
}

/// Mounts with `cache`, and what else.
fn mount(server: &TestServer, cache: &Path, options: &[&str]) -> Mount {
    let cache = option(cache);
    let options: Vec<&str> = options.iter().copied().chain([cache.as_str()]).collect();
    Mount::with_options(server, &options)
}

/// The files with the contents of remote files.
fn stored(cache: &Path) -> Vec<PathBuf> {
    let found = run(&format!(
        "find {} -path '*/files/*/*' -type f",
        cache.display()
    ));
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
            write_old(&server, "file", &bytes, 400 * DAY - round * DAY);
            let mounted = mount(&server, cache.path(), &["open_ttl=0"]);
            assert!(fs::read(mounted.join("file")).unwrap() == bytes, "{round}");
            // Changed while it is mounted.
            let bytes = random.bytes(200_000);
            write_old(&server, "file", &bytes, 300 * DAY - round * DAY);
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
    let bytes = Random::new().bytes(24 << 20);
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

/// Programs at once, in two mounts that share one cache.
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
        assert_eq!(files.len(), 2, "{round}");
        for path in files {
            let file = File::options().read(true).write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
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
    let output = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(["-f", &server.url()])
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
    write_old(&server, "large", &[7; 200_000], DAY);
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

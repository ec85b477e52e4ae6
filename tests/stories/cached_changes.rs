//! What programs change through the mount stays right in the persistent cache: uploads, renames,
//! removals, and changes of large files.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use ftpfs::server::Certificate;
use tempfile::TempDir;

use crate::cached::{DAY, SIZES, SOON, ftpfs, mount, stored, write_old};
use crate::support::{Kind, Mount, Random, TestServer, Tls, shell, tell_on, wait_for};

/// Creates a local file that was changed `days` days ago.
fn local(directory: &Path, name: &str, bytes: &[u8], days: u32) {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - DAY * days).unwrap();
}

/// Returns how often the embedded server has sent a file since `clear_commands`.
fn fetched(server: &TestServer) -> usize {
    let commands = server.commands();
    commands.iter().filter(|it| it.starts_with("RETR")).count()
}

fn forget_commands(server: &TestServer) {
    server.embedded().unwrap().clear_commands();
}

/// Reads every file of `expected` in `mounted`. Returns how many of them were fetched.
fn compare(server: &TestServer, mounted: &Mount, expected: &[(&str, &[u8])]) -> usize {
    forget_commands(server);
    for (name, bytes) in expected {
        assert!(fs::read(mounted.join(name)).unwrap() == *bytes, "{name}");
    }
    fetched(server)
}

/// The bytes on the server are replaced without a trace, so reading the old ones shows where they
/// come from.
mod what_is_copied_with_its_time_is_kept {
    use super::*;

    fn tell(kind: Kind) {
        let server = TestServer::start(kind);
        let (cache, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut random = Random::new();
        let contents = SIZES.map(|size| random.bytes(size));
        let name = |size: usize| format!("file {size}");
        for (size, bytes) in SIZES.iter().zip(&contents) {
            local(home.path(), &name(*size), bytes, 400);
        }
        let first = mount(&server, cache.path(), &[]);
        shell(home.path(), &format!("cp -p * {}", first.path().display()));
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
            let found = fs::read(second.join(name(*size))).unwrap();
            assert!(found == *bytes, "{size}");
        }
        if kind == Kind::Embedded {
            assert_eq!(fetched(&server), 0, "{:?}", server.commands());
        }
    }

    tell_on! { [embedded Embedded, proftpd Proftpd, pure_ftpd PureFtpd] }
}

/// The time that the server gave the file does not tell it from a change a moment later.
#[test]
fn what_was_written_just_now_is_fetched() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let bytes = Random::new().bytes(300_000);
    let first = mount(&server, cache.path(), &[]);
    fs::write(first.join("file"), &bytes).unwrap();
    first.unmount();
    assert!(stored(cache.path()).is_empty());
    let second = mount(&server, cache.path(), &[]);
    assert_ne!(compare(&server, &second, &[("file", &bytes)]), 0);
}

/// What is written with `-o writeback` and uploaded later has the time of the writing.
#[test]
fn what_is_stored_by_writeback_is_kept_if_it_is_old() {
    let server = TestServer::start(Kind::Embedded);
    let (cache, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let bytes = Random::new().bytes(2_000_000);
    local(home.path(), "file", &bytes, 3);
    let first = mount(&server, cache.path(), &["writeback"]);
    shell(
        home.path(),
        &format!("cp -p file {}", first.path().display()),
    );
    first.unmount();
    let second = mount(&server, cache.path(), &[]);
    assert_eq!(compare(&server, &second, &[("file", &bytes)]), 0);
}

/// A file that is written again after a close, or while it is stored, never mixes in the cache.
#[test]
fn a_file_that_is_changed_again_is_what_was_written_last() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let mut random = Random::new();
    let mut expected = Vec::new();
    let first = mount(&server, cache.path(), &[]);
    let time = SystemTime::now() - DAY * 50;
    for round in 0..12 {
        let name = format!("file {round}");
        let size = 1 + random.below(3_000_000);
        let mut bytes = random.bytes(size);
        let mut file = File::create(first.join(&name)).unwrap();
        file.write_all(&bytes).unwrap();
        for _ in 0..random.below(4) {
            file.set_modified(time).unwrap();
            file.sync_all().unwrap();
            let at = random.below(bytes.len());
            let length = (bytes.len() - at).min(100_000);
            let piece = random.bytes(length);
            file.write_all_at(&piece, at as u64).unwrap();
            bytes[at..at + piece.len()].copy_from_slice(&piece);
        }
        file.set_modified(time).unwrap();
        drop(file);
        expected.push((name, bytes));
    }
    first.unmount();
    let second = mount(&server, cache.path(), &[]);
    for (name, bytes) in &expected {
        assert!(fs::read(second.join(name)).unwrap() == *bytes, "{name}");
    }
}

/// Files of the same size and time, so that only the mount knows that they are others.
#[test]
fn a_file_that_is_replaced_is_not_answered_with_the_old_bytes() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        // The facts of these tell two files apart.
        options.disabled.extend(["MLSD", "MLST"].map(str::to_owned));
    });
    let (cache, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut random = Random::new();
    let time = SystemTime::now() - DAY * 100;
    for size in [3_000, 300_000] {
        let [old, new, other] = [(); 3].map(|()| random.bytes(size));
        for (name, bytes) in [("a", &old), ("b", &other)] {
            let path = server.write(name, bytes);
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        }
        local(home.path(), "a", &new, 0);
        let file = File::options().write(true).open(home.path().join("a"));
        file.unwrap().set_modified(time).unwrap();
        // A kill right after the change must not bring the old bytes back.
        for is_killed in [false, true] {
            let first = mount(&server, cache.path(), &["dir_ttl=0"]);
            assert!(fs::read(first.join("b")).unwrap() == if is_killed { &*new } else { &*other });
            assert!(wait_for(SOON, || !stored(cache.path()).is_empty()));
            let source = if is_killed {
                fs::write(server.root().join("c"), &old).unwrap();
                let file = File::options().write(true).open(server.root().join("c"));
                file.unwrap().set_modified(time).unwrap();
                "mv c b"
            } else {
                "cp -p \"$OLDPWD/a\" b"
            };
            let script = format!("cd {} && {source}", first.path().display());
            shell(home.path(), &script);
            let expected = if is_killed { &old } else { &new };
            if is_killed {
                first.kill_nine();
            } else {
                assert!(fs::read(first.join("b")).unwrap() == *expected);
                first.unmount();
            }
            let second = mount(&server, cache.path(), &[]);
            assert!(fs::read(second.join("b")).unwrap() == *expected, "{size}");
            second.unmount();
        }
        fs::remove_file(server.root().join("b")).unwrap();
    }
}

/// The cache follows the files of a directory that is renamed, and files that are.
mod what_is_renamed_stays_in_the_cache {
    use super::*;

    const NAMES: [&str; 5] = [
        "small",
        "large",
        "tree/one",
        "tree/deep/two",
        "tree/deep/three",
    ];

    #[test]
    fn embedded() {
        let server = TestServer::start(Kind::Embedded);
        let cache = TempDir::new().unwrap();
        let mut random = Random::new();
        let contents = [100, 900_000, 5_000, 65_537, 65_536].map(|size| random.bytes(size));
        for (name, bytes) in NAMES.iter().zip(&contents) {
            write_old(&server, name, bytes, DAY * 30);
        }
        // An entry of the directory that the new one takes the name of.
        write_old(&server, "moved/deep/two", &random.bytes(65_537), DAY * 30);
        let first = mount(&server, cache.path(), &[]);
        for (name, bytes) in NAMES.iter().zip(&contents) {
            assert!(fs::read(first.join(name)).unwrap() == *bytes);
        }
        fs::read(first.join("moved/deep/two")).unwrap();
        assert!(wait_for(SOON, || stored(cache.path()).len() == 3 + 3 * 2));
        shell(
            first.path(),
            "rm -r moved; mv small tiny; mv large tree/big; mv tree moved",
        );
        let names = [
            "tiny",
            "moved/big",
            "moved/one",
            "moved/deep/two",
            "moved/deep/three",
        ];
        let contents = contents.iter().map(Vec::as_slice);
        let expected: Vec<_> = names.into_iter().zip(contents).collect();
        assert_eq!(compare(&server, &first, &expected), 0);
        first.unmount();
        assert_eq!(stored(cache.path()).len(), 3 + 2 * 2);
        let second = mount(&server, cache.path(), &[]);
        assert_eq!(compare(&server, &second, &expected), 0);
    }
}

#[test]
fn what_is_removed_leaves_the_cache() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    for (name, size) in [("small", 10), ("large", 900_000), ("kept", 20)] {
        write_old(&server, name, &Random::new().bytes(size), DAY * 30);
    }
    let mounted = mount(&server, cache.path(), &[]);
    for name in ["small", "large", "kept"] {
        fs::read(mounted.join(name)).unwrap();
    }
    assert!(wait_for(SOON, || stored(cache.path()).len() == 4));
    fs::remove_file(mounted.join("small")).unwrap();
    // A program still reads this one.
    let open = File::open(mounted.join("large")).unwrap();
    fs::remove_file(mounted.join("large")).unwrap();
    let mut bytes = vec![0; 900_000];
    open.read_exact_at(&mut bytes, 0).unwrap();
    drop(open);
    assert!(wait_for(SOON, || stored(cache.path()).len() == 1));
}

/// Listings count, are shown, and go with the rest.
#[test]
fn listings_are_counted_and_trimmed() {
    let server = TestServer::start(Kind::Embedded);
    let home = TempDir::new().unwrap();
    let cache = home.path().join("cache");
    let directory = format!("--dir={}", cache.display());
    for number in 0..20 {
        for name in 0..100 {
            let name = format!("dir{number}/{name}{}", "x".repeat(100));
            fs::create_dir_all(server.root().join(format!("dir{number}"))).unwrap();
            fs::write(server.root().join(name), "").unwrap();
        }
    }
    let mounted = mount(&server, &cache, &[]);
    shell(mounted.path(), "find . | wc -l");
    mounted.unmount();
    let shown = ftpfs(&["cache", "show", &directory]);
    assert!(shown.contains("0 files, 21 listings, "), "{shown}");
    let trimmed = ftpfs(&["cache", "trim", "--size=100K", &directory]);
    assert!(trimmed.contains("removed 0 files, "), "{trimmed}");
    let left = ftpfs(&["cache", "show", &directory]);
    assert!(
        !left.contains(" 21 listings") && !left.contains(" 0 listings"),
        "{left}"
    );
    let cleared = ftpfs(&["cache", "clear", &directory]);
    assert!(cleared.contains(" listings, "), "{cleared}");
    let left = ftpfs(&["cache", "show", &directory]);
    assert!(left.contains("0 files, 0 listings, "), "{left}");
}

/// A program that changes a part of a large file needs the rest of it.
#[test]
fn a_change_of_a_cached_file_fetches_nothing() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let mut random = Random::new();
    let mut bytes = random.bytes(5_000_000);
    write_old(&server, "file", &bytes, DAY * 30);
    let first = mount(&server, cache.path(), &[]);
    assert!(fs::read(first.join("file")).unwrap() == bytes);
    first.unmount();
    let second = mount(&server, cache.path(), &[]);
    let change = |mounted: &Mount, bytes: &mut [u8], at: usize| {
        forget_commands(&server);
        let file = File::options().write(true).open(mounted.join("file"));
        file.unwrap().write_all_at(b"changed", at as u64).unwrap();
        bytes[at..at + 7].copy_from_slice(b"changed");
        fetched(&server)
    };
    assert_eq!(change(&second, &mut bytes, 1_000_000), 0);
    assert!(server.read("file") == bytes);
    second.unmount();
    // Another client replaces it after the mount has looked.
    write_old(&server, "file", &bytes, DAY * 30);
    let third = mount(&server, cache.path(), &["open_ttl=60", "dir_ttl=60"]);
    assert!(fs::read(third.join("file")).unwrap() == bytes);
    let mut bytes = random.bytes(5_000_000);
    write_old(&server, "file", &bytes, DAY * 20);
    assert_ne!(change(&third, &mut bytes, 2_000_000), 0);
    assert!(
        server.read("file") == bytes,
        "the other client's change is lost"
    );
}

/// The address belongs to another server now, which has files of the same names, sizes and times,
/// as far as it says.
#[test]
fn another_server_at_the_address_is_not_answered_for() {
    let server = TestServer::start_tls_with(Tls::REQUIRED, |options| {
        let exact = ["MLSD", "MLST", "MDTM"];
        options.disabled.extend(exact.map(str::to_owned));
    });
    let cache = TempDir::new().unwrap();
    let mut random = Random::new();
    let option = format!("cache_dir={}", cache.path().display());
    let mount = || {
        let options = ["insecure", option.as_str()];
        Mount::of_url(&server.url(), server.password(), &options)
    };
    let time = SystemTime::now() - DAY * 400;
    let replace = |name: &str, bytes: &[u8]| {
        let path = server.write(name, bytes);
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    for name in ["small", "large"] {
        let size = if name == "small" { 3_000 } else { 400_000 };
        replace(name, &random.bytes(size));
    }
    let first = mount();
    let old = ["small", "large"].map(|name| fs::read(first.join(name)).unwrap());
    first.unmount();
    assert_eq!(stored(cache.path()).len(), 3);
    // The same server after a restart.
    server.kill();
    server.start_again();
    let second = mount();
    assert!(fs::read(second.join("large")).unwrap() == old[1]);
    assert_eq!(fetched(&server), 0);
    second.unmount();
    for (name, old) in ["small", "large"].iter().zip(&old) {
        replace(name, &random.bytes(old.len()));
    }
    let other = Ipv4Addr::LOCALHOST.into();
    server.change_certificate(Certificate::made_for(other).unwrap());
    let third = mount();
    for name in ["small", "large"] {
        assert!(
            fs::read(third.join(name)).unwrap() == server.read(name),
            "{name}"
        );
    }
    let log = third.log();
    assert_eq!(
        log.matches("another server than before").count(),
        1,
        "{log}"
    );
    third.unmount();
    // Once it is known, it is the server.
    let fourth = mount();
    assert!(fs::read(fourth.join("large")).unwrap() == server.read("large"));
    assert!(!fourth.log().contains("another server than before"));
}

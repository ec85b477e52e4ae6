//! Creating, renaming and deleting; times and modes; a server that allows none of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::client::{Served, names};

#[test]
fn directories_are_made_entered_and_removed() {
    for served in Served::on_both_families() {
        let mut client = served.client();
        assert_eq!(client.expect("MKD one", 257), "\"/one\" created");
        client.expect("CWD one", 250);
        assert_eq!(client.expect("XMKD /one/two", 257), "\"/one/two\" created");
        client.expect("XCWD two", 250);
        assert_eq!(
            client.expect("XPWD", 257),
            "\"/one/two\" is the working directory"
        );
        client.expect("CDUP", 250);
        assert_eq!(client.expect("RMD /one", 550), "Directory not empty");
        client.expect("RMD two", 250);
        client.expect("XCUP", 250);
        client.expect("XRMD one", 250);
        assert!(names(&served.path("")).is_empty());
    }
}

#[test]
fn a_refusal_says_why() {
    let served = Served::start();
    served.write("file", "x");
    std::fs::create_dir(served.path("directory")).unwrap();
    let mut client = served.client();
    for (line, reason) in [
        ("MKD file", "File exists"),
        ("MKD directory", "File exists"),
        ("MKD missing/new", "No such file or directory"),
        ("MKD /", "File exists"),
        ("RMD missing", "No such file or directory"),
        ("RMD file", "Not a directory"),
        ("RMD /", "Permission denied: the root stays"),
        ("DELE missing", "No such file or directory"),
        ("DELE directory", "Is a directory"),
        ("CWD missing", "No such file or directory"),
        ("CWD file", "Not a directory"),
        ("RNFR missing", "No such file or directory"),
        ("MDTM missing", "No such file or directory"),
        ("MLSD file", "Not a directory"),
        ("MLST missing", "No such file or directory"),
        ("SITE CHMOD 644 missing", "No such file or directory"),
        ("MFMT 20200101000000 missing", "No such file or directory"),
    ] {
        assert_eq!(client.expect(line, 550), reason, "{line}");
    }
    let long = "x".repeat(256);
    assert_eq!(
        client.expect(format!("MKD {long}"), 553),
        "File name too long"
    );
    client.expect(b"MKD a\0b", 553);
    client.expect(b"MKD a\rb", 553);
}

#[test]
fn renaming_moves_files_and_directories_and_replaces_a_file() {
    let served = Served::start();
    served.write("new", "new");
    served.write("old", "old");
    std::fs::create_dir_all(served.path("full/inner")).unwrap();
    let mut client = served.client();
    client.expect("RNFR new", 350);
    client.expect("RNTO old", 250);
    assert_eq!(served.read("old"), b"new");
    client.expect("RNFR old", 350);
    client.expect("RNTO full/moved", 250);
    client.expect("MKD empty", 257);
    client.expect("RNFR empty", 350);
    assert_eq!(client.expect("RNTO full", 550), "Directory not empty");
    client.expect("RNFR full", 350);
    client.expect("RNTO empty", 250);
    assert_eq!(names(&served.path("")), ["empty"]);
    assert_eq!(names(&served.path("empty")), ["inner", "moved"]);
}

#[test]
fn rnto_must_follow_rnfr_at_once() {
    let served = Served::start();
    served.write("file", "x");
    let mut client = served.client();
    client.expect("RNTO other", 503);
    client.expect("RNFR file", 350);
    client.expect("NOOP", 200);
    client.expect("RNTO other", 503);
    assert_eq!(names(&served.path("")), ["file"]);
}

#[test]
fn times_are_told_and_set_in_utc() {
    let served = Served::start();
    served.write("a file", "x");
    let mut client = served.client();
    assert_eq!(
        client.expect("MFMT 20200229123456 a file", 213),
        "Modify=20200229123456; a file"
    );
    assert_eq!(
        std::fs::metadata(served.path("a file")).unwrap().mtime(),
        1_582_979_696
    );
    assert_eq!(client.expect("MDTM a file", 213), "20200229123456");
    client.expect("SITE UTIME 199912312359 a file", 200);
    assert_eq!(client.expect("MDTM a file", 213), "19991231235900");
    for bad in [
        "MFMT",
        "MFMT 20200229123456",
        "MFMT now a file",
        "SITE UTIME x a file",
    ] {
        client.expect(bad, 501);
    }
    client.expect("SITE NONSENSE", 500);
}

#[test]
fn modes_are_set_in_octal() {
    let served = Served::start();
    served.write("a file", "x");
    let mode = || {
        std::fs::metadata(served.path("a file"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    let mut client = served.client();
    client.expect("SITE CHMOD 600 a file", 200);
    assert_eq!(mode(), 0o600);
    client.expect("site chmod 0000 a file", 200);
    assert_eq!(mode(), 0);
    client.expect("SITE CHMOD 755 a file", 200);
    assert_eq!(mode(), 0o755);
    for bad in [
        "SITE CHMOD 888 a file",
        "SITE CHMOD 77777 a file",
        "SITE CHMOD 644",
    ] {
        client.expect(bad, 501);
    }
}

#[test]
fn a_read_only_server_shows_everything_and_changes_nothing() {
    let served = Served::with(|options| options.read_only = true);
    served.write("file", "kept");
    std::fs::create_dir(served.path("directory")).unwrap();
    let mut client = served.client();
    for line in [
        "STOR file",
        "STOR new",
        "APPE file",
        "DELE file",
        "MKD new",
        "RMD directory",
        "RNFR file",
        "RNTO new",
        "MFMT 20200101000000 file",
        "SITE CHMOD 777 file",
        "SITE UTIME 202001010000 file",
    ] {
        assert_eq!(
            client.expect(line, 550),
            "Permission denied: read-only",
            "{line}"
        );
    }
    assert_eq!(client.receive("RETR file").0, b"kept");
    let facts = client.lines("MLSD");
    assert!(
        facts
            .iter()
            .any(|line| line.contains("perm=r;") && line.ends_with(" file")),
        "{facts:?}"
    );
    assert_eq!(names(&served.path("")), ["directory", "file"]);
}

#[test]
fn free_space_is_told() {
    let served = Served::start();
    let bytes: u64 = served.client().expect("AVBL /", 213).parse().unwrap();
    assert!(bytes > 0);
}

//! Access by curl, a client that was not written for this server.

use std::path::Path;
use std::process::{Command, Output};

use ftpfs::server::Access;

use crate::client::{Served, names, pattern};

fn run(served: &Served, path: &str, arguments: &[&str]) -> Output {
    let url = format!("ftp://{}/{path}", served.server.address());
    Command::new("curl")
        .args(["--silent", "--show-error", "--globoff", "--max-time", "60"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl is installed")
}

/// Runs curl, which must succeed; returns its output.
#[track_caller]
fn curl(served: &Served, path: &str, arguments: &[&str]) -> Vec<u8> {
    let output = run(served, path, arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn local(served: &Served, contents: &[u8]) -> String {
    let path = served.outside("local");
    std::fs::write(&path, contents).unwrap();
    as_text(&path)
}

fn as_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn curl_downloads_uploads_appends_and_resumes() {
    for served in Served::on_both_families() {
        let contents = pattern(2_000_000);
        let file = local(&served, &contents);
        curl(&served, "file", &["--upload-file", &file]);
        assert!(served.read("file") == contents);
        assert!(curl(&served, "file", &[]) == contents);
        assert!(curl(&served, "file", &["--range", "1000-1999"]) == contents[1000..2000]);
        assert!(curl(&served, "file", &["--continue-at", "1999990"]) == contents[1_999_990..]);
        served.write("file", &contents[..500_000]);
        curl(
            &served,
            "file",
            &["--upload-file", &file, "--continue-at", "-"],
        );
        assert!(served.read("file") == contents);
        curl(&served, "file", &["--upload-file", &file, "--append"]);
        assert_eq!(served.read("file").len(), 4_000_000);
    }
}

#[test]
fn curl_works_through_every_way_to_open_a_data_connection() {
    for served in Served::on_both_families() {
        served.write("file", "over here");
        for way in [
            &["--ftp-port", "-"][..],
            &["--ftp-port", "-", "--disable-eprt"],
            &["--disable-epsv"],
            &["--ftp-pasv"],
        ] {
            let six = served.server.address().is_ipv6();
            if six && (way.contains(&"--disable-eprt") || way.contains(&"--disable-epsv")) {
                // PORT and PASV cannot represent an IPv6 address; curl itself then uses the
                // extended commands.
                continue;
            }
            assert_eq!(curl(&served, "file", way), b"over here", "{way:?}");
        }
    }
}

#[test]
fn curl_makes_renames_and_deletes() {
    let served = Served::start();
    let file = local(&served, b"x");
    curl(
        &served,
        "new/deep/file",
        &["--upload-file", &file, "--ftp-create-dirs"],
    );
    curl(
        &served,
        "",
        &[
            "--list-only",
            "--quote",
            "RNFR new/deep/file",
            "--quote",
            "RNTO other",
        ],
    );
    assert_eq!(names(&served.path("")), ["new", "other"]);
    curl(
        &served,
        "",
        &[
            "--quote",
            "DELE other",
            "--quote",
            "RMD new/deep",
            "--quote",
            "RMD new",
        ],
    );
    assert!(names(&served.path("")).is_empty());
}

#[test]
fn curl_lists_and_finds_odd_names() {
    let served = Served::start();
    for name in [
        "two words",
        "[a]*?",
        "-dash",
        "back\\slash",
        "größe",
        "qu\"ote",
    ] {
        served.write(name, name);
    }
    let listing = String::from_utf8(curl(&served, "", &["--list-only"])).unwrap();
    let mut listed: Vec<&str> = listing.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, names(&served.path("")));
    for (escaped, name) in [
        ("two%20words", "two words"),
        ("%5Ba%5D%2A%3F", "[a]*?"),
        ("-dash", "-dash"),
        ("back%5Cslash", "back\\slash"),
        ("gr%C3%B6%C3%9Fe", "größe"),
        ("qu%22ote", "qu\"ote"),
    ] {
        assert_eq!(curl(&served, escaped, &[]), name.as_bytes());
    }
}

#[test]
fn curl_is_told_what_goes_wrong() {
    let served = Served::with(|options| {
        options.access = Access::Account {
            user: "joe".into(),
            password: "secret".into(),
        };
        options.read_only = true;
    });
    served.write("file", "x");
    let file = local(&served, b"changed");
    assert_eq!(curl(&served, "file", &["--user", "joe:secret"]), b"x");
    // curl's exit codes: 67 login denied, 78 no such file, 25 upload refused.
    assert_eq!(
        run(&served, "file", &["--user", "joe:wrong"]).status.code(),
        Some(67)
    );
    assert_eq!(
        run(&served, "missing", &["--user", "joe:secret"])
            .status
            .code(),
        Some(78)
    );
    let refused = run(
        &served,
        "file",
        &["--user", "joe:secret", "--upload-file", &file],
    );
    assert_eq!(refused.status.code(), Some(25));
    assert_eq!(served.read("file"), b"x");
}

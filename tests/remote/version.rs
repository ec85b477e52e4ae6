//! The current version of a file as reported by the server, and whether it matches the listing.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use ftpfs::ftp::{Password, Precision, Version};
use ftpfs::testing::remote::{ErrorKind, Remote};

use crate::servers::{Kind, TestServer};
use crate::support::{Site, connect, path, pool_options};

/// Connects a client to any server.
fn client(server: &TestServer) -> Remote {
    let mut pool = pool_options();
    pool.connect.host = Ipv4Addr::LOCALHOST.to_string();
    pool.connect.port = server.port();
    server.user().clone_into(&mut pool.connect.user);
    pool.connect.password = Password::new(server.password());
    connect(pool).unwrap()
}

fn set_time(file: &std::path::Path, time: SystemTime) {
    let file = File::options().append(true).open(file).unwrap();
    file.set_modified(time).unwrap();
}

/// A listed file matches the current file until it is changed, on every server and with whatever
/// information it provides.
fn listed_and_asked_agree_until_a_change(kind: Kind) {
    let server = TestServer::start(kind);
    let file = server.write("dir/file", "old content");
    let other = server.write("dir/other", "another");
    let long_ago = SystemTime::now() - Duration::from_secs(400 * 24 * 3600);
    set_time(&other, long_ago);
    let remote = client(&server);

    let listed = remote.list(&path("/dir")).unwrap().entries;
    for entry in &listed {
        let at = path("/dir").join(&entry.name).unwrap();
        let asked = remote.version(&at).unwrap();
        assert!(asked.agrees(&Version::from(entry)), "{entry:?}: {asked:?}");
        assert!(
            asked.size.is_some() && asked.modified.is_some(),
            "{asked:?}"
        );
        assert_eq!(asked, remote.version(&at).unwrap());
    }
    let before = remote.version(&path("/dir/file")).unwrap();

    fs::write(&file, "new content").unwrap();
    set_time(&file, SystemTime::now() + Duration::from_secs(120));
    let touched = remote.version(&path("/dir/file")).unwrap();
    assert!(!touched.agrees(&before), "same size, another time");

    fs::write(&file, "longer than before").unwrap();
    let longer = remote.version(&path("/dir/file")).unwrap();
    assert_eq!(longer.size, Some(18));
    fs::remove_file(&file).unwrap();
    let gone = remote.version(&path("/dir/file")).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound, "{gone}");
    let gone = remote.version(&path("/none/file")).unwrap_err();
    assert!(
        matches!(gone.kind, ErrorKind::NotFound | ErrorKind::NotDirectory),
        "{gone}"
    );
}

#[test]
fn listed_and_asked_agree_until_a_change_on_the_embedded_server() {
    listed_and_asked_agree_until_a_change(Kind::Embedded);
}

#[test]
fn listed_and_asked_agree_until_a_change_on_vsftpd() {
    listed_and_asked_agree_until_a_change(Kind::Vsftpd);
}

#[test]
fn listed_and_asked_agree_until_a_change_on_proftpd() {
    listed_and_asked_agree_until_a_change(Kind::Proftpd);
}

#[test]
fn listed_and_asked_agree_until_a_change_on_pure_ftpd() {
    listed_and_asked_agree_until_a_change(Kind::PureFtpd);
}

#[test]
fn listed_and_asked_agree_until_a_change_on_pyftpdlib() {
    listed_and_asked_agree_until_a_change(Kind::Pyftpdlib);
}

/// The remaining commands replace the missing ones, without a data connection as long as any is
/// left.
#[test]
fn a_version_is_one_question_with_what_the_server_has() {
    for (disabled, verbs) in [
        (&[] as &[&str], &["MLST"] as &[&str]),
        (&["MLST"], &["SIZE", "MDTM"]),
        (&["MLST", "MDTM"], &["SIZE"]),
        (&["MLST", "SIZE"], &["MDTM"]),
    ] {
        let site = Site::without(disabled);
        site.put("file", b"12345");
        let version = site.remote.version(&path("/file")).unwrap();
        assert_eq!(site.verbs(), verbs);
        let has = |verb: &str| !disabled.contains(&"MLST") || !disabled.contains(&verb);
        assert_eq!(version.size, has("SIZE").then_some(5));
        assert_eq!(version.modified.is_some(), has("MDTM"));
        let entry = site.remote.stat(&path("/file")).unwrap();
        assert!(version.agrees(&Version::from(&entry)));
    }
}

/// A server that has none of the commands still has its listings.
#[test]
fn a_version_is_listed_where_it_cannot_be_asked_for() {
    let site = Site::without(&["MLST", "MLSD", "SIZE", "MDTM"]);
    site.put("file", b"12345");
    let version = site.remote.version(&path("/file")).unwrap();
    assert_eq!(version.size, Some(5));
    assert_eq!(version.modified.unwrap().1, Precision::Minute);
    let gone = site.remote.version(&path("/none")).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
}

//! Regressions: former bugs that must not return.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};

/// A server may perform a change and then refuse it: the change is reported as done, and the cached
/// names are looked up again.
#[test]
fn a_change_that_was_refused_and_made_shows_no_mixture() {
    let server = TestServer::start(Kind::Embedded);
    let (short, long) = (vec![b's'; 1000], vec![b'l'; 3000]);
    server.write("short", &short);
    server.write("long", &long);
    server.write("stored", &short);
    let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600", "open_ttl=600"]);
    for name in ["short", "long", "stored"] {
        fs::read(mount.join(name)).unwrap();
    }
    let refuse = || {
        let text = "not now".to_owned();
        let refused = Misdeed::DoneThenRefuse { code: 451, text };
        let embedded = server.embedded().unwrap();
        embedded.faults().add(Fault::on("RNTO", refused));
    };
    refuse();
    fs::rename(mount.join("long"), mount.join("short")).unwrap();
    assert!(fs::read(mount.join("short")).unwrap() == long);
    let gone = fs::metadata(mount.join("long")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);

    refuse();
    let file = File::create(mount.join("stored")).unwrap();
    (&file).write_all(&long).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert!(fs::read(mount.join("stored")).unwrap() == long);
}

stories! {
    /// A directory is renamed while a large file in it is being uploaded.
    fn a_directory_renamed_under_an_upload_keeps_the_file(server: &TestServer, mount: &Mount) {
        fs::create_dir(mount.join("d")).unwrap();
        let mut file = File::create(mount.join("d/big")).unwrap();
        file.write_all(&vec![b'a'; 16 << 20]).unwrap();
        let begun = || fs::read_dir(server.root().join("d")).unwrap().count() > 0;
        assert!(wait_for(Duration::from_secs(20), begun), "no upload was begun early");
        fs::rename(mount.join("d"), mount.join("e")).unwrap();
        file.write_all(&vec![b'b'; 4 << 20]).unwrap();
        file.sync_all().unwrap();
        drop(file);
        let stored = server.read("e/big");
        assert!(stored.len() == 20 << 20 && stored.ends_with(b"b"), "{} bytes", stored.len());
        assert_eq!(fs::read_dir(server.root().join("e")).unwrap().count(), 1);
    }

    /// A mode that was changed while the file is open survives the next upload of the file.
    fn a_chmod_outlives_the_next_write(server: &TestServer, mount: &Mount) {
        server.write("f", "before");
        server.hand_over();
        let mut file = OpenOptions::new().read(true).write(true).open(mount.join("f")).unwrap();
        fs::set_permissions(mount.join("f"), Permissions::from_mode(0o755)).unwrap();
        file.write_all(b"after!").unwrap();
        file.sync_all().unwrap();
        drop(file);
        let there = fs::metadata(server.root().join("f")).unwrap();
        assert_eq!(there.mode() & 0o777, 0o755);
        assert_eq!(server.read("f"), b"after!");
    }
}

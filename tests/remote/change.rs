//! Creating and removing directories, deleting and renaming files, setting times and modes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use ftpfs::testing::remote::ErrorKind;

use crate::support::{Site, path};

const NEW_AND_OLD: [&[&str]; 2] = [&[], &["MLSD", "MLST"]];

#[test]
fn directories_are_made_and_removed() {
    for disabled in NEW_AND_OLD {
        let site = Site::without(disabled);
        let make = |name: &str| site.remote.make_directory(&path(name)).map_err(|e| e.kind);
        let remove = |name: &str| {
            site.remote
                .remove_directory(&path(name))
                .map_err(|e| e.kind)
        };
        assert_eq!(make("/dir"), Ok(()));
        assert!(site.local("dir").is_dir());
        assert_eq!(make("/dir"), Err(ErrorKind::AlreadyExists));
        assert_eq!(make("/none/dir"), Err(ErrorKind::NotFound));

        site.put("dir/file", b"x");
        assert_eq!(remove("/dir"), Err(ErrorKind::NotEmpty));
        assert_eq!(remove("/dir/file"), Err(ErrorKind::NotDirectory));
        assert_eq!(remove("/none"), Err(ErrorKind::NotFound));
        fs::remove_file(site.local("dir/file")).unwrap();
        assert_eq!(remove("/dir"), Ok(()));
        assert!(!site.local("dir").exists());
    }
}

#[test]
fn a_directory_with_nothing_but_our_unfinished_upload_is_empty() {
    let site = Site::new();
    site.make("dir");
    let upload = site.remote.upload(&path("/dir/file")).unwrap();
    assert_eq!(site.names("dir").len(), 1, "the upload is under way");
    site.remote.remove_directory(&path("/dir")).unwrap();
    assert!(!site.local("dir").exists());
    drop(upload);
}

#[test]
fn anothers_unfinished_upload_is_not_ours_to_remove() {
    let site = Site::new();
    site.make("dir");
    let theirs = "dir/.ftpfs-0123456789abcdef.part";
    site.put(theirs, b"x");
    assert_eq!(site.remote.list(&path("/dir")).unwrap().entries, []);
    let removed = site.remote.remove_directory(&path("/dir"));
    assert_eq!(removed.unwrap_err().kind, ErrorKind::NotEmpty);
    assert_eq!(site.content(theirs), b"x");
}

#[test]
fn files_are_deleted() {
    for disabled in NEW_AND_OLD {
        let site = Site::without(disabled);
        site.make("dir");
        site.put("file", b"x");
        let delete = |name: &str| site.remote.delete(&path(name)).map_err(|e| e.kind);
        assert_eq!(delete("/file"), Ok(()));
        assert!(!site.local("file").exists());
        assert_eq!(delete("/file"), Err(ErrorKind::NotFound));
        assert_eq!(delete("/dir"), Err(ErrorKind::IsDirectory));
    }
}

#[test]
fn renaming_replaces_and_refuses_as_rename_does() {
    for disabled in NEW_AND_OLD {
        let site = Site::without(disabled);
        site.make("empty");
        site.make("filled/sub");
        site.put("a", b"a");
        site.put("b", b"b");
        let rename = |from: &str, to: &str| {
            let renamed = site.remote.rename(&path(from), &path(to));
            renamed.map_err(|error| error.kind)
        };
        assert_eq!(rename("/a", "/b"), Ok(()));
        assert_eq!(site.content("b"), b"a");
        assert_eq!(rename("/filled", "/moved"), Ok(()));
        assert_eq!(rename("/b", "/moved/sub/b"), Ok(()));
        assert_eq!(site.content("moved/sub/b"), b"a");

        assert_eq!(rename("/none", "/x"), Err(ErrorKind::NotFound));
        assert_eq!(rename("/moved/sub/b", "/none/x"), Err(ErrorKind::NotFound));
        assert_eq!(rename("/empty", "/moved"), Err(ErrorKind::NotEmpty));
        assert_eq!(
            rename("/moved/sub/b", "/empty"),
            Err(ErrorKind::IsDirectory)
        );
        assert_eq!(
            rename("/empty", "/moved/sub/b"),
            Err(ErrorKind::NotDirectory)
        );
    }
}

#[test]
fn times_and_modes_are_set() {
    let site = Site::new();
    site.put("file", b"x");
    site.remote
        .set_modified(&path("/file"), 1_500_000_000)
        .unwrap();
    site.remote.set_mode(&path("/file"), 0o600).unwrap();
    let file = fs::metadata(site.local("file")).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    assert_eq!(file.modified().unwrap(), modified);
    assert_eq!(file.permissions().mode() & 0o7777, 0o600);
    assert_eq!(site.verbs(), ["MFMT", "SITE"]);

    let error = site.remote.set_modified(&path("/none"), 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let error = site.remote.set_mode(&path("/none"), 0o600).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

#[test]
fn what_no_command_can_set_is_refused_honestly_and_asked_once() {
    let site = Site::without(&["MFMT", "MFF", "MDTM", "SITE UTIME", "SITE CHMOD"]);
    site.put("file", b"x");
    for _ in 0..2 {
        let error = site.remote.set_modified(&path("/file"), 1).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        let error = site.remote.set_mode(&path("/file"), 0o600).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    }
    assert_eq!(site.verbs(), ["SITE", "SITE"]);
}

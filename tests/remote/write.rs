//! Uploads: atomic, verified, and without a trace when they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ftpfs::ftp::Capability;
use ftpfs::server::{Fault, Misdeed};
use ftpfs::testing::remote::{Atomic, CommitOptions, ErrorKind};
use ftpfs::testing::{Journal, StateDir};

use crate::support::{Site, connect_with, path, pattern, pool_options, spool, wait_for};

fn refusal(code: u16, text: &str) -> Misdeed {
    Misdeed::Refuse {
        code,
        text: text.to_owned(),
    }
}

#[test]
fn a_stored_file_is_the_file_that_was_sent() {
    for disabled in [
        &[] as &[&str],
        &["SIZE"],
        &["EPSV"],
        &["MLSD", "MLST", "SIZE"],
    ] {
        let site = Site::without(disabled);
        for length in [0, 1, 300_000] {
            let content = pattern(length);
            site.store("/file", &content).unwrap();
            assert!(site.content("file") == content, "{disabled:?} {length}");
        }
        assert_eq!(site.names(""), ["file"], "no temporary name is left");
        site.assert_few_sessions();
    }
}

#[test]
fn storing_costs_four_commands() {
    let site = Site::new();
    site.store("/file", b"content").unwrap();
    assert_eq!(site.verbs(), ["STOR", "MLST", "RNFR", "RNTO"]);
}

#[test]
fn the_old_file_is_whole_until_the_new_one_is() {
    let site = Site::new();
    site.put("file", b"old");
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    upload.send(&spool(b"new content"), 11).unwrap();
    assert_eq!(upload.sent(), 11);
    assert_eq!(site.content("file"), b"old");
    let commit = CommitOptions {
        size: 11,
        ..CommitOptions::default()
    };
    upload.commit(&path("/file"), &commit).unwrap();
    assert_eq!(site.content("file"), b"new content");
}

#[test]
fn an_upload_can_end_under_another_name() {
    let site = Site::new();
    site.make("dir");
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    upload.send(&spool(b"x"), 1).unwrap();
    let commit = CommitOptions {
        size: 1,
        ..CommitOptions::default()
    };
    upload.commit(&path("/dir/moved"), &commit).unwrap();
    assert_eq!(site.content("dir/moved"), b"x");
    assert_eq!(site.names(""), ["dir"]);
}

#[test]
fn an_upload_given_up_leaves_nothing() {
    let site = Site::new();
    site.put("file", b"old");
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    upload.send(&spool(&pattern(100_000)), 100_000).unwrap();
    upload.abandon();
    assert_eq!(site.names(""), ["file"]);
    assert_eq!(site.content("file"), b"old");
    site.store("/file", b"new").unwrap();
    assert_eq!(site.content("file"), b"new");
}

#[test]
fn too_few_bytes_are_not_committed() {
    let site = Site::new();
    site.put("file", b"old");
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    upload.send(&spool(b"new"), 3).unwrap();
    let commit = CommitOptions {
        size: 4,
        ..CommitOptions::default()
    };
    let error = upload.commit(&path("/file"), &commit).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated);
    assert_eq!(site.names(""), ["file"]);
    assert_eq!(site.content("file"), b"old");
}

#[test]
fn a_spool_that_is_too_short_is_an_error_of_ours() {
    let site = Site::new();
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    let error = upload.send(&spool(b"abc"), 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Local, "{error}");
    let again = upload.send(&spool(b"abc"), 3).unwrap_err();
    assert_eq!(again.kind, ErrorKind::Local);
    drop(upload);
    assert_eq!(site.names(""), [] as [&str; 0]);
}

#[test]
fn time_and_mode_are_set_before_the_file_takes_its_place() {
    let site = Site::new();
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    upload.send(&spool(b"x"), 1).unwrap();
    let commit = CommitOptions {
        size: 1,
        modified: Some(1_600_000_000),
        mode: Some(0o640),
    };
    upload.commit(&path("/file"), &commit).unwrap();
    let stored = fs::metadata(site.local("file")).unwrap();
    assert_eq!(stored.permissions().mode() & 0o7777, 0o640);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    assert_eq!(stored.modified().unwrap(), modified);
    let verbs = site.verbs();
    assert_eq!(verbs.last().unwrap(), "RNTO", "{verbs:?}");
}

#[test]
fn a_server_that_sets_no_times_stores_all_the_same() {
    let site = Site::without(&["MFMT", "MFF", "MDTM", "SITE UTIME", "SITE CHMOD"]);
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    upload.send(&spool(b"x"), 1).unwrap();
    let commit = CommitOptions {
        size: 1,
        modified: Some(1_600_000_000),
        mode: Some(0o640),
    };
    upload.commit(&path("/file"), &commit).unwrap();
    assert_eq!(site.content("file"), b"x");
}

#[test]
fn what_cannot_be_stored_says_why() {
    let site = Site::new();
    site.make("dir");
    for (name, kind) in [
        ("/none/file", ErrorKind::NotFound),
        ("/dir", ErrorKind::IsDirectory),
        ("/", ErrorKind::IsDirectory),
    ] {
        let error = site.store(name, b"x").unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
    assert_eq!(site.names(""), ["dir"], "no temporary name is left");

    let read_only = Site::with(|server, _| server.read_only = true);
    let error = read_only.store("/file", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
}

#[test]
fn what_a_refused_start_of_an_upload_left_is_deleted() {
    for times in [1, 2] {
        let site = Site::new();
        let faults = site.server.faults();
        faults.add(Fault::on("STOR", Misdeed::RefuseData).times(times));
        let refused = refusal(553, "no");
        faults.add(Fault::on("STOR", refused).always());
        site.store("/file", b"new").unwrap_err();
        site.remote.clear_orphans();
        assert_eq!(site.names(""), [""; 0]);
    }
}

#[test]
fn a_connection_that_breaks_in_an_upload_leaves_the_old_file_where_none_can_go_on() {
    let site = Site::without(&["REST", "APPE"]);
    site.put("file", b"old");
    let mut upload = site.remote.upload(&path("/file")).unwrap();
    let content = pattern(1 << 20);
    let file = spool(&content);
    upload.send(&file, 1 << 19).unwrap();
    site.server.drop_sessions();
    let commit = CommitOptions {
        size: 1 << 20,
        ..CommitOptions::default()
    };
    let result = upload
        .send(&file, 1 << 19)
        .and_then(|()| upload.commit(&path("/file"), &commit));
    assert!(result.is_err());
    assert_eq!(site.content("file"), b"old");
    wait_for("the temporary name to go", || site.names("") == ["file"]);
    site.store("/file", b"new").unwrap();
    assert_eq!(site.content("file"), b"new");
}

#[test]
fn the_journal_knows_of_a_file_overwritten_in_place_before_the_server_does() {
    let site = Site::new();
    site.put("file", b"old");
    let state = tempfile::tempdir().unwrap();
    let place = StateDir::of(state.path(), "ann", "host", 21);
    let journal = Journal::open(&place, None).unwrap();
    let page = fs::read_dir(place.directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    let noted = || fs::read_to_string(page.join("log")).unwrap();
    let mut pool = pool_options();
    pool.connect.port = site.server.address().port();
    pool.connect.timeout = Duration::from_secs(1);
    let remote = connect_with(pool, Atomic::Never, journal).unwrap();

    let faults = site.server.faults();
    faults.add(Fault::on("STOR", Misdeed::StallControl).always());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("the STOR", || faults.happened() > 0);
            let noted = noted();
            remote.close();
            assert!(noted.contains("inplace\t/file\n"), "{noted}");
        });
        let content = spool(b"new");
        assert!(remote.upload_whole(&path("/file"), &content, 3).is_err());
    });
    assert!(noted().ends_with("gone\t/file\n"), "its writer knows");
}

/// The server refuses to rename onto the old file, then to move the new and the old one into place.
#[test]
fn a_file_that_cannot_be_moved_back_yet_is_still_there() {
    for disabled in [&[] as &[&str], &["MLSD", "MLST"]] {
        let site = Site::without(disabled);
        site.put("file", b"the old one");
        let faults = site.server.faults();
        faults.add(Fault::on("RNTO", Misdeed::NoReplace).named("/file"));
        let refused = refusal(450, "not now");
        faults.add(Fault::on("RNTO", refused).named("/file").always());
        site.store("/file", b"new").unwrap_err();
        let names = site.names("");
        assert!(names.len() == 1 && names != ["file"], "{names:?}");
        for _ in 0..2 {
            let found = site.remote.stat(&path("/file")).unwrap();
            assert_eq!(
                (found.name.as_slice(), found.size),
                (b"file".as_slice(), Some(11))
            );
            let listing = site.remote.list(&path("/")).unwrap();
            let listed: Vec<_> = listing
                .entries
                .iter()
                .map(|it| it.name.as_slice())
                .collect();
            assert_eq!(listed, [b"file"]);
            assert_eq!(site.read("/file", 0).unwrap(), b"the old one");
        }
        faults.clear();
        wait_for("the file to be back", || {
            site.remote.stat(&path("/file")).unwrap();
            site.names("") == ["file"]
        });
        assert_eq!(site.content("file"), b"the old one");
    }
}

#[test]
fn an_old_file_that_is_moved_aside_after_the_refusal_gets_its_name_back() {
    let site = Site::new();
    site.put("file", b"old");
    let faults = site.server.faults();
    faults.add(Fault::on("RNTO", Misdeed::NoReplace).named("/file"));
    let refused = refusal(553, "no");
    faults.add(Fault::on("RNTO", refused).named(".old"));
    site.store("/file", b"new").unwrap_err();
    assert_eq!(site.names(""), ["file"]);
    let commands = site.server.commands();
    let aside = commands
        .iter()
        .find_map(|line| {
            line.strip_prefix("RNTO /")
                .filter(|it| it.as_bytes().ends_with(b".old"))
        })
        .unwrap();
    // The server carries it out a moment later.
    fs::rename(site.local("file"), site.local(aside)).unwrap();
    assert_eq!(site.remote.leftovers().len(), 1);
    site.remote.clear_orphans();
    assert_eq!(site.names(""), ["file"]);
    assert_eq!(site.content("file"), b"old");
    assert_eq!(site.remote.leftovers(), []);
}

/// Two threads of a mount deal with a file that a killed one moved aside: one moves it back, the
/// other asks for it. A question in between would find it in neither place.
#[test]
fn a_file_on_its_way_back_is_asked_for_when_it_is_there() {
    let site = Site::new();
    let state = tempfile::tempdir().unwrap();
    let place = StateDir::of(state.path(), "ann", "host", 21);
    let journal = Journal::open(&place, None).unwrap();
    let mut pool = pool_options();
    pool.connect.port = site.server.address().port();
    let remote = connect_with(pool, Atomic::Auto, journal).unwrap();
    site.put(".aside", b"old");
    assert!(remote.adopt_aside(&path("/.aside"), &path("/file"), None));
    site.server.clear_commands();
    let late = Misdeed::LateReply(Duration::from_secs(2));
    site.server.faults().add(Fault::on("RNFR", late));
    let found = thread::scope(|scope| {
        scope.spawn(|| remote.clear_due_orphans(Instant::now()));
        wait_for("the way back", || site.server.faults().happened() > 0);
        remote.stat_resolved(&path("/file")).unwrap()
    });
    assert_eq!(
        (found.size, site.content("file")),
        (Some(3), b"old".to_vec())
    );
    let commands = site.server.commands();
    let at = |line: &str| commands.iter().rposition(|command| command == line);
    assert!(at("MLST /file") > at("RNTO /file"), "{commands:?}");
    assert_eq!(
        at("MLST /.aside"),
        commands.iter().position(|line| line == "MLST /.aside")
    );
}

/// Stores two files that are written bit by bit on a server that truncates new files. Returns the
/// verbs that began the transfers.
fn store_where_stor_truncates(site: &Site) -> Vec<String> {
    site.remote.profile().works(Capability::StoreTruncates);
    for name in ["a", "b"] {
        let target = path(&format!("/{name}"));
        let mut upload = site.remote.upload(&target).unwrap();
        upload.send(&spool(b"content"), 7).unwrap();
        let commit = CommitOptions {
            size: 7,
            ..CommitOptions::default()
        };
        upload.commit(&target, &commit).unwrap();
        assert_eq!(site.content(name), b"content");
    }
    let mut verbs = site.verbs();
    verbs.retain(|verb| ["APPE", "STOR"].contains(&verb.as_str()));
    verbs
}

#[test]
fn a_new_file_that_stor_would_truncate_is_created_by_appe() {
    let verbs = store_where_stor_truncates(&Site::new());
    assert_eq!(verbs, ["APPE", "APPE"]);
}

#[test]
fn where_appe_is_refused_for_the_moment_it_is_used_again() {
    let site = Site::new();
    let busy = refusal(450, "Try again later.");
    site.server.faults().add(Fault::on("APPE", busy));
    assert_eq!(store_where_stor_truncates(&site), ["APPE", "STOR", "APPE"]);
}

#[test]
fn where_appe_is_refused_stor_creates_files_from_then_on() {
    let verbs = store_where_stor_truncates(&Site::without(&["APPE"]));
    assert_eq!(verbs, ["APPE", "STOR", "STOR"]);
}

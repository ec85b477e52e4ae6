//! Data connections opened in advance, on real sessions.

use std::thread;
use std::time::Duration;

use ftpfs::ftp::Capability;
use ftpfs::server::{Fault, Misdeed};
use ftpfs::testing::remote::ErrorKind;

use crate::support::{Site, path, pattern, wait_for};

/// Returns the verbs, except those that only open a session.
fn work(site: &Site) -> Vec<String> {
    const LOGIN: [&str; 6] = ["USER", "PASS", "FEAT", "OPTS", "TYPE", "PWD"];
    let commands = site.server.commands();
    let verbs = commands.iter().map(|it| it.split(' ').next().unwrap());
    let verbs = verbs.filter(|verb| !LOGIN.contains(verb));
    verbs.map(str::to_owned).collect()
}

#[test]
fn transfers_of_all_kinds_begin_with_their_verb() {
    let site = Site::with(|_, pool| pool.connections = 1);
    site.put("file", b"content");
    for _ in 0..5 {
        site.await_arm();
        assert_eq!(site.read("/file", 0).unwrap(), b"content");
        site.await_arm();
        assert_eq!(site.read("/file", 4).unwrap(), b"ent");
        site.await_arm();
        assert_eq!(site.listed("/"), ["file"]);
        site.await_arm();
        site.store("/file", b"content").unwrap();
    }
    site.await_arm();
    let once = "RETR EPSV REST RETR EPSV MLSD EPSV STOR EPSV MLST RNFR RNTO";
    let verbs = work(&site).join(" ");
    // The first session's own EPSV may arrive before counting starts.
    let verbs = verbs.strip_prefix("EPSV ").unwrap_or(&verbs);
    assert_eq!(verbs, [once; 5].join(" "));
}

#[test]
fn without_epsv_it_is_pasv_that_opens_them() {
    let site = Site::with(|server, pool| {
        server.disabled = ["EPSV".to_owned()].into();
        pool.connections = 1;
    });
    site.put("file", b"content");
    for _ in 0..3 {
        site.await_arm();
        site.server.clear_commands();
        assert_eq!(site.read("/file", 0).unwrap(), b"content");
        site.await_arm();
        assert_eq!(site.server.commands(), ["RETR /file", "PASV"]);
    }
}

#[test]
fn in_active_mode_nothing_is_opened_ahead() {
    let site = Site::with(|_, pool| pool.connect.active = true);
    site.put("file", b"content");
    for _ in 0..3 {
        assert_eq!(site.read("/file", 0).unwrap(), b"content");
        site.store("/file", b"content").unwrap();
    }
    let verbs = site.verbs();
    let passive = verbs.iter().any(|verb| verb == "EPSV" || verb == "PASV");
    assert!(!passive, "{verbs:?}");
    assert_eq!(site.remote.pool_stats().armed, 0);
}

#[test]
fn a_data_connection_that_the_server_forgot_is_replaced_unseen() {
    let site = Site::with(|_, pool| pool.connections = 1);
    let content = pattern(50_000);
    site.put("file", &content);
    for verb in ["RETR", "MLSD", "STOR"] {
        for _ in 0..5 {
            let faults = site.server.faults();
            faults.add(Fault::on(verb, Misdeed::RefuseData));
            let happened = faults.happened();
            for _ in 0..2 {
                site.await_arm();
                match verb {
                    "RETR" => assert!(site.read("/file", 0).unwrap() == content),
                    "MLSD" => assert_eq!(site.listed("/"), ["file"]),
                    _ => site.store("/file", &content).unwrap(),
                }
            }
            assert_eq!(faults.happened(), happened + 1, "{verb}");
        }
    }
    site.remote.clear_orphans();
    assert_eq!(site.names(""), ["file"]);
    assert!(site.content("file") == content);
}

#[test]
fn transfers_in_a_row_take_turns_on_a_few_sessions() {
    let site = Site::with(|server, _| server.delay = Duration::from_millis(10));
    for number in 0..30 {
        site.put(&format!("file{number}"), format!("content {number}"));
    }
    for number in 0..30 {
        let read = site.read(&format!("/file{number}"), 0).unwrap();
        assert_eq!(read, format!("content {number}").as_bytes());
    }
    let stats = site.remote.pool_stats();
    assert!((2..=3).contains(&stats.open), "{stats:?}");
    wait_for("all of them to be ready", || {
        let stats = site.remote.pool_stats();
        stats.armed == stats.open
    });
}

#[test]
fn a_server_that_takes_one_session_is_not_asked_for_another_all_the_time() {
    let site = Site::with(|server, _| {
        server.delay = Duration::from_millis(5);
        server.max_sessions = Some(1);
    });
    site.put("file", b"content");
    for _ in 0..30 {
        assert_eq!(site.read("/file", 0).unwrap(), b"content");
    }
    let stats = site.remote.pool_stats();
    assert_eq!((stats.open, stats.limit), (1, 1), "{stats:?}");
}

#[test]
fn no_data_connection_serves_another_session() {
    let site = Site::with(|_, pool| pool.connections = 4);
    let content = |asker: u8| vec![b'a' + asker; 1000 + usize::from(asker) * 3000];
    thread::scope(|scope| {
        for asker in 0..8_u8 {
            let site = &site;
            scope.spawn(move || {
                let (mine, own) = (content(asker), format!("/file{asker}"));
                site.remote
                    .make_directory(&path(&format!("/dir{asker}")))
                    .unwrap();
                site.put(&format!("dir{asker}/only{asker}"), b"");
                for round in 0..25 {
                    site.store(&own, &mine).unwrap();
                    let offset = round * 17 % mine.len();
                    assert!(site.read(&own, offset as u64).unwrap() == mine[offset..]);
                    let listed = site.listed(&format!("/dir{asker}"));
                    assert_eq!(listed, [format!("only{asker}")]);
                    assert_eq!(
                        site.remote.stat(&path(&own)).unwrap().size,
                        Some(mine.len() as u64)
                    );
                }
            });
        }
    });
    for asker in 0..8 {
        assert!(site.content(&format!("file{asker}")) == content(asker));
    }
}

/// Something between client and server may drop data in front of a reset.
#[test]
fn where_a_reset_loses_data_the_upload_fails_and_the_next_has_none() {
    let site = Site::with(|_, pool| pool.connections = 1);
    let profile = site.remote.profile();
    profile.works(Capability::LingersAfterUpload);
    site.await_arm();
    site.store("/file", b"old").unwrap();
    assert!(profile.has(Capability::LingersAfterUpload));
    for verb in ["MLST", "SIZE"] {
        site.server
            .faults()
            .add(Fault::on(verb, Misdeed::WrongSize(-2)));
    }
    site.await_arm();
    let error = site.store("/file", b"content").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated);
    assert_eq!(site.content("file"), b"old");
    assert!(!profile.has(Capability::LingersAfterUpload));
    site.await_arm();
    site.store("/file", b"content").unwrap();
    assert_eq!(site.content("file"), b"content");
}

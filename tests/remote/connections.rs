//! The connection pool on real sessions: limits, restarts, silence and shutdown.

use std::thread;
use std::time::Duration;

use ftpfs::ftp;
use ftpfs::server::Server;
use ftpfs::testing::remote::ErrorKind;

use crate::support::{Site, connect, path, pattern, pool_options, server_options, wait_for};

#[test]
fn eight_askers_share_what_the_server_allows() {
    for limit in [1, 2] {
        let site = Site::with(|server, _| server.max_sessions = Some(limit));
        let content = pattern(50_000);
        site.put("shared", &content);
        thread::scope(|scope| {
            for asker in 0..8 {
                let (site, content) = (&site, &content);
                scope.spawn(move || {
                    let name = format!("/file{asker}");
                    for _ in 0..3 {
                        assert!(site.read("/shared", 0).unwrap() == *content);
                        site.store(&name, content).unwrap();
                        site.remote.stat(&path(&name)).unwrap();
                    }
                });
            }
        });
        assert_eq!(site.names("").len(), 9);
        let stats = site.remote.pool_stats();
        assert_eq!((stats.leased, stats.limit), (0, limit));
        assert!(stats.open <= limit);
    }
}

#[test]
fn a_server_that_drops_everyone_is_not_noticed() {
    let site = Site::new();
    site.put("file", b"content");
    for round in 0..3 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| site.listed("/"));
            }
        });
        site.server.drop_sessions();
        assert_eq!(site.read("/file", 0).unwrap(), b"content");
        site.server.drop_sessions();
        site.store("/new", format!("{round}").as_bytes()).unwrap();
        site.server.drop_sessions();
        site.remote.delete(&path("/new")).unwrap();
        site.server.drop_sessions();
        site.remote.make_directory(&path("/dir")).unwrap();
        site.server.drop_sessions();
        site.remote.rename(&path("/dir"), &path("/dir2")).unwrap();
        site.server.drop_sessions();
        site.remote.remove_directory(&path("/dir2")).unwrap();
    }
}

#[test]
fn a_server_that_closes_idle_sessions_is_not_noticed() {
    let site = Site::with(|server, _| server.idle = Duration::from_secs(2));
    site.put("file", b"content");
    for _ in 0..2 {
        wait_for("the server to close the session", || {
            site.server.sessions() == 0
        });
        assert_eq!(site.read("/file", 0).unwrap(), b"content");
    }
}

#[test]
fn idle_sessions_are_kept_awake_by_noop() {
    let site = Site::with(|server, pool| {
        server.idle = Duration::from_secs(20);
        pool.keep_alive = Duration::from_millis(100);
    });
    let noops = || {
        let commands = site.server.commands();
        commands.iter().filter(|line| *line == "NOOP").count()
    };
    wait_for("some NOOPs", || noops() >= 3);
    assert_eq!(site.server.sessions(), 1);
}

#[test]
fn surplus_sessions_are_closed() {
    let site = Site::with(|_, pool| pool.idle = Duration::from_millis(100));
    wait_for("the sessions to end", || site.server.sessions() == 0);
    assert_eq!(site.remote.pool_stats().open, 0);
    assert_eq!(site.listed("/"), [] as [&str; 0]);
}

#[test]
fn closing_ends_the_sessions_and_refuses_more() {
    let site = Site::new();
    site.listed("/");
    site.remote.close();
    wait_for("the sessions to end", || site.server.sessions() == 0);
    let error = site.remote.list(&path("/")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionLost);
    assert!(site.verbs().contains(&"QUIT".to_owned()));
}

#[test]
fn dropping_the_last_handle_ends_the_sessions() {
    let Site { remote, server, .. } = Site::new();
    let other = remote.clone();
    drop(remote);
    assert_eq!(server.sessions(), 1);
    drop(other);
    wait_for("the session to end", || server.sessions() == 0);
}

#[test]
fn a_wrong_password_shows_at_once_and_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(server_options(directory.path().to_owned())).unwrap();
    let mut pool = pool_options();
    pool.connect.port = server.address().port();
    pool.connect.password = ftp::Password::new("a wrong one");
    let error = connect(pool).unwrap_err();
    assert!(matches!(error, ftp::Error::Login(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("a wrong one"));
}

#[test]
fn a_server_that_stays_away_is_an_error_once_the_timeout_has_passed_and_then_immediately() {
    let Site { remote, server, .. } = Site::with(|_, pool| {
        pool.connect.timeout = Duration::from_secs(2);
    });
    drop(server);
    for _ in 0..20 {
        let error = remote.list(&path("/")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ConnectionRefused, "{error}");
    }
}

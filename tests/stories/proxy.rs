//! A server reached through a proxy: SOCKS5 or HTTP CONNECT, set by option or by environment.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::support::{
    HOST_BEHIND, Kind, Manner, Mount, PASSWORD, Speaks, TestProxy, TestServer, Tls, USER,
    is_mounted, lines, shell,
};

const SCHEMES: [(&str, Speaks); 3] = [
    ("socks5", Speaks::Socks5),
    ("socks5h", Speaks::Socks5),
    ("http", Speaks::Http),
];

/// Lists, reads and writes small and large files.
fn work_with(server: &TestServer, mount: &Mount) {
    assert_eq!(lines(&shell(mount.path(), "ls")), ["large", "there"]);
    assert_eq!(fs::read(mount.join("there")).unwrap(), b"on the server");
    shell(
        mount.path(),
        "cmp large <(seq 700000); mkdir d; cp large d/copy; echo new > d/small",
    );
    shell(server.root(), "cmp large d/copy; grep -qx new d/small");
}

fn filled_server(kind: Kind) -> TestServer {
    let server = TestServer::start(kind);
    fill(&server);
    server
}

fn fill(server: &TestServer) {
    server.write("there", "on the server");
    shell(server.root(), "seq 700000 > large");
    server.hand_over();
}

/// Returns the server's URL with a host name that resolves only through the proxy.
fn url_behind(server: &TestServer) -> String {
    format!("ftp://{USER}@{HOST_BEHIND}:{}/", server.port())
}

/// Asserts that the proxy received the server's host for every connection, including data
/// connections.
fn assert_all_by(proxy: &TestProxy, server: &TestServer, host: &str) {
    let asked = proxy.asked();
    assert!(asked.iter().all(|(asked, _)| asked == host), "{asked:?}");
    assert!(asked.iter().any(|(_, port)| *port == server.port()));
    assert!(asked.iter().any(|(_, port)| *port != server.port()));
}

/// Returns what ftpfs prints when it fails to mount `url`, which must not succeed.
fn refusal(url: &str, options: &[&str], variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    command.arg(url).arg(directory.path());
    for option in options {
        command.args(["-o", option]);
    }
    let Output { status, stderr, .. } = command
        .env("FTPFS_PASSWORD", PASSWORD)
        .env("XDG_STATE_HOME", state.path())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{message}");
    assert!(!is_mounted(directory.path()), "{message}");
    for secret in TestProxy::secrets() {
        assert!(!message.contains(secret), "{message}");
    }
    message
}

#[track_caller]
fn assert_says(message: &str, words: &str) {
    assert!(message.contains(words), "{words:?} is not in {message:?}");
}

#[test]
fn a_server_that_only_the_proxy_reaches_is_listed_read_and_written() {
    for (scheme, speaks) in [("socks5h", Speaks::Socks5), ("http", Speaks::Http)] {
        let server = filled_server(Kind::Embedded);
        let proxy = TestProxy::start(speaks, Manner::ServesUsers);
        let option = format!("proxy={}", proxy.url_with_password(scheme));
        let mount = Mount::of_url(&url_behind(&server), PASSWORD, &[&option]);
        work_with(&server, &mount);
        assert_all_by(&proxy, &server, HOST_BEHIND);
    }
}

#[test]
fn by_socks5_names_are_looked_up_here_and_the_proxy_is_told_addresses() {
    let server = filled_server(Kind::Embedded);
    let proxy = TestProxy::start(Speaks::Socks5, Manner::Serves);
    let option = format!("proxy={}", proxy.url("socks5"));
    let url = format!("ftp://{USER}@localhost:{}/", server.port());
    let mount = Mount::of_url(&url, PASSWORD, &[&option]);
    work_with(&server, &mount);
    // ::1 may have been tried before it, where the server does not listen.
    let asked = proxy.asked();
    assert!(
        asked
            .iter()
            .all(|(host, _)| ["127.0.0.1", "::1"].contains(&host.as_str()))
    );
    let data = asked.iter().filter(|(_, port)| *port != server.port());
    assert!(data.clone().count() > 0);
    assert!(data.clone().all(|(host, _)| host == "127.0.0.1"));
    let message = refusal(&url_behind(&server), &[&option], &[]);
    assert_says(&message, &format!("cannot find the host {HOST_BEHIND}"));
}

#[test]
fn foreign_servers_are_reached_by_every_kind_of_proxy() {
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib] {
        let server = filled_server(kind);
        for (scheme, speaks) in SCHEMES {
            let proxy = TestProxy::start(speaks, Manner::Serves);
            let option = format!("proxy={}", proxy.url(scheme));
            let mount = Mount::with_options(&server, &[&option]);
            work_with(&server, &mount);
            assert_all_by(&proxy, &server, "127.0.0.1");
            shell(mount.path(), "rm -r d");
        }
    }
}

#[test]
fn tls_is_spoken_with_the_server_and_not_with_the_proxy() {
    for (kind, speaks, scheme) in [
        (Kind::Embedded, Speaks::Socks5, "socks5h"),
        (Kind::Vsftpd, Speaks::Http, "http"),
    ] {
        let server = TestServer::start_tls(kind, Tls::REQUIRED.with_reuse());
        fill(&server);
        let proxy = TestProxy::start(speaks, Manner::ServesUsers);
        let option = format!("proxy={}", proxy.url_with_password(scheme));
        let mount = Mount::with_options(&server, &[&option]);
        work_with(&server, &mount);
        assert_all_by(&proxy, &server, "127.0.0.1");
    }
}

#[test]
fn a_server_without_epsv_is_reached_at_its_own_host_too() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.disabled.insert("EPSV".to_owned());
    });
    fill(&server);
    let proxy = TestProxy::start(Speaks::Http, Manner::Serves);
    let option = format!("proxy={}", proxy.url("http"));
    let mount = Mount::of_url(&url_behind(&server), PASSWORD, &[&option]);
    work_with(&server, &mount);
    assert_all_by(&proxy, &server, HOST_BEHIND);
    assert!(server.commands().iter().any(|command| command == "PASV"));
}

#[test]
fn the_environment_names_a_proxy_as_it_does_for_curl() {
    let server = filled_server(Kind::Embedded);
    for variable in ["FTP_PROXY", "ftp_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = TestProxy::start(Speaks::Socks5, Manner::ServesUsers);
        let value = proxy.url_with_password("socks5h");
        let url = url_behind(&server);
        let mount = Mount::in_environment(&url, PASSWORD, &[], &[(variable, &value)]);
        assert_eq!(fs::read(mount.join("there")).unwrap(), b"on the server");
        assert_all_by(&proxy, &server, HOST_BEHIND);
    }
    let refusing = TestProxy::start(Speaks::Http, Manner::Refuses);
    let value = refusing.url("http");
    for (options, exceptions) in [
        (&["proxy=none"][..], ("NO_PROXY", "")),
        (&[], ("NO_PROXY", "10.0.0.0/8,127.0.0.1")),
        (&[], ("no_proxy", "*")),
    ] {
        let variables = [("ALL_PROXY", value.as_str()), exceptions];
        let mount = Mount::in_environment(&server.url(), PASSWORD, options, &variables);
        assert_eq!(fs::read(mount.join("there")).unwrap(), b"on the server");
    }
    assert_eq!(refusing.asked(), []);
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_words() {
    let server = TestServer::start(Kind::Embedded);
    for (scheme, speaks) in SCHEMES {
        let words = match speaks {
            Speaks::Socks5 => "not allowed by its rules (SOCKS5 reply 2)",
            Speaks::Http => "HTTP/1.1 403 Not allowed by policy",
        };
        let proxy = TestProxy::start(speaks, Manner::Refuses);
        let option = format!("proxy={}", proxy.url_with_password(scheme));
        let message = refusal(&server.url(), &[&option], &[]);
        assert_says(
            &message,
            &format!("the proxy {} did not connect", proxy.url(scheme)),
        );
        assert_says(&message, &format!("127.0.0.1:{}: {words}", server.port()));
    }
}

#[test]
fn a_wrong_or_missing_proxy_password_says_so() {
    let server = TestServer::start(Kind::Embedded);
    for (scheme, speaks) in SCHEMES {
        let proxy = TestProxy::start(speaks, Manner::ServesUsers);
        let none = format!("proxy={}", proxy.url(scheme));
        assert_says(
            &refusal(&server.url(), &[&none], &[]),
            "requires a user and password",
        );
        let wrong = none.replace("://", "://me:hunter2@");
        let message = refusal(&server.url(), &[&wrong], &[]);
        assert_says(&message, "refused the user or password");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_proxy_that_says_nothing_meets_a_deadline() {
    let server = TestServer::start(Kind::Embedded);
    for (scheme, speaks) in SCHEMES {
        let proxy = TestProxy::start(speaks, Manner::Stalls);
        let option = format!("proxy={},connect_timeout=0.5", proxy.url(scheme));
        let message = refusal(&server.url(), &[&option], &[]);
        assert_says(
            &message,
            &format!("the proxy {} took too long", proxy.url(scheme)),
        );
    }
}

#[test]
fn a_proxy_that_lets_only_the_control_connection_through_fails_each_transfer_aloud() {
    let server = filled_server(Kind::Embedded);
    let proxy = TestProxy::start(Speaks::Http, Manner::ServesPort(server.port()));
    let option = format!("proxy={}", proxy.url("http"));
    let mount = Mount::with_options(&server, &[&option, "log_level=info"]);
    let message = fs::read_dir(mount.path())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert_says(&mount.log(), "HTTP/1.1 403 Not allowed by policy");
    assert!(!message.is_empty());
    assert!(is_mounted(mount.path()), "the mount itself goes on");
}

#[test]
fn active_mode_by_a_proxy_is_refused() {
    let option = "proxy=socks5://127.0.0.1:1,active";
    let message = refusal("ftp://me@127.0.0.1/", &[option], &[]);
    assert_says(
        &message,
        "-o active does not work by a proxy (socks5://127.0.0.1:1)",
    );
    let variables = [("all_proxy", "http://127.0.0.1:1")];
    let message = refusal("ftp://me@127.0.0.1/", &["active"], &variables);
    assert_says(&message, "proxy=none");
}

#[test]
fn a_proxy_that_cannot_be_is_told_why_without_its_password() {
    for (value, words) in [
        ("socks4://me:hunter2@h:1", "socks5://host:port"),
        ("http://me:hunter2@h:x", "a port from 1 to 65535"),
        ("http://me:hunter2@h:0", "a port from 1 to 65535"),
    ] {
        let message = refusal("h:", &[&format!("proxy={value}")], &[]);
        assert_says(&message, words);
        assert!(!message.contains("ter2"), "{message}");
    }
    let variables = [("ALL_PROXY", "socks9://me:hunter2@h:1")];
    let message = refusal("h:", &[], &variables);
    assert_says(&message, "ALL_PROXY in the environment");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn check_says_which_proxy_it_went_by() {
    let server = TestServer::start(Kind::Embedded);
    let proxy = TestProxy::start(Speaks::Http, Manner::ServesUsers);
    let output = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(["check", &url_behind(&server), "-o"])
        .arg(format!("proxy={}", proxy.url_with_password("http")))
        .env("FTPFS_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert_says(&report, &format!("through the proxy {}", proxy.url("http")));
    for secret in TestProxy::secrets() {
        assert!(!report.contains(secret), "{report}");
    }
}

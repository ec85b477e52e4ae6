//! Old command lines of curlftpfs and sshfs: they mount, show no password, and give one hint.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::support::{Kind, Mount, PASSWORD, Process, TestServer, Tls, USER, contains, is_mounted};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// The beginning of the hint.
const HINT: &str = "options of other programs: ";

/// Returns the hint of a mount with `log_level=info`, which must be the only one.
#[track_caller]
fn hint_of(mount: &Mount) -> String {
    let log = mount.log();
    let hints: Vec<&str> = log.lines().filter(|line| line.contains(HINT)).collect();
    assert_eq!(hints.len(), 1, "{log}");
    hints[0].to_owned()
}

/// The URL without a login, so that the password can only come from the option.
fn url(server: &TestServer) -> String {
    format!("ftp://127.0.0.1:{}/", server.port())
}

#[test]
fn a_line_of_curlftpfs_mounts_with_its_login_and_shows_no_password() {
    let server = TestServer::start_with(Kind::Embedded, |_| {});
    server.write("file", "content");
    let line = format!(
        "user={USER}:{PASSWORD},disable_epsv,utf8,tcp_nodelay,connect_timeout=20,\
         codepage=utf8,cache_timeout=5,allow_other,log_level=trace"
    );
    // What the environment says about the password is wrong.
    let mount = Mount::of_url(&url(&server), "wrong", &[&line]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    fs::write(mount.join("new"), "written").unwrap();

    let hint = hint_of(&mount);
    for part in [
        "without=epsv for disable_epsv",
        "charset= for codepage=",
        "for user=NAME:PASSWORD",
        "leave out utf8, tcp_nodelay",
    ] {
        assert!(hint.contains(part), "{hint}");
    }
    let log = mount.log();
    assert!(log.contains("PASV") && !log.contains("EPSV\""), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
    let process = Process::of(mount.pid());
    for file in ["cmdline", "environ", "status"] {
        let text = process.read(file).unwrap();
        assert!(!contains(&text, PASSWORD.as_bytes()), "{file}");
    }
    let shown = String::from_utf8(process.read("cmdline").unwrap()).unwrap();
    assert!(shown.contains(&format!("user={USER}:*")), "{shown}");
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    assert!(!contains(&mounts, PASSWORD.as_bytes()));
    mount.unmount();
    assert_eq!(server.read("new"), b"written");
}

#[test]
fn ssl_requires_tls_and_no_verify_peer_warns() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    server.write("file", "content");
    for old in ["ssl", "ssl_control", "ssl_try"] {
        let line = format!("{old},no_verify_peer,no_verify_hostname,tlsv1,log_level=info");
        let login = format!("user={USER}:{PASSWORD}");
        let mount = Mount::of_url(&url(&server), "", &[&login, &line]);
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
        let hint = hint_of(&mount);
        assert!(hint.contains(&format!("tls for {old}")), "{hint}");
        assert!(hint.contains("insecure for no_verify_peer"), "{hint}");
        let log = mount.log();
        let warned = log
            .lines()
            .any(|line| line.contains("WARN") && line.contains("insecure: "));
        assert!(warned, "{log}");
    }
}

#[test]
fn ssl_trusts_the_certificates_of_cacert() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    server.write("file", "content");
    let needed = server.needed_options();
    let cafile = needed
        .iter()
        .find_map(|option| option.strip_prefix("cafile="));
    let line = format!("ssl,cacert={},user={USER}:{PASSWORD}", cafile.unwrap());
    let mount = Mount::of_url(&url(&server), "", &[&line]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    assert!(!mount.log().contains(HINT), "the hint is not a warning");
}

/// curlftpfs's `ssl_try` would log in without TLS here.
#[test]
fn no_form_of_ssl_falls_back_to_plaintext() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.tls = None);
    let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for old in ["ssl", "ssl_control", "ssl_try"] {
        let output = Command::new(FTPFS)
            .arg(url(&server))
            .arg(directory.path())
            .arg(format!("-o{old},no_verify_peer,user={USER}:{PASSWORD}"))
            .env("XDG_STATE_HOME", state.path())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{old}");
        assert!(!is_mounted(directory.path()));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            message.contains("TLS") && !message.contains(PASSWORD),
            "{message}"
        );
    }
}

/// Starts a mount that cannot work, and returns what ftpfs says.
fn refusal(source: &str, options: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(FTPFS)
        .arg(source)
        .arg(directory.path())
        .args(["-o", options])
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_has_no_effect_without_tls_is_named_as_it_was_typed() {
    for (options, words) in [
        (
            "no_verify_peer,user=me:hunter2",
            "-o no_verify_peer requires TLS",
        ),
        (
            "cacert=/etc/ssl/ca.pem,user=me:hunter2",
            "-o cacert requires TLS",
        ),
    ] {
        let message = refusal("ftp://127.0.0.1:9/", options);
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn what_would_mean_the_opposite_or_another_server_is_an_error() {
    for (source, options, words) in [
        (
            "ftp://127.0.0.1:9/",
            "ssl,no_verify_peer=no",
            "takes no value",
        ),
        (
            "ftp://127.0.0.1:9/",
            "ssh_command=ssh -J bastion",
            "proxy=socks5h://",
        ),
        ("ftp://127.0.0.1:9/", "directport=2222", "port=PORT"),
        (
            "ftp://127.0.0.1:9/",
            "proxyjump=bastion",
            "proxy=socks5h://",
        ),
        ("ftpfs#me:hunter2@127.0.0.1", "ro", "password"),
    ] {
        let message = refusal(source, options);
        assert!(message.contains(words), "{options}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_line_of_sshfs_mounts() {
    let server = TestServer::start_with(Kind::Embedded, |_| {});
    server.write("file", "content");
    let line = "reconnect,ServerAliveInterval=15,ServerAliveCountMax=3,idmap=user,\
                IdentityFile=/root/.ssh/id_ed25519,StrictHostKeyChecking=no,compression=yes,\
                follow_symlinks,max_conns=2,kernel_cache,auto_cache,log_level=info";
    let url = format!("ftp://{USER}@127.0.0.1:{}/", server.port());
    let mount = Mount::of_url(&url, PASSWORD, &[line, "cache_timeout=3,big_writes"]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    let hint = hint_of(&mount);
    for part in [
        "symlinks=follow for follow_symlinks",
        "connections= for max_conns=",
        "leave out ServerAliveInterval, ServerAliveCountMax, idmap, IdentityFile",
        "big_writes",
    ] {
        assert!(hint.contains(part), "{hint}");
    }
    assert!(!hint.contains("id_ed25519"), "{hint}");
}

/// The beginning of the warning of a mount that sshfs would have encrypted.
const SSHFS_WARNING: &str = "sshfs encrypted everything; this mount does not: add -o tls";

#[test]
fn a_line_of_sshfs_without_tls_warns_once() {
    let server = TestServer::start_with(Kind::Embedded, |_| {});
    let plain = format!("{USER}@127.0.0.1:");
    let port = format!("port={}", server.port());
    let with_prefix = format!("sshfs#{plain}");
    for (source, options, count) in [
        (&with_prefix, "reconnect", 1),
        (&plain, "IdentityFile=/root/.ssh/id,identityagent=none", 1),
        (&plain, "follow_symlinks", 1),
        (&plain, "reconnect,utf8,auto_cache", 0),
    ] {
        let mount = Mount::of_url(source, PASSWORD, &[&port, options]);
        let log = mount.log();
        let warnings = log.lines().filter(|line| line.contains(SSHFS_WARNING));
        assert_eq!(warnings.count(), count, "{source} {options}: {log}");
    }
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    let mount = Mount::with_options(&server, &["IdentityFile=/root/.ssh/id"]);
    assert!(!mount.log().contains(SSHFS_WARNING), "{}", mount.log());
}

#[test]
fn a_line_without_old_options_gives_no_hint() {
    let server = TestServer::start_with(Kind::Embedded, |_| {});
    let mount = Mount::with_options(&server, &["log_level=info,reconnect,connect_timeout=9"]);
    assert!(!mount.log().contains(HINT), "{}", mount.log());
}

/// With a link of this name, lines of curlftpfs work unchanged: the source needs no `ftp://`.
#[test]
fn a_link_named_curlftpfs_takes_curlftpfs_s_source() {
    let server = TestServer::start_with(Kind::Embedded, |_| {});
    server.write("file", "content");
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let (program, mountpoint) = (place("curlftpfs"), place("mnt"));
    symlink(FTPFS, &program).unwrap();
    fs::create_dir(&mountpoint).unwrap();
    let url = server.url_with_password();
    let login = url.strip_prefix("ftp://").unwrap();
    let output = Command::new(&program)
        .args(["-o", "utf8"])
        .arg(login)
        .arg(&mountpoint)
        .env("XDG_STATE_HOME", place("state"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let content = fs::read(mountpoint.join("file"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let process = Process::with_argument(mountpoint.to_str().unwrap()).unwrap();
    let arguments = process.read("cmdline").unwrap();
    crate::support::unmount_unused(&mountpoint);
    assert_eq!(content.unwrap(), b"content");
    // The kernel writes `#` as an octal number (proc_pid_mounts(5)).
    let shown = format!("curlftpfs\\043{USER}@127.0.0.1:{}/ ", server.port());
    assert!(mounts.contains(&shown), "{mounts}");
    for shown in [mounts.as_bytes(), &arguments] {
        assert!(!contains(shown, PASSWORD.as_bytes()));
    }
}

#[test]
fn the_flags_of_sshfs_are_taken() {
    let server = TestServer::start_with(Kind::Embedded, |_| {});
    let output = Command::new(FTPFS)
        .arg("127.0.0.1:")
        .args(["/nonexistent", "-C", "-p", "x"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("-o port=x"), "{message}");
    let port = format!("-p{}", server.port());
    let output = Command::new(FTPFS)
        .args(["127.0.0.1:", "/nonexistent", "-C", &port])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("/nonexistent"), "{message}");
}

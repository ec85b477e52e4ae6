//! `-o trust=first`: the first certificate of a server is pinned, and no other one is accepted.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use ftpfs::server::Certificate;

use crate::home::MountingHome;
use crate::support::{Kind, PASSWORD, Terminal, TestServer, Tls, USER, is_mounted, wait_for};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// A home with a mountpoint; what is mounted there is unmounted on drop.
struct Home(MountingHome);

impl std::ops::Deref for Home {
    type Target = MountingHome;

    fn deref(&self) -> &MountingHome {
        &self.0
    }
}

impl Home {
    fn new() -> Self {
        Self(MountingHome::new("mnt"))
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.command_here(program, arguments);
        command.env("FTPFS_PASSWORD", PASSWORD);
        command
    }

    fn check(&self, server: &TestServer, options: &str) -> Output {
        self.command(FTPFS, &["check", &server.url(), "-o", options])
            .output()
            .unwrap()
    }

    /// Mounts the server, and returns what is printed until the mount is ready.
    #[track_caller]
    fn mount(&self, server: &TestServer, options: &str) -> String {
        let mut command = self.command(FTPFS, &[&server.url(), "mnt", "-o", options]);
        printed(command.output().unwrap())
    }

    fn unmount(&self) {
        crate::support::unmount_unused(&self.mountpoint);
    }

    fn read(&self, name: &str) -> std::io::Result<String> {
        fs::read_to_string(self.mountpoint.join(name))
    }

    fn pin(&self, server: &TestServer) -> PathBuf {
        let name = format!("state/ftpfs/certificates/127.0.0.1_{}", server.port());
        self.path().join(name)
    }

    /// Starts `ftpfs ARGUMENTS` on a terminal of its own, without a password in the environment.
    fn on_a_terminal(&self, arguments: &str) -> Terminal {
        let mut script = self.command("script", &[]);
        script.env_remove("FTPFS_PASSWORD");
        Terminal::start(script, &format!("{FTPFS} {arguments}"))
    }
}

/// Returns what a program that must succeed prints on its standard error.
#[track_caller]
fn printed(output: Output) -> String {
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words}");
    words
}

/// Returns the message of a program that must fail.
#[track_caller]
fn message(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn secure_server() -> TestServer {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    server.write("file", "over TLS");
    server
}

/// Returns a new certificate. It is for another host, which a pin does not check.
fn certificate() -> Certificate {
    Certificate::made_for(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1))).unwrap()
}

/// Returns the verbs that the server has received.
fn verbs(server: &TestServer) -> Vec<String> {
    let commands = server.commands();
    let verbs = commands.iter().map(|line| line.split(' ').next().unwrap());
    verbs.map(str::to_owned).collect()
}

#[test]
fn without_a_terminal_the_first_certificate_is_pinned_and_announced_once() {
    let server = secure_server();
    let certificate = certificate();
    let fingerprint = certificate.fingerprint();
    server.change_certificate(certificate);
    let home = Home::new();
    let server_name = format!("127.0.0.1:{}", server.port());
    let first = home.mount(&server, "trust=first");
    assert_eq!(
        first.matches("trusting the certificate").count(),
        1,
        "{first}"
    );
    let announced = format!(
        "ftpfs: warning: trusting the certificate of {server_name} from now on: {fingerprint}: "
    );
    assert!(first.starts_with(&announced), "{first}");
    assert_eq!(home.read("file").unwrap(), "over TLS");
    home.unmount();
    let pin = home.pin(&server);
    let text = fs::read_to_string(&pin).unwrap();
    assert!(text.contains(&format!("\n{fingerprint}\n")), "{text}");
    assert!(text.starts_with("# trusted since 20"), "{text}");
    let mode = fs::metadata(&pin).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(home.mount(&server, "trust=first"), "");
    assert_eq!(home.read("file").unwrap(), "over TLS");
    home.unmount();
    assert_eq!(printed(home.check(&server, "trust=first")), "");
    assert_eq!(fs::read_to_string(&pin).unwrap(), text);
}

#[test]
fn another_certificate_is_refused_until_the_pin_is_removed() {
    let server = secure_server();
    let home = Home::new();
    let first = printed(home.check(&server, "trust=first"));
    assert!(first.contains("trusting the certificate"), "{first}");
    let (_, old) = first.split_once("from now on: ").unwrap();
    let (old, _) = old.split_once(": ").unwrap();

    let certificate = certificate();
    let new = certificate.fingerprint();
    server.change_certificate(certificate);
    let pin = home.pin(&server);
    let mut mounting = home.command(FTPFS, &[&server.url(), "mnt", "-o", "trust=first"]);
    for output in [
        home.check(&server, "trust=first"),
        mounting.output().unwrap(),
    ] {
        let message = message(output);
        for words in [
            "not the one that was pinned on 20",
            old,
            &new,
            &format!("remove {} to trust the new one", pin.display()),
        ] {
            assert!(message.contains(words), "{words} is not in {message}");
        }
    }
    let verbs = verbs(&server);
    assert!(verbs.iter().all(|verb| verb == "AUTH"), "{verbs:?}");

    fs::remove_file(&pin).unwrap();
    let again = printed(home.check(&server, "trust=first"));
    assert!(again.contains(&new), "{again}");
}

/// A mount that runs accepts the new certificate when the user has, in another program.
#[test]
fn a_reconnection_accepts_only_the_pinned_certificate() {
    let server = secure_server();
    let home = Home::new();
    let options = "trust=first,timeout=5,dir_ttl=0,open_ttl=0,attr_ttl=0,log_file=log";
    home.mount(&server, options);
    assert_eq!(home.read("file").unwrap(), "over TLS");
    server.change_certificate(certificate());
    assert!(home.read("file").is_err());
    let log = || fs::read_to_string(home.path().join("log")).unwrap();
    let is_refused = || log().contains("not the one that was pinned");
    assert!(wait_for(LIMIT, is_refused), "{}", log());
    let verbs = verbs(&server);
    assert!(verbs.iter().all(|verb| verb == "AUTH"), "{verbs:?}");

    fs::remove_file(home.pin(&server)).unwrap();
    assert!(home.read("file").is_err());
    assert!(!home.pin(&server).exists());
    printed(home.check(&server, "trust=first"));
    assert!(wait_for(LIMIT, || home.read("file").is_ok()), "{}", log());
    home.unmount();
}

#[test]
fn the_first_access_of_a_delayed_connection_pins() {
    let server = secure_server();
    let home = Home::new();
    let options = "trust=first,delay_connect,log_file=log,log_level=info,timeout=5";
    assert_eq!(home.mount(&server, options), "");
    assert!(!home.pin(&server).exists());
    assert_eq!(home.read("file").unwrap(), "over TLS");
    assert!(home.pin(&server).exists());
    home.unmount();
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(
        log.contains("trusting the certificate of 127.0.0.1:"),
        "{log}"
    );

    server.change_certificate(certificate());
    home.mount(&server, options);
    assert!(home.read("file").is_err());
    home.unmount();
}

#[test]
fn at_a_terminal_the_certificate_is_shown_before_the_password_is_asked_for() {
    let server = secure_server();
    let certificate = certificate();
    let fingerprint = certificate.fingerprint();
    server.change_certificate(certificate);
    let home = Home::new();
    let arguments = format!("{} mnt -o trust=first", server.url());
    for no in ["", "n", "no", "maybe"] {
        let mut terminal = home.on_a_terminal(&arguments);
        let shown = terminal.asks("Trust this certificate? [y/N] ");
        for words in [&fingerprint, "192.0.2.1", "from 20", "issuer "] {
            assert!(shown.contains(words), "{words} is not in {shown}");
        }
        assert!(!shown.contains("Password"), "{shown}");
        terminal.types(no);
        let (shown, is_well) = terminal.ends();
        assert!(!is_well && shown.contains("is not trusted"), "{shown}");
    }
    assert!(!home.pin(&server).exists());
    let seen = verbs(&server);
    let is_harmless = |verb: &String| verb == "AUTH" || verb == "QUIT";
    assert!(seen.len() >= 4 && seen.iter().all(is_harmless), "{seen:?}");

    let mut terminal = home.on_a_terminal(&arguments);
    terminal.asks("Trust this certificate? [y/N] ");
    terminal.types("y");
    let shown = terminal.asks(&format!("Password for {USER} at 127.0.0.1: "));
    assert!(!shown.contains("from now on"), "{shown}");
    terminal.types(PASSWORD);
    assert!(wait_for(LIMIT, || is_mounted(&home.mountpoint)));
    let (shown, is_well) = terminal.ends();
    assert!(is_well, "{shown}");
    assert_eq!(home.read("file").unwrap(), "over TLS");
    home.unmount();

    // The certificate is known now.
    let mut terminal = home.on_a_terminal(&format!("check {} -o trust=first", server.url()));
    let shown = terminal.asks("Password for ftpfs-test at 127.0.0.1: ");
    assert!(!shown.contains("certificate"), "{shown}");
    terminal.types(PASSWORD);
    assert!(terminal.ends().1);
}

#[test]
fn a_pin_that_cannot_be_used_is_an_error_and_not_a_first_connection() {
    let server = secure_server();
    let home = Home::new();
    printed(home.check(&server, "trust=first"));
    let pin = home.pin(&server);
    let text = fs::read(&pin).unwrap();
    fs::write(&pin, "").unwrap();
    let damaged = message(home.check(&server, "trust=first"));
    let words = format!("{} is damaged", pin.display());
    assert!(damaged.contains(&words), "{damaged}");
    assert_eq!(fs::read(&pin).unwrap(), b"");

    fs::write(&pin, text).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o666)).unwrap();
    let open = message(home.check(&server, "trust=first"));
    assert!(open.contains("can be written by others"), "{open}");
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    printed(home.check(&server, "trust=first"));
    let verbs = verbs(&server);
    assert_eq!(
        verbs.iter().filter(|verb| *verb == "PASS").count(),
        2 * 8,
        "{verbs:?}"
    );
}

#[test]
fn the_option_needs_tls_and_a_state_directory_and_excludes_other_trust() {
    let home = Home::new();
    for (source, options, words) in [
        ("ftpes://h/", "trust=always", "first is expected"),
        ("ftpes://h/", "trust", "trust=first"),
        ("ftpes://h/", "trust=first,insecure", "give one of them"),
        (
            "ftpes://h/",
            "trust=first,cafile=ca.pem",
            "give one of them",
        ),
        (
            "ftp://h/",
            "trust=first",
            "-o trust requires TLS: add -o tls",
        ),
    ] {
        let mut check = home.command(FTPFS, &["check", source, "-o", options]);
        let message = message(check.output().unwrap());
        assert!(message.contains(words), "{message}");
    }
    // Root has a state directory without these variables.
    let user = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", FTPFS];
    let mut check = home.command("setpriv", &user);
    check.args(["check", "ftpes://h/", "-o", "trust=first"]);
    check.env_remove("XDG_STATE_HOME").env_remove("HOME");
    let message = message(check.output().unwrap());
    assert!(message.contains("set HOME or XDG_STATE_HOME"), "{message}");
    assert!(!home.path().join("state").exists());
}

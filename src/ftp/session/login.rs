//! The login, from a TCP connection to a session: greeting, USER, PASS, ACCT (RFC 959 §5.4), FEAT
//! (RFC 2389), OPTS (RFC 2640, RFC 3659 §7.9), TYPE I. With TLS, AUTH before that, and PBSZ and
//! PROT in between (RFC 4217).

use std::time::{Duration, Instant};

use crate::ftp::cause::Cause;
use crate::ftp::control::Control;
use crate::ftp::data::is_v4;
use crate::ftp::error::{Error, Phase};
use crate::ftp::features::Features;
use crate::ftp::options::ConnectOptions;
use crate::ftp::other_service;
use crate::ftp::profile::{Capability, HostIdentity, ServerProfile};
use crate::ftp::reply::{Reply, ReplyClass};
use crate::ftp::tls::{Connector, Tls};

/// Facts to request if MLST supports them.
const FACTS: [&str; 8] = [
    "type",
    "size",
    "modify",
    "perm",
    "unique",
    "unix.mode",
    "unix.owner",
    "unix.group",
];
/// Maximum number of "ready in n minutes" replies (120).
const MAX_DELAYS: usize = 10;
/// Maximum number of replies in a greeting, which should be a single one.
const MAX_GREETINGS: usize = 100;
/// Maximum number of login steps: USER, PASS, ACCT and one more.
const MAX_STEPS: usize = 4;

/// A command unknown to all servers.
const UNKNOWN_COMMAND: &str = "XFTPFS";
/// Pause between AUTH TLS and the handshake, for servers that mistake the client's hello for a
/// command.
const HANDSHAKE_PAUSE: Duration = Duration::from_millis(200);
/// Paths that do not exist, for commands that must be refused.
const PROBE_PATHS: [&str; 2] = ["/.ftpfs-probe-from", "/.ftpfs-probe-to"];

/// Logs in after the `greeting` and returns the server's features. Sends independent commands in
/// one batch while the profile says that the server supports it.
pub(in crate::ftp) fn log_in(
    control: &mut Control,
    options: &ConnectOptions,
    tls: Option<&Connector>,
    greeting: &Reply,
) -> Result<Features, Error> {
    let profile = &options.profile;
    enter(control, options, tls)?;
    for line in &options.login_commands {
        let reply = command(control, "login_command", line.as_bytes())?;
        if reply.is_refusal() {
            let command = "login_command";
            return Err(Error::Refused { command, reply });
        }
    }
    let together = profile.has(Capability::Pipelining);
    // The session most likely starts with a transfer, so prepare its data connection immediately.
    let skips_extended = options.trust_pasv_address && is_v4(control)?;
    let prepares =
        together && options.may_prepare_data() && profile.has(Capability::Epsv) && !skips_extended;
    if together {
        let lines = ["FEAT", "TYPE I", "EPSV"];
        let lines = lines
            .get(..if prepares { 3 } else { 2 })
            .unwrap_or_default();
        for line in lines {
            log::debug!("> {line}");
        }
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        control.send_batch(&lines)?;
    } else {
        send(control, b"FEAT")?;
    }
    let features = features(&answer(control, "FEAT")?);
    record(control, profile, greeting, &features);
    if together {
        check_type(answer(control, "TYPE")?)?;
    }
    if prepares {
        control.expect_passive_reply();
    }
    send_options(control, &options_lines(options, &features), together)?;
    if !together {
        send(control, b"TYPE I")?;
        check_type(answer(control, "TYPE")?)?;
    }
    if together && !profile.is_proven(Capability::Pipelining) {
        probe_pipelining(control)?;
        profile.prove_pipelining();
    }
    Ok(features)
}

/// Checks pipelining with a batch of harmless commands, some of which are refused. Servers whose
/// refusals overtake earlier replies (aioftp), or that execute commands in parallel (libunftp),
/// reply out of order.
///
/// # Errors
/// The server is out of step, does not reply or has closed the connection.
fn probe_pipelining(control: &mut Control) -> Result<(), Error> {
    let [from, to] = PROBE_PATHS;
    let lines = [
        "PWD".to_owned(),
        UNKNOWN_COMMAND.to_owned(),
        format!("RNFR {from}"),
        format!("RNTO {to}"),
        "PWD".to_owned(),
    ];
    for line in &lines {
        log::debug!("> {line}");
    }
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    control.send_batch(&lines)?;
    for verb in ["PWD", UNKNOWN_COMMAND, "RNFR", "RNTO", "PWD"] {
        let reply = answer(control, verb)?;
        // 503 answers only an RNTO whose RNFR was refused.
        if verb != "RNTO" && reply.code().0 == 503 {
            return Err(control.out_of_step(reply));
        }
    }
    Ok(())
}

/// Records in `profile` which host this is and what it announces.
pub(super) fn record(
    control: &Control,
    profile: &ServerProfile,
    greeting: &Reply,
    features: &Features,
) {
    let host = host_of(control, greeting);
    profile.record_host(host);
    profile.record_features(host, features);
    profile.record_login(greeting, features);
}

/// Returns the identity of the host.
pub(super) fn host_of(control: &Control, greeting: &Reply) -> HostIdentity {
    let security = control.security(None);
    let certificate = security.as_ref().and_then(|it| it.certificates.first());
    HostIdentity::of(certificate.map(|it| it.key.octets()), greeting)
}

/// Returns the options to set for a server with these features.
pub(super) fn options_lines(options: &ConnectOptions, features: &Features) -> Vec<String> {
    let mut lines = Vec::new();
    if options.profile.has(Capability::Utf8) && options.charset.is_none() {
        // Pure-FTPd replies 504 and uses UTF-8 all the same.
        lines.push("OPTS UTF8 ON".to_owned());
    }
    lines.extend(wanted_facts(features));
    lines
}

/// Runs the login after the greeting, and protects data connections if there is TLS.
fn enter(
    control: &mut Control,
    options: &ConnectOptions,
    tls: Option<&Connector>,
) -> Result<(), Error> {
    let protected = tls.is_none() || protect_data(control)?.is_none();
    let is_usual = authenticate(control, options)?;
    control.reveal();
    if protected && is_usual {
        options.profile.record_usual_login();
    }
    if !protected && let Some(refused) = protect_data(control)? {
        if !matches!(options.tls, Tls::Implicit(_)) {
            return Err(refused);
        }
        // With implicit TLS, data uses TLS without PROT (as in rclone). A data connection in the
        // clear would fail.
        log::info!(
            reply = refused.quoted_reply();
            "assuming that data connections use TLS: {refused}"
        );
    }
    Ok(())
}

/// Receives the greeting and performs the TLS handshake, if there is one.
pub(super) fn greet(
    control: &mut Control,
    options: &ConnectOptions,
    tls: Option<&Connector>,
) -> Result<Reply, Error> {
    if let (Tls::Implicit(_), Some(connector)) = (&options.tls, tls) {
        control.secure(connector, options.connect_timeout)?;
    }
    let greeting = greeting(control, options)?;
    if let (Tls::Explicit(_), Some(connector)) = (&options.tls, tls) {
        ask_for_tls(control)?;
        // After the hello of the client it is the server's turn. Data that is already here is not
        // authenticated.
        if !control.is_quiet() {
            return Err(Error::PlaintextInjected);
        }
        if !options.profile.has(Capability::PromptHandshake) {
            std::thread::sleep(HANDSHAKE_PAUSE);
        }
        control.secure(connector, options.connect_timeout)?;
    }
    Ok(greeting)
}

/// Sends options and ignores the replies.
pub(super) fn send_options(
    control: &mut Control,
    options_lines: &[String],
    together: bool,
) -> Result<(), Error> {
    for some in options_lines.chunks(if together {
        options_lines.len().max(1)
    } else {
        1
    }) {
        for line in some {
            send(control, line.as_bytes())?;
        }
        for _ in some {
            answer(control, "OPTS")?;
        }
    }
    Ok(())
}

pub(super) fn check_type(reply: Reply) -> Result<(), Error> {
    if reply.is_completion() {
        return Ok(());
    }
    let command = "TYPE";
    Err(Error::Refused { command, reply })
}

fn greeting(control: &mut Control, options: &ConnectOptions) -> Result<Reply, Error> {
    let deadline = Instant::now() + options.timeout;
    other_service::check_silence(control, options)?;
    control.skip_banner(deadline)?;
    for _ in 0..MAX_DELAYS {
        let reply = control.reply(Phase::Greeting)?;
        match reply.code().class() {
            ReplyClass::Preliminary => {
                log::info!(reply; "the server asks to wait: {reply}");
            }
            ReplyClass::Completion => return Ok(reply),
            _ => return Err(login_error(reply, "greeting")),
        }
    }
    Err(Error::Timeout(Phase::Greeting))
}

/// Skips further greetings before `reply` if the server sent several: 220 answers no command.
pub(super) fn skip_greetings(control: &mut Control, mut reply: Reply) -> Result<Reply, Error> {
    for _ in 0..MAX_GREETINGS {
        if !matches!(reply.code().0, 120 | 220) {
            break;
        }
        reply = control.reply(Phase::Reply)?;
    }
    Ok(reply)
}

/// Sends AUTH TLS (RFC 4217 §4).
fn ask_for_tls(control: &mut Control) -> Result<(), Error> {
    let reply = command(control, "AUTH", b"AUTH TLS")?;
    // 334 would require further data for another mechanism (RFC 2228 §3).
    if reply.is_completion() {
        return Ok(());
    }
    let command = "AUTH TLS";
    Err(Error::TlsRefused { command, reply })
}

/// Sends PBSZ 0 and PROT P to protect data connections (RFC 4217 §9). Returns the refusal, if any:
/// some servers accept these only after the login.
fn protect_data(control: &mut Control) -> Result<Option<Error>, Error> {
    for (verb, line) in [("PBSZ", "PBSZ 0"), ("PROT", "PROT P")] {
        let reply = command(control, verb, line.as_bytes())?;
        if !reply.is_completion() {
            let command = verb;
            return Ok(Some(Error::TlsRefused { command, reply }));
        }
    }
    Ok(None)
}

/// Sends USER and what the server asks for. Returns whether that was PASS and nothing else.
fn authenticate(control: &mut Control, options: &ConnectOptions) -> Result<bool, Error> {
    let mut step = ("USER", options.user.as_str());
    for _ in 0..MAX_STEPS {
        let (verb, argument) = step;
        let reply = secret_command(control, verb, argument)?;
        step = match reply.code().0 {
            // 202: no password is needed.
            230 | 232 | 202 | 200 => return Ok(verb == "PASS"),
            331 => ("PASS", options.password.reveal()),
            332 if !options.account.is_empty() => ("ACCT", options.account.as_str()),
            332 => return Err(Error::Login(reply)),
            _ if matches!(options.tls, Tls::Off) && is_about_tls(&reply) => {
                let url = protected_url(options);
                return Err(Error::TlsDemanded { reply, url });
            }
            _ => return Err(login_error(reply, verb)),
        };
    }
    Err(Error::Malformed {
        expected: "the end of a login",
        line: "more login steps than RFC 959 allows".to_owned(),
    })
}

/// Classifies a refused login: a session limit, or the credentials.
pub(super) fn login_error(reply: Reply, command: &'static str) -> Error {
    if is_about_room(&reply) {
        return Error::TooManySessions(reply);
    }
    match reply.code().0 {
        430 | 530 | 531 | 532 => Error::Login(reply),
        _ => Error::Refused { command, reply },
    }
}

/// Whether the reply reports a session limit. vsftpd, ProFTPD, Pure-FTPd and pyftpdlib use
/// different words.
fn is_about_room(reply: &Reply) -> bool {
    if !matches!(reply.code().0, 421 | 430 | 530) {
        return false;
    }
    let words = reply.words();
    // Another kind of limit: too many failed logins.
    let is_about_attempts = [
        "attempt",
        "failed login",
        "login failure",
        "failures",
        "authentication fail",
        "incorrect",
        "wrong password",
        " tries",
        "retries",
    ]
    .iter()
    .any(|sign| words.contains(sign));
    if is_about_attempts {
        return false;
    }
    [
        "too many",
        "maximum",
        "limit",
        "no more",
        "try again later",
        "already logged in",
        "busy",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// Whether the reply demands TLS: vsftpd says "must use encryption", ProFTPD and pyftpdlib "SSL/TLS
/// required", Pure-FTPd "cleartext sessions … are not accepted", FileZilla Server "Use AUTH first".
fn is_about_tls(reply: &Reply) -> bool {
    let words = reply.words();
    [
        "tls",
        "ssl",
        "encrypt",
        "cleartext",
        "secure connection",
        "auth first",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// URL of the same server with TLS.
fn protected_url(options: &ConnectOptions) -> String {
    let host = &options.host;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    match options.port {
        21 => format!("ftpes://{host}/"),
        port => format!("ftpes://{host}:{port}/"),
    }
}

pub(super) fn features(reply: &Reply) -> Features {
    // 500 and 502 mean that there are no features (RFC 2389 §3.2).
    if reply.is_completion() {
        Features::parse(reply)
    } else {
        Features::default()
    }
}

/// Returns the OPTS command that enables more facts, or `None` if all are enabled.
pub(in crate::ftp) fn wanted_facts(features: &Features) -> Option<String> {
    let offered = features.parameters("MLST")?;
    let mut wanted = String::new();
    let mut missing = false;
    for fact in offered.split(';').filter(|fact| !fact.is_empty()) {
        let (name, given) = fact
            .strip_suffix('*')
            .map_or((fact, false), |name| (name, true));
        if FACTS.contains(&name.to_ascii_lowercase().as_str()) {
            missing |= !given;
            wanted.push_str(name);
            wanted.push(';');
        }
    }
    missing.then(|| format!("OPTS MLST {wanted}"))
}

fn send(control: &mut Control, line: &[u8]) -> Result<(), Error> {
    log::debug!("> {}", String::from_utf8_lossy(line));
    control.send(line)
}

fn command(control: &mut Control, verb: &'static str, line: &[u8]) -> Result<Reply, Error> {
    send(control, line)?;
    let reply = control.reply(Phase::Reply)?;
    refuse_421(skip_greetings(control, reply)?, verb)
}

pub(super) fn answer(control: &mut Control, verb: &'static str) -> Result<Reply, Error> {
    refuse_421(control.reply(Phase::Reply)?, verb)
}

fn refuse_421(reply: Reply, verb: &'static str) -> Result<Reply, Error> {
    if reply.code().0 == 421 {
        return Err(login_error(reply, verb));
    }
    Ok(reply)
}

fn secret_command(
    control: &mut Control,
    verb: &'static str,
    argument: &str,
) -> Result<Reply, Error> {
    let shown = if verb == "USER" { argument } else { "****" };
    log::debug!("> {verb} {}", shown.escape_debug());
    if argument.contains(['\r', '\n', '\0']) {
        return Err(Error::Path(crate::ftp::PathError::Unsendable));
    }
    if verb != "USER" {
        control.conceal(argument);
    }
    control.send(format!("{verb} {argument}").as_bytes())?;
    let reply = control.reply(Phase::Reply)?;
    skip_greetings(control, reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::ReplyCode;

    fn reply(code: u16, text: &str) -> Reply {
        Reply::new(ReplyCode(code), vec![text.as_bytes().to_vec()])
    }

    #[test]
    fn no_room_is_told_from_no_entry() {
        for (code, text) in [
            (
                421,
                "There are too many connections from your internet address.",
            ),
            (
                530,
                "Sorry, the maximum number of clients (2) from your host are already connected.",
            ),
            (421, "2 users (the maximum) are already logged in, sorry"),
            (
                421,
                "Too many connections. Service temporarily unavailable.",
            ),
        ] {
            assert!(matches!(
                login_error(reply(code, text), "USER"),
                Error::TooManySessions(_)
            ));
        }
        for words in [
            "Login incorrect.",
            "Too many failed logins",
            "Too many login attempts, try again later",
            "Maximum login attempts (3) exceeded",
            "Too many authentication failures",
        ] {
            let wrong = login_error(reply(530, words), "PASS");
            assert!(matches!(wrong, Error::Login(_)), "{words}");
        }
    }

    #[test]
    fn facts_are_asked_for_only_where_some_are_missing() {
        let features = |facts: &str| Features::named(&[&format!("MLST {facts}")]);
        assert_eq!(wanted_facts(&features("type*;size*;modify*;")), None);
        assert_eq!(
            wanted_facts(&features("type*;size*;unix.mode;x.odd;")).as_deref(),
            Some("OPTS MLST type;size;unix.mode;")
        );
    }
}

//! A logged-in session and its commands. A transfer owns its session, so that two transfers on one
//! control connection do not compile.

pub(super) mod batch;
pub(super) mod certificate;
pub(super) mod changes;
mod copy;
pub(super) mod facts;
mod heard_read;
pub(super) mod list;
pub(super) mod list_form;
pub(super) mod login;
mod login_flight;
pub(super) mod pipelined;
pub(super) mod prepared;
pub(super) mod quota;
pub(super) mod restart_marker;
pub(super) mod set_facts;
pub(super) mod start;
pub(super) mod transfer;
pub(super) mod upload;

use std::net::IpAddr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::bind::Origin;
use super::cause::Cause;
use super::charset::encode;
use super::connect::{Route, control_connection};
use super::control::Control;
use super::error::{Error, Phase};
use super::features::Features;
use super::listing::ListingBudget;
use super::options::ConnectOptions;
use super::path::RemotePath;
use super::pending::DataOptions;
use super::profile::{Capability, ServerIdentity, ServerProfile};
use super::reply::{Reply, ReplyClass};
use super::text::escaped;
use super::tls::{Connector, Security, Tls, TlsConfig, TlsFallback};
use login::log_in;
use login_flight::{is_lost, log_in_together};
use pipelined::{PipelinedCommands, PipelinedQuestion};
use prepared::{PassiveCommand, PreparedData};
use start::needs_announcing;

/// Number of timeouts to wait for the reply that ends an upload (150 s by default). Servers that
/// scan uploads, or forward them to another store, reply late. TCP keep-alive detects a dead
/// server.
const COMPLETION_PATIENCE: u32 = 5;
/// Time to wait for the reply to QUIT, which is optional.
const QUIT_PATIENCE: Duration = Duration::from_secs(1);

/// "Command not implemented, superfluous at this site" (RFC 959 §4.2.2): the command did nothing.
const SUPERFLUOUS: u16 = 202;

/// A logged-in session with TYPE I.
#[derive(Debug)]
pub struct Session {
    pub(super) control: Control,
    pub(super) data: DataOptions,
    pub(super) peer: IpAddr,
    /// The data connection of the next transfer.
    pub(super) prepared: PreparedData,
    /// Creates TLS data connections; `None` in the clear.
    pub(super) tls: Option<Connector>,
    /// Whether the last data connection resumed the TLS session of the control connection.
    pub(super) data_resumed: Option<bool>,
    /// Commands sent behind the current transfer.
    pub(super) pipelined: Option<PipelinedCommands>,
    /// A question about a file that was sent ahead.
    pub(super) question: Option<PipelinedQuestion>,
    features: Features,
    /// Known properties of the server, shared by all sessions.
    pub(super) profile: ServerProfile,
    charset: Option<&'static encoding_rs::Encoding>,
    /// Memory for listings.
    pub(super) listings: ListingBudget,
    /// Time zone of MDTM, if not UTC.
    pub(super) mdtm_zone: Option<TimeZone>,
    /// REST or RANG was sent, and no transfer has begun since.
    pub(super) marker_pending: bool,
    /// Verb and line that reset the restart marker of a transfer that failed: some servers keep it
    /// for the next one.
    pub(super) stale_marker: Option<(&'static str, &'static str)>,
}

/// Failure of an operation that consumes the session. Returns the session if it is still usable.
#[derive(Debug)]
pub struct Failed {
    /// The error.
    pub error: Error,
    /// The session, if the operation was only refused.
    pub session: Option<Session>,
}

impl Failed {
    /// Wraps `error`, with `session` if it is usable.
    pub(super) fn new(error: Error, session: Session) -> Box<Self> {
        let usable = error.leaves_session_usable() && session.is_usable();
        Box::new(Self {
            error,
            session: usable.then_some(session),
        })
    }
}

/// Whether the server responds: a greeting begins within `patience` after connecting, even if it is
/// a refusal. Connecting and implicit TLS can each take as long.
pub fn probe(options: &ConnectOptions, patience: Duration) -> bool {
    greet(options, patience).is_ok()
}

/// Waits for the server's greeting, as [`probe`] does.
///
/// # Errors
/// There is none.
pub(crate) fn greet(options: &ConnectOptions, patience: Duration) -> Result<(), Error> {
    let (stream, _) = control_connection(options, patience)?;
    let mut control = Control::new(stream, patience, ServerProfile::default())?;
    let tls = &options.tls;
    if let (Tls::Implicit(_), Some(connector)) = (tls, Connector::new(tls, &options.host)?) {
        control.secure(&connector, patience)?;
    }
    control.reply(Phase::Greeting).map(drop)
}

/// Calls `connect`, and again with other TLS options if the server needs them.
fn with_tls_fallbacks<T>(
    options: &ConnectOptions,
    connect: impl Fn(&ConnectOptions) -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = match connect(options) {
        Err(Error::NotTls)
            if matches!(options.tls, Tls::Explicit(_))
                && options.profile.has(Capability::PromptHandshake) =>
        {
            // ftp-srv and libunftp reply to AUTH before they are ready for TLS.
            let why = "it mistook the TLS handshake for a command";
            options.profile.fails(Capability::PromptHandshake, &why);
            return connect(options);
        }
        Err(Error::Tls(failed)) => failed,
        outcome => return outcome,
    };
    match options.tls.config().and_then(TlsConfig::fallback) {
        None => Err(Error::Tls(failed)),
        Some(TlsFallback::AnyVersion) => connect(options),
        Some(TlsFallback::ShortRsa) => match connect(options) {
            // The server does not support TLS 1.2, so its key is the problem.
            Err(Error::Tls(_)) => Err(Error::Tls(failed)),
            outcome => outcome,
        },
    }
}

impl Session {
    /// Connects, logs in, requests the features and sets TYPE I.
    pub fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        if options.active && options.proxy.is_some() {
            return Err(Error::ActiveByProxy);
        }
        with_tls_fallbacks(options, Self::connect_once)
    }

    fn connect_once(options: &ConnectOptions) -> Result<Self, Error> {
        let tls = Connector::new(&options.tls, &options.host)?;
        let profile = &options.profile;
        let demotions = profile.demotions();
        let logged_in = match Self::logged_in(options, tls.as_ref()) {
            Err(error) if profile.demotions() != demotions => {
                log::debug!("logging in again, one command at a time: {error}");
                Self::logged_in(options, tls.as_ref())
            }
            outcome => outcome,
        };
        let (mut control, route, features) = logged_in?;
        let needs_announcing = needs_announcing(&features, profile);
        if needs_announcing && control.awaits_passive_reply() {
            // EPSV before PRET is useless.
            control.wait_for_passive_reply()?;
            control.take_passive_reply();
        }
        let data = DataOptions {
            route,
            origin: Origin::for_data(control.local()?, options.local.bind.as_ref()),
            local: options.local.clone(),
            active: options.active,
            trust_pasv_address: options.trust_pasv_address,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
            completion_timeout: options.timeout * COMPLETION_PATIENCE,
            extended_port_refused: false,
            profile: profile.clone(),
            traffic: options.traffic.clone(),
            sockets: options.sockets.clone(),
        };
        let peer = control.peer()?.ip();
        let was_asked = control.holds_passive_reply();
        let mut session = Self {
            control,
            data,
            peer,
            prepared: PreparedData::new(options.may_prepare_data() && !needs_announcing),
            tls,
            data_resumed: None,
            pipelined: None,
            question: None,
            features,
            profile: profile.clone(),
            charset: options.charset,
            listings: options.listings.clone(),
            mdtm_zone: options
                .timezone
                .clone()
                .filter(|_| !profile.has(Capability::MdtmUtc)),
            marker_pending: false,
            stale_marker: None,
        };
        if was_asked {
            session.prepared.command_sent(PassiveCommand::Extended);
            session.advance();
        }
        Ok(session)
    }

    fn logged_in(
        options: &ConnectOptions,
        tls: Option<&Connector>,
    ) -> Result<(Control, Route, Features), Error> {
        let (mut control, mut route, mut greeting) = Self::greeted(options, tls)?;
        let known = options.profile.pipelined_login();
        let together = known
            .filter(|_| options.login_commands.is_empty())
            .map(|known| log_in_together(&mut control, options, &greeting, &known));
        let features = match together {
            Some(Err(error)) if is_lost(&error) => {
                log::debug!("asking again, one command at a time: {error}");
                drop(control);
                (control, route, greeting) = Self::greeted(options, tls)?;
                log_in(&mut control, options, tls, &greeting)?
            }
            Some(outcome) => outcome?,
            None => log_in(&mut control, options, tls, &greeting)?,
        };
        control.logged_in();
        Ok((control, route, features))
    }

    /// Connects, and receives the greeting.
    fn greeted(
        options: &ConnectOptions,
        tls: Option<&Connector>,
    ) -> Result<(Control, Route, Reply), Error> {
        let (stream, route) = control_connection(options, options.connect_timeout)?;
        let mut control = Control::new(stream, options.timeout, options.profile.clone())?;
        control.register(&options.sockets);
        control.set_counts(&options.counts);
        let greeting = login::greet(&mut control, options, tls)?;
        Ok((control, route, greeting))
    }

    /// Whether commands are sent in batches because the server is believed to answer them in order.
    pub fn pipelines(&self) -> bool {
        self.profile.has(Capability::Pipelining)
    }

    /// Known properties of the server.
    pub fn profile(&self) -> &ServerProfile {
        &self.profile
    }

    /// Features announced by the server.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Peer of the control connection: the server, or the proxy that connects to it.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Properties of the TLS connection, if there is one.
    pub fn security(&self) -> Option<Security> {
        self.control.security(self.data_resumed)
    }

    /// Whether the session can be used. False after anything that broke the control connection or
    /// put it out of step, and once its TLS session can no longer be resumed.
    pub fn is_usable(&self) -> bool {
        self.control.is_usable() && !self.tls.as_ref().is_some_and(Connector::is_exhausted)
    }

    /// Whether the idle control connection is open and nothing unsolicited has arrived (a 421, the
    /// end). Does not wait.
    pub fn is_quiet(&mut self) -> bool {
        self.control.is_quiet()
    }

    /// Identifies the server by SYST (RFC 959 §4.1.3), FEAT and the TLS key. From then on, the
    /// profile uses what an earlier mount observed of the same server.
    ///
    /// The same flight determines the initial working directory, which is returned: `/` if the
    /// server does not report it, or not as a path.
    ///
    /// # Errors
    /// The session failed.
    pub fn identify(&mut self) -> Result<RemotePath, Error> {
        let pipelines = self.pipelines();
        log::debug!("> SYST");
        if pipelines {
            log::debug!("> PWD");
            self.control.send_batch(&[b"SYST", b"PWD"])?;
        } else {
            self.control.send(b"SYST")?;
        }
        let answer = self.answer("SYST");
        let system = self.unless_broken(answer)?;
        let system = system.map_or_else(|_| String::new(), |reply| reply.words());
        let security = self.security();
        let certificate = security.as_ref().and_then(|it| it.certificates.first());
        let key = certificate.map(|it| it.key.octets());
        let identity = ServerIdentity::of(&system, self.features(), key);
        self.profile.identify(&system, identity);
        let found = if pipelines {
            let answer = self.completion("PWD");
            answer.and_then(|reply| self.directory_in(&reply))
        } else {
            self.working_directory()
        };
        match self.unless_broken(found)? {
            Ok(directory) => Ok(directory),
            Err(error) => {
                log::warn!(
                    reply = error.quoted_reply();
                    "cannot determine the initial directory, using /: {error}"
                );
                Ok(RemotePath::root())
            }
        }
    }

    /// Returns the working directory (PWD, RFC 959 §4.1.3).
    pub fn working_directory(&mut self) -> Result<RemotePath, Error> {
        let reply = self.completed("PWD", b"PWD")?;
        self.directory_in(&reply)
    }

    fn directory_in(&self, reply: &Reply) -> Result<RemotePath, Error> {
        let found = reply.lines().iter().find_map(|line| parse_directory(line));
        let found = found.ok_or_else(|| malformed(reply, "an absolute path"))?;
        Ok(RemotePath::new(&super::charset::decode(
            found,
            self.charset,
        ))?)
    }

    /// Keeps the session alive (NOOP). Any final reply will do, because some servers do not support
    /// NOOP.
    pub fn noop(&mut self) -> Result<(), Error> {
        match self.completed("NOOP", b"NOOP") {
            Err(Error::Refused { .. }) if self.control.is_usable() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Closes the session (QUIT). Waits at most one second.
    pub fn quit(mut self) {
        if self.control.is_usable() && self.control.send(b"QUIT").is_ok() {
            // The connection ends here, whatever the reply is.
            let _ = self.control.reply_within(Phase::Reply, QUIT_PATIENCE);
        }
    }

    /// Deletes a file (DELE).
    pub fn delete(&mut self, path: &RemotePath) -> Result<(), Error> {
        self.on_path("DELE", path).map(drop)
    }

    /// Creates a directory (MKD).
    pub fn make_directory(&mut self, path: &RemotePath) -> Result<(), Error> {
        self.on_path("MKD", path).map(drop)
    }

    /// Deletes a directory (RMD).
    pub fn remove_directory(&mut self, path: &RemotePath) -> Result<(), Error> {
        self.on_path("RMD", path).map(drop)
    }

    /// Changes the working directory to `path` (CWD).
    pub fn change_directory(&mut self, path: &RemotePath) -> Result<(), Error> {
        self.on_path("CWD", path).map(drop)
    }

    /// Returns the number of bytes available in the directory `path` (AVBL).
    pub fn available(&mut self, path: &RemotePath) -> Result<u64, Error> {
        let reply = self.on_path("AVBL", path)?;
        let bytes = first_word(&reply).and_then(|digits| digits.parse().ok());
        bytes.ok_or_else(|| malformed(&reply, "a number of bytes"))
    }

    pub(super) fn charset(&self) -> Option<&'static encoding_rs::Encoding> {
        self.charset
    }

    /// Formats a command line: `before`, the path in the server's charset, and `after`.
    ///
    /// A byte 0xFF is sent as it is, although it is TELNET's IAC, which RFC 959 would double:
    /// vsftpd, Pure-FTPd and ProFTPD expect it this way, and only ProFTPD also accepts a doubled
    /// one.
    pub(super) fn line(
        &self,
        before: &[u8],
        path: &RemotePath,
        after: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let mut line = before.to_vec();
        line.extend_from_slice(&encode(path.as_bytes(), self.charset)?);
        line.extend_from_slice(after);
        Ok(line)
    }

    /// Sends a line and receives any reply.
    pub(super) fn exchange(&mut self, verb: &'static str, line: &[u8]) -> Result<Reply, Error> {
        log::debug!("> {}", escaped(line));
        self.control.send(line)?;
        self.answer(verb)
    }

    /// Receives any reply.
    pub(super) fn answer(&mut self, verb: &'static str) -> Result<Reply, Error> {
        // The next data connection is made while the server thinks.
        let end = self.control.passive_reply_or_end().transpose();
        self.act_on_passive_reply();
        let reply = end.unwrap_or_else(|| self.control.reply(Phase::Reply));
        if matches!(reply, Err(Error::Timeout(_))) && self.prepared.has_unexpected_data() {
            // uftpd sends the reply to MLST over the prepared data connection.
            self.control.report_unexpected_data();
        }
        let reply = reply?;
        match reply.code().class() {
            ReplyClass::Transient | ReplyClass::Permanent => Err(Error::Refused {
                command: verb,
                reply,
            }),
            ReplyClass::Preliminary | ReplyClass::Completion | ReplyClass::Intermediate => {
                Ok(reply)
            }
        }
    }

    pub(super) fn completed(&mut self, verb: &'static str, line: &[u8]) -> Result<Reply, Error> {
        log::debug!("> {}", escaped(line));
        self.control.send(line)?;
        self.completion(verb)
    }

    /// Receives the reply that completes a command.
    pub(super) fn completion(&mut self, verb: &'static str) -> Result<Reply, Error> {
        let reply = self.answer(verb)?;
        if reply.code().0 == SUPERFLUOUS {
            let command = verb;
            return Err(Error::Refused { command, reply });
        }
        if reply.is_completion() {
            return Ok(reply);
        }
        // Another reply would follow or be missing: the two sides are out of step.
        self.control.give_up();
        Err(malformed(&reply, "the end of a command"))
    }

    /// Returns the result of one of several commands, unless the session broke and no other reply
    /// can follow.
    pub(super) fn unless_broken<T>(
        &self,
        answer: Result<T, Error>,
    ) -> Result<Result<T, Error>, Error> {
        match answer {
            Err(error) if !self.control.is_usable() => Err(error),
            answer => Ok(answer),
        }
    }

    pub(super) fn on_path(
        &mut self,
        verb: &'static str,
        path: &RemotePath,
    ) -> Result<Reply, Error> {
        let line = self.line(format!("{verb} ").as_bytes(), path, b"")?;
        self.completed(verb, &line)
    }
}

/// Checks for the 3yz reply that precedes another command.
pub(super) fn intermediate(
    command: &'static str,
    answer: Result<Reply, Error>,
) -> Result<(), Error> {
    match answer? {
        reply if reply.code().class() == ReplyClass::Intermediate => Ok(()),
        reply => Err(Error::Refused { command, reply }),
    }
}

/// Parses the path in a 257: in quotes, with quotes in the path doubled (RFC 959 appendix II).
/// Pure-FTPd does not double them, so the last quote on the line ends the path.
pub(super) fn quoted_path(line: &[u8]) -> Option<Vec<u8>> {
    let open = line.iter().position(|byte| *byte == b'"')?;
    let close = line.iter().rposition(|byte| *byte == b'"')?;
    let inner = line.get(open + 1..close)?;
    let mut path = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().peekable();
    while let Some(byte) = bytes.next() {
        path.push(*byte);
        if *byte == b'"' {
            bytes.next_if_eq(&&b'"');
        }
    }
    Some(path)
}

/// Parses the absolute path in a line of a 257. Returns `None` if it is not an FTP path (`C:\\`,
/// `DISK:[DIR]`). Servers that only use backslashes also accept slashes.
fn parse_directory(line: &[u8]) -> Option<Vec<u8>> {
    let path = quoted_path(line).or_else(|| {
        let word = line.split(u8::is_ascii_whitespace).next()?;
        word.starts_with(b"/").then(|| word.to_vec())
    })?;
    match path.first() {
        Some(b'/') => Some(path),
        Some(b'\\') => Some(
            path.iter()
                .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
                .collect(),
        ),
        Some(_) => None,
        None => Some(b"/".to_vec()),
    }
}

pub(super) fn first_word(reply: &Reply) -> Option<&str> {
    std::str::from_utf8(reply.lines().first()?)
        .ok()?
        .split_whitespace()
        .next()
}

pub(super) fn malformed(reply: &Reply, expected: &'static str) -> Error {
    Error::Malformed {
        expected,
        line: escaped(reply.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_257_gives_its_path_with_quotes_doubled_or_not() {
        let path = |line: &[u8]| quoted_path(line).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(
            path(b"\"/a b\" is the current directory").as_deref(),
            Some("/a b")
        );
        assert_eq!(path(b"\"/a\"\"b\" is current").as_deref(), Some("/a\"b"));
        assert_eq!(path(b"\"/a\"b\" is current").as_deref(), Some("/a\"b"));
        assert_eq!(path(b"no path"), None);
        assert_eq!(path(b"\"half"), None);
    }

    #[test]
    fn a_working_directory_is_an_absolute_path_with_quotes_or_without() {
        let found =
            |line: &[u8]| parse_directory(line).map(|path| String::from_utf8(path).unwrap());
        for (line, path) in [
            (b"\"/a b\" is current".as_slice(), "/a b"),
            (b"/a is your directory", "/a"),
            (b"/", "/"),
            (b"\"\\pub\\x\" is current", "/pub/x"),
            (b"\"\"", "/"),
        ] {
            assert_eq!(found(line).as_deref(), Some(path));
        }
        for line in [
            b"\"C:\\dir\" is current".as_slice(),
            b"\"DISK:[DIR]\"",
            b"is here",
            b"",
        ] {
            assert_eq!(found(line), None);
        }
    }
}

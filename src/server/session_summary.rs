//! The line that the log shows at the end of each session.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::time::Duration;

/// Maximum length of a user name in the line, in characters.
const MAX_NAME: usize = 64;

/// What a session did so far.
#[derive(Debug)]
pub(super) struct SessionSummary {
    client: SocketAddr,
    /// The account of the last login, which its client chose from the known ones.
    user: Option<String>,
    /// Number of wrong passwords since the last login.
    refused_logins: u32,
    received: FileCount,
    sent: FileCount,
    end: Option<SessionEnd>,
}

/// Files of one direction. Listings are not files.
#[derive(Debug, Default)]
struct FileCount {
    /// Complete transfers.
    files: u64,
    /// Bytes of all transfers, including incomplete ones.
    bytes: u64,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The client sent QUIT.
    Quit,
    /// The client closed the control connection.
    Closed,
    /// The control connection was reset, or the client did not read its replies.
    Lost,
    /// The client was silent for too long.
    Idle,
    /// The client did not log in in time.
    NoLogin,
    /// Too many wrong passwords.
    Refused,
    /// The TLS handshake failed.
    NoTls,
    /// The server stopped.
    Stopped,
}

impl SessionSummary {
    pub(super) fn new(client: SocketAddr) -> Self {
        Self {
            client,
            user: None,
            refused_logins: 0,
            received: FileCount::default(),
            sent: FileCount::default(),
            end: None,
        }
    }

    /// Records a login. A refused name is never recorded: it may be a password that was typed too
    /// early.
    pub(super) fn log_in(&mut self, user: &[u8]) {
        let name = String::from_utf8_lossy(user);
        self.user = Some(name.chars().take(MAX_NAME).collect());
        self.refused_logins = 0;
    }

    pub(super) fn refuse_login(&mut self) {
        self.refused_logins = self.refused_logins.saturating_add(1);
    }

    /// Records an upload.
    pub(super) fn receive(&mut self, bytes: u64, is_complete: bool) {
        self.received.add(bytes, is_complete);
    }

    /// Records a download.
    pub(super) fn send(&mut self, bytes: u64, is_complete: bool) {
        self.sent.add(bytes, is_complete);
    }

    /// Records why the session ends. The first reason counts.
    pub(super) fn end(&mut self, end: SessionEnd) {
        self.end.get_or_insert(end);
    }

    /// Whether a client logged in.
    pub(super) fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// Formats the line for a session that lasted for `duration`.
    pub(super) fn line(&self, duration: Duration) -> String {
        let user = match &self.user {
            Some(user) => format!("of \"{}\"", user.escape_debug()),
            None => "without login".to_owned(),
        };
        let refused = match self.refused_logins {
            0 => String::new(),
            1 => ", 1 login refused".to_owned(),
            count => format!(", {count} logins refused"),
        };
        format!(
            "session {user} from {}, {:.1} s: received {}, sent {}{refused}, ended by {}",
            self.client,
            duration.as_secs_f64(),
            self.received,
            self.sent,
            self.end.unwrap_or(SessionEnd::Lost),
        )
    }
}

impl FileCount {
    fn add(&mut self, bytes: u64, is_complete: bool) {
        self.files += u64::from(is_complete);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Display for FileCount {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        let bytes = if self.bytes == 1 { "byte" } else { "bytes" };
        write!(formatter, "{} {files} ({} {bytes})", self.files, self.bytes)
    }
}

impl Display for SessionEnd {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Quit => "QUIT",
            Self::Closed => "the client closing the connection",
            Self::Lost => "loss of the connection",
            Self::Idle => "idle timeout",
            Self::NoLogin => "login timeout",
            Self::Refused => "refused login",
            Self::NoTls => "failed TLS handshake",
            Self::Stopped => "server stop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> SessionSummary {
        SessionSummary::new("[::1]:40000".parse().unwrap())
    }

    #[test]
    fn the_line_counts_files_and_names_the_first_reason() {
        let mut summary = summary();
        summary.log_in(b"joe");
        summary.receive(1, true);
        summary.send(5, true);
        summary.send(6, false);
        summary.end(SessionEnd::Quit);
        summary.end(SessionEnd::Lost);
        assert_eq!(
            summary.line(Duration::from_millis(12_340)),
            "session of \"joe\" from [::1]:40000, 12.3 s: received 1 file (1 byte), \
             sent 1 file (11 bytes), ended by QUIT"
        );
    }

    #[test]
    fn the_line_is_one_line_whatever_the_name() {
        let mut summary = summary();
        summary.refuse_login();
        summary.log_in(format!("a\r\n\x1b[2J\"\u{202e}{}", "x".repeat(1000)).as_bytes());
        let line = summary.line(Duration::ZERO);
        assert!(
            line.starts_with(r#"session of "a\r\n\u{1b}[2J\"\u{202e}xx"#),
            "{line}"
        );
        assert!(line.len() < 300 && !line.contains(char::is_control) && !line.contains("refused"));
    }

    #[test]
    fn refused_logins_are_counted() {
        let mut summary = summary();
        summary.refuse_login();
        summary.refuse_login();
        summary.end(SessionEnd::Closed);
        let line = summary.line(Duration::ZERO);
        assert!(line.starts_with("session without login from "), "{line}");
        assert!(
            line.ends_with(", 2 logins refused, ended by the client closing the connection"),
            "{line}"
        );
    }
}

//! What a user can do about a server that cannot be mounted, and what a mistyped source means.

use super::Failure;
use super::settings::Settings;
use crate::credentials::{Credentials, CredentialsOrigin};
use crate::ftp::tls::{Distrust, DistrustCause};
use crate::ftp::{self, Cause, Reply};
use crate::mount;
use crate::source::{Scheme, Source, SourceForm};

/// The parts of the command line that explain a failure.
#[derive(Debug)]
pub(super) struct Advice {
    /// The beginning of the path and the URL that has it as a port, if it looks like one.
    mistaken_port: Option<(String, String)>,
    /// The URL with explicit TLS, if implicit TLS was requested.
    explicit_tls: Option<String>,
    /// What may be meant as a name of the configuration, but is none there.
    unconfigured: Option<String>,
    /// Whether the login is anonymous because no user was given.
    is_anonymous: bool,
}

/// A failure to mount, with advice.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ExplainedFailure {
    message: String,
    /// The server's reply, if the message repeats one.
    pub(super) reply: Option<Reply>,
}

impl Advice {
    /// Collects what `source`, `options` and `login` explain.
    pub(super) fn new(source: &Source, options: &Settings, login: &Credentials) -> Self {
        Self {
            mistaken_port: source.mistaken_port().filter(|_| options.port.is_none()),
            explicit_tls: match source.scheme {
                Scheme::ImplicitTls => Some(source.with_explicit_tls()),
                Scheme::Plain | Scheme::ExplicitTls => None,
            },
            unconfigured: (source.form == SourceForm::Short && !source.host.contains(['.', ':']))
                .then(|| source.host.clone()),
            is_anonymous: login.origin == CredentialsOrigin::Default,
        }
    }

    /// Describes a failure to connect or to log in.
    pub(super) fn of_connection(&self, error: &ftp::Error) -> String {
        self.with_port(&self.explained(error))
    }

    /// Describes a failure to mount.
    pub(super) fn of_mount(&self, error: mount::Error) -> Failure {
        let reply = error.quoted_reply().cloned();
        let message = match error {
            mount::Error::Connect(error) => self.of_connection(&error),
            error @ (mount::Error::Remote(_)
            | mount::Error::NoDirectory(_)
            | mount::Error::NotADirectory(_)) => self.with_port(&error.to_string()),
            error => return error.into(),
        };
        Box::new(ExplainedFailure { message, reply })
    }

    fn explained(&self, error: &ftp::Error) -> String {
        if let (ftp::Error::Resolve { .. }, Some(name)) = (error, &self.unconfigured) {
            return format!("{error} (and no source of the configuration is called {name})");
        }
        match (error, &self.explicit_tls) {
            (ftp::Error::Login(_), _) if self.is_anonymous => format!(
                "{error} (the login was anonymous, because no user was given: write user@host or -o user=NAME)"
            ),
            (ftp::Error::Login(_), _) => format!("{error} (wrong user or password?)"),
            (ftp::Error::Certificate(distrust), _) => {
                format!("{error}; {}", trust_options(distrust))
            }
            (ftp::Error::NotTls | ftp::Error::Connect { .. }, Some(url)) => {
                format!("{error}; ftps:// means implicit TLS; for explicit TLS, use {url}")
            }
            (ftp::Error::OtherService { service: "SSH", .. }, _) => {
                format!("{error} (sshfs mounts SSH servers)")
            }
            (other, _) => other.to_string(),
        }
    }

    fn with_port(&self, message: &str) -> String {
        match &self.mistaken_port {
            Some((typed, url)) => {
                format!(
                    "{message}; {typed} was taken for a path, not for a port: for that, use {url}"
                )
            }
            None => message.to_owned(),
        }
    }
}

fn trust_options(distrust: &Distrust) -> String {
    let fingerprint = &distrust.certificate.fingerprint;
    match &distrust.cause {
        DistrustCause::OtherRecorded(recorded) => format!(
            "if the server has changed its certificate, remove {} to trust the new one",
            recorded.file.display()
        ),
        DistrustCause::OnlyConfirmed => {
            "its pin was removed: mount again to trust the new one".to_owned()
        }
        DistrustCause::StoreFailed => {
            "this is a problem of this machine, not of the server".to_owned()
        }
        DistrustCause::OtherPinned => format!(
            "if the server has changed its certificate, -o fingerprint={fingerprint} trusts the new one"
        ),
        _ => format!(
            "if this is your server's, -o trust=first or -o fingerprint={fingerprint} trusts it; -o cafile=FILE with it \
             or its issuer's certificate does so while its name and dates are right"
        ),
    }
}

//! The server's address: `[user@]host:[path]` and `ftp://[user[:password]@]host[:port]/[path]`,
//! with `ftpes://` and `ftps://` for explicit and implicit TLS; and the proxy.
//!
//! See RFC 1738 §3.2 and RFC 3986. Paths have the same meaning as in curl: relative to the login
//! directory, and absolute if they begin with a `/` of their own (`//` or `/%2F` in a URL).

mod proxy;
mod secret;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use url::Url;

use crate::ftp::{Password, PathError, RemotePath};

pub(crate) use proxy::parse_proxy;
pub(crate) use secret::{conceal, password_ranges};

/// Default port of FTP (RFC 959 §8).
pub(crate) const DEFAULT_PORT: u16 = 21;

/// Default port of FTP over implicit TLS (ftps in IANA's registry).
pub(crate) const IMPLICIT_TLS_PORT: u16 = 990;

/// The protection that a source requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `ftp://` and `host:path`: none by itself.
    Plain,
    /// `ftpes://`: with AUTH TLS (RFC 4217).
    ExplicitTls,
    /// `ftps://`: from the first byte.
    ImplicitTls,
}

/// How a source is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceForm {
    /// `[user@]host:[path]`, in which a configured name can stand for the host.
    Short,
    /// A URL.
    Url,
}

/// A server and a directory on it, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// How it is written.
    pub form: SourceForm,
    /// The requested protection.
    pub scheme: Scheme,
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port of the control connection, if given.
    pub port: Option<u16>,
    /// The user name, if given.
    pub user: Option<String>,
    /// The password, if given.
    pub password: Option<Password>,
    /// The directory.
    pub path: StartPath,
    /// The typed text without the password, shown in `/proc/mounts`.
    pub shown: String,
}

/// The directory to mount, before the login directory is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartPath {
    /// Relative to the login directory; empty for that directory itself.
    Relative(Vec<u8>),
    /// Relative to the server's root.
    Absolute(Vec<u8>),
}

/// Why a source cannot be used. No message repeats the source, because it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    /// Neither of the two forms.
    #[error("SOURCE must be host:path or ftp://host/path; a host alone needs a colon after it")]
    NoForm,
    /// A URL of another protocol.
    #[error(
        "cannot mount {0}:// addresses, only ftp://, and with TLS ftpes:// (explicit) and ftps:// (implicit)"
    )]
    OtherScheme(String),
    /// The host name is missing.
    #[error("SOURCE names no host")]
    NoHost,
    /// An invalid host name.
    #[error("SOURCE has a host name that cannot be one")]
    BadHost,
    /// Not a number from 1 to 65535.
    #[error(
        "SOURCE has a port that is not a number from 1 to 65535 (in a password, write / as %2F, : as %3A and @ as %40)"
    )]
    BadPort,
    /// CR, LF, NUL or another control character.
    #[error("SOURCE has a control character in it, which FTP cannot send")]
    ControlCharacter,
    /// A URL that is not UTF-8.
    #[error("an ftp:// address must be UTF-8; write other bytes of a path as %XX")]
    NotUtf8,
    /// User or password that are not UTF-8.
    #[error("the user or password in SOURCE is not UTF-8")]
    LoginNotUtf8,
    /// `#` in a URL.
    #[error("write # in an ftp:// address as %23")]
    Fragment,
    /// `user:password@host:path`.
    #[error(
        "host:path cannot hold a password; use netrc, password_file or FTPFS_PASSWORD, and for a path with @ and : in it, ftp://host/path"
    )]
    PasswordInShortForm,
    /// An invalid path.
    #[error("the path in SOURCE cannot be mounted: {0}")]
    Path(PathError),
    /// Any other violation of the URL syntax.
    #[error("SOURCE is not a correct ftp:// address: {0}")]
    Grammar(url::ParseError),
}

impl Source {
    /// Parses the typed text.
    ///
    /// # Errors
    /// The reason why it is invalid, which never repeats it.
    pub(crate) fn parse(typed: &OsStr) -> Result<Self, SourceError> {
        let bytes = typed.as_bytes();
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(SourceError::ControlCharacter);
        }
        let source = match bytes.windows(3).position(|window| window == b"://") {
            Some(end) if is_scheme(bytes.get(..end).unwrap_or_default()) => {
                parse_url(std::str::from_utf8(bytes).map_err(|_| SourceError::NotUtf8)?)
            }
            _ => parse_short(bytes),
        }?;
        source.path.resolve(&RemotePath::root())?;
        Ok(source)
    }
}

impl Source {
    /// Returns the first part of the path and the URL in which it is a port, for `host:2121/dir`.
    pub(crate) fn mistaken_port(&self) -> Option<(String, String)> {
        let StartPath::Relative(path) = &self.path else {
            return None;
        };
        if self.shown.contains("://") {
            return None;
        }
        let digits = path.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (typed, rest) = path.split_at_checked(digits)?;
        let typed = std::str::from_utf8(typed).ok()?;
        let port = typed.parse::<u16>().ok().filter(|port| *port > 0)?;
        let directory = match rest {
            [] => "",
            [b'/' | b':', directory @ ..] => std::str::from_utf8(directory).ok()?,
            _ => return None,
        };
        let user = self.user.as_ref().map(|user| format!("{user}@"));
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let url = format!(
            "ftp://{}{host}:{port}/{directory}",
            user.unwrap_or_default()
        );
        Some((typed.to_owned(), url))
    }

    /// Returns the URL of the same directory with explicit TLS, at the port for it unless another
    /// one than that of implicit TLS was given.
    pub(crate) fn with_explicit_tls(&self) -> String {
        let rest = self.shown.split_once("://").map_or("", |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = authority
            .strip_suffix(&format!(":{IMPLICIT_TLS_PORT}"))
            .unwrap_or(authority);
        format!("ftpes://{authority}/{path}")
    }
}

impl StartPath {
    /// Returns the directory, given the login directory.
    ///
    /// # Errors
    /// It contains `..`, a name that is too long, or one that cannot be sent.
    pub(crate) fn resolve(&self, home: &RemotePath) -> Result<RemotePath, SourceError> {
        match self {
            Self::Absolute(path) => RemotePath::new(path),
            Self::Relative(path) => path
                .split(|byte| *byte == b'/')
                .filter(|name| !name.is_empty() && *name != b".")
                .try_fold(home.clone(), |directory, name| directory.join(name)),
        }
        .map_err(SourceError::Path)
    }

    fn new(path: Vec<u8>) -> Self {
        match path.first() {
            Some(b'/') => Self::Absolute(path),
            _ => Self::Relative(path),
        }
    }
}

/// RFC 3986 §3.1.
fn is_scheme(bytes: &[u8]) -> bool {
    matches!(bytes, [first, rest @ ..] if first.is_ascii_alphabetic()
        && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
}

fn parse_url(typed: &str) -> Result<Source, SourceError> {
    let (scheme, rest) = typed.split_once("://").ok_or(SourceError::NoForm)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "ftp" => Scheme::Plain,
        "ftpes" => Scheme::ExplicitTls,
        "ftps" => Scheme::ImplicitTls,
        other => return Err(SourceError::OtherScheme(other.to_owned())),
    };
    // The URL parser would take the first path component for a missing host.
    if rest.is_empty() || rest.starts_with(['/', '\\', '?', '#']) {
        return Err(SourceError::NoHost);
    }
    // The parser's treatment of the host depends on the scheme, and it knows only ftp.
    let as_ftp = format!("ftp://{rest}");
    let url = Url::parse(&as_ftp).map_err(|error| match error {
        url::ParseError::EmptyHost => SourceError::NoHost,
        url::ParseError::InvalidPort => SourceError::BadPort,
        url::ParseError::IdnaError
        | url::ParseError::InvalidIpv4Address
        | url::ParseError::InvalidIpv6Address
        | url::ParseError::InvalidDomainCharacter => SourceError::BadHost,
        other => SourceError::Grammar(other),
    })?;
    if url.fragment().is_some() {
        return Err(SourceError::Fragment);
    }
    if url.port() == Some(0) {
        return Err(SourceError::BadPort);
    }
    let host = match url.host().ok_or(SourceError::NoHost)? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    let user = decode_login(url.username())?;
    let password = url.password().map(decode_login).transpose()?;
    Ok(Source {
        form: SourceForm::Url,
        scheme,
        host,
        port: url.port().or_else(|| port_21(rest)),
        user: (!user.is_empty()).then_some(user),
        password: password.map(Password::new),
        path: StartPath::new(url_path(&url)),
        shown: secret::without_password(typed),
    })
}

/// Returns port 21 if it was typed. The URL parser drops it as the default of ftp, but it is not
/// the default of ftps.
fn port_21(rest: &str) -> Option<u16> {
    Url::parse(&format!("http://{rest}")).ok()?.port()
}

/// Returns the path after the `/` that ends the authority, including a `?`, because FTP has no
/// queries.
fn url_path(url: &Url) -> Vec<u8> {
    let mut path = url.path().strip_prefix('/').unwrap_or_default().to_owned();
    if let Some(query) = url.query() {
        path.push('?');
        path.push_str(query);
    }
    percent_decode(without_type(&path))
}

/// Removes `;type=` (RFC 1738 §3.2.2), because every transfer is binary.
fn without_type(path: &str) -> &str {
    match path.rsplit_once(';') {
        Some((path, parameter))
            if ["type=a", "type=i", "type=d"]
                .iter()
                .any(|known| parameter.eq_ignore_ascii_case(known)) =>
        {
            path
        }
        _ => path,
    }
}

fn decode_login(encoded: &str) -> Result<String, SourceError> {
    let text = String::from_utf8(percent_decode(encoded)).map_err(|_| SourceError::LoginNotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(SourceError::ControlCharacter);
    }
    Ok(text)
}

/// Decodes a URL (RFC 3986 §2.1). A `%` without two hexadecimal digits is literal.
fn percent_decode(encoded: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, tail @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            decoded.push(high << 4 | low);
            rest = tail;
        } else {
            decoded.push(*first);
        }
    }
    decoded
}

fn parse_short(bytes: &[u8]) -> Result<Source, SourceError> {
    let (login, path) = split_short(bytes).ok_or(SourceError::NoForm)?;
    if let Some(at) = path.iter().position(|byte| *byte == b'@')
        && path.get(at..).is_some_and(|rest| rest.contains(&b':'))
    {
        return Err(SourceError::PasswordInShortForm);
    }
    let login = std::str::from_utf8(login).map_err(|_| SourceError::BadHost)?;
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, login),
    };
    if user.as_deref() == Some("") {
        return Err(SourceError::BadHost);
    }
    Ok(Source {
        form: SourceForm::Short,
        scheme: Scheme::Plain,
        host: short_host(host)?,
        port: None,
        user,
        password: None,
        path: StartPath::new(path.to_vec()),
        shown: String::from_utf8_lossy(bytes).into_owned(),
    })
}

/// Splits at the first colon that is not in the brackets of an IPv6 address.
fn split_short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut in_brackets = false;
    let colon = bytes.iter().position(|byte| {
        match byte {
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            _ => {}
        }
        *byte == b':' && !in_brackets
    })?;
    Some((bytes.get(..colon)?, bytes.get(colon + 1..)?))
}

fn short_host(host: &str) -> Result<String, SourceError> {
    if host.is_empty() {
        return Err(SourceError::NoHost);
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or(SourceError::BadHost)?;
        // An interface may follow, as in fe80::1%eth0.
        let number = address.split('%').next().unwrap_or_default();
        return match number.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(address.to_owned()),
            Err(_) => Err(SourceError::BadHost),
        };
    }
    if host.contains(|c: char| c.is_whitespace() || "/\\[]<>\"'`$&;|*?#".contains(c)) {
        return Err(SourceError::BadHost);
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests;

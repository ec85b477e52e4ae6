//! A proxy's URL: `SCHEME://[user:password@]host[:port]`, where SCHEME is `socks5`, `socks5h` or
//! `http`.

use super::{decode_login, short_host};
use crate::ftp::{Password, Proxy, ProxyKind};

/// The registered port of SOCKS.
const SOCKS_PORT: u16 = 1080;
/// The port of HTTP.
const HTTP_PORT: u16 = 80;

/// Why a text is not a proxy URL. No message repeats it, because it may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.expected())]
pub(crate) enum ProxyUrlError {
    /// An unknown scheme, or none.
    Scheme,
    /// A missing or invalid host.
    Host,
    /// Not a number from 1 to 65535.
    Port,
    /// Not UTF-8 when decoded, control characters, or a user name with a colon for HTTP.
    Login,
}

impl ProxyUrlError {
    /// Returns what was expected.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Scheme => {
                "socks5://host:port, socks5h://host:port or http://host:port, with user:password@ before the host where the \
                 proxy wants them,"
            }
            Self::Host => "a proxy's host name or address, an IPv6 address in brackets,",
            Self::Port => {
                "a port from 1 to 65535 (in a password, write / as %2F, : as %3A and @ as %40)"
            }
            Self::Login => "a proxy's user and password without control characters, in UTF-8,",
        }
    }
}

/// Parses a proxy URL.
///
/// # Errors
/// The reason why it is invalid, which never repeats it.
pub(crate) fn parse_proxy(url: &str) -> Result<Proxy, ProxyUrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(ProxyUrlError::Scheme)?;
    let kind = match scheme.to_ascii_lowercase().as_str() {
        "socks5" => ProxyKind::Socks5,
        "socks5h" => ProxyKind::Socks5h,
        "http" => ProxyKind::Http,
        _ => return Err(ProxyUrlError::Scheme),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, authority),
    };
    let (host, port) = place_of(place, kind)?;
    Ok(Proxy {
        kind,
        host,
        port,
        login: login.map(|login| read_login(login, kind)).transpose()?,
    })
}

fn read_login(text: &str, kind: ProxyKind) -> Result<(String, Password), ProxyUrlError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decoded = |text| decode_login(text).map_err(|_| ProxyUrlError::Login);
    let (user, password) = (decoded(user)?, decoded(password)?);
    // RFC 7617 §2: the first colon ends the user name.
    if kind == ProxyKind::Http && user.contains(':') {
        return Err(ProxyUrlError::Login);
    }
    Ok((user, Password::new(password)))
}

fn place_of(place: &str, kind: ProxyKind) -> Result<(String, u16), ProxyUrlError> {
    let port_begins = match place.rsplit_once(']') {
        Some((address, _)) => place.get(address.len() + 1..),
        None => Some(place),
    };
    let port = port_begins.and_then(|text| text.rsplit_once(':'));
    let (host, port) = match port {
        Some((_, port)) => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let number = port.parse().ok().filter(|number| digits && *number != 0);
            let host = place.get(..place.len() - port.len() - 1);
            (host.unwrap_or_default(), number.ok_or(ProxyUrlError::Port)?)
        }
        None if kind == ProxyKind::Http => (place, HTTP_PORT),
        None => (place, SOCKS_PORT),
    };
    let host = short_host(host).map_err(|_| ProxyUrlError::Host)?;
    if host.contains(['@', ':']) && !place.starts_with('[') {
        return Err(ProxyUrlError::Host);
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(kind: ProxyKind, host: &str, port: u16, login: Option<(&str, &str)>) -> Proxy {
        Proxy {
            kind,
            host: host.to_owned(),
            port,
            login: login.map(|(user, password)| (user.to_owned(), Password::new(password))),
        }
    }

    #[test]
    fn a_proxy_is_read_with_all_its_parts() {
        for (url, expected) in [
            ("socks5://h:1", proxy(ProxyKind::Socks5, "h", 1, None)),
            (
                "SOCKS5H://me:a%40b:c@[::1]:9050/",
                proxy(ProxyKind::Socks5h, "::1", 9050, Some(("me", "a@b:c"))),
            ),
            (
                "http://me@10.0.0.1:3128",
                proxy(ProxyKind::Http, "10.0.0.1", 3128, Some(("me", ""))),
            ),
            ("http://h", proxy(ProxyKind::Http, "h", 80, None)),
            (
                "socks5://[::1]",
                proxy(ProxyKind::Socks5, "::1", 1080, None),
            ),
        ] {
            assert_eq!(parse_proxy(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_why_and_not_repeated() {
        for (url, error) in [
            ("h:1080", ProxyUrlError::Scheme),
            ("socks4://h:1", ProxyUrlError::Scheme),
            ("https://h:1", ProxyUrlError::Scheme),
            ("socks5://", ProxyUrlError::Host),
            ("socks5://:1", ProxyUrlError::Host),
            ("socks5://::1:1", ProxyUrlError::Host),
            ("socks5://h/path", ProxyUrlError::Host),
            ("socks5://h:", ProxyUrlError::Port),
            ("socks5://h:0", ProxyUrlError::Port),
            ("socks5://h:+1", ProxyUrlError::Port),
            ("socks5://h:65536", ProxyUrlError::Port),
            ("http://me:pa/ss", ProxyUrlError::Port),
            ("http://me:a%0ab@h:1", ProxyUrlError::Login),
            ("http://m%3ae:b@h:1", ProxyUrlError::Login),
            ("socks5://%ff:b@h:1", ProxyUrlError::Login),
        ] {
            assert_eq!(parse_proxy(url), Err(error), "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*", rest in "[\\[\\]:@/é1a]*") {
            let _ = parse_proxy(&text);
            let _ = parse_proxy(&format!("socks5://{rest}"));
        }
    }
}

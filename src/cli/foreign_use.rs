//! The options of other programs that a command line contains, for one hint in the log, and
//! curlftpfs's description of a proxy, which is spread over several of them.

use crate::ftp::Password;

/// Options of other programs in the order in which they were typed, each once. Contains no values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ForeignUse {
    /// What was typed, and what to write instead.
    replaced: Vec<(String, String)>,
    ignored: Vec<&'static str>,
    /// Whether one is of sshfs, which encrypts everything.
    pub(super) is_of_sshfs: bool,
}

impl ForeignUse {
    /// Records that `own` was used for `typed`.
    pub(super) fn add_replaced(&mut self, typed: &str, own: &str) {
        let pair = (typed.to_owned(), own.to_owned());
        if !self.replaced.contains(&pair) {
            self.replaced.push(pair);
        }
    }

    /// Records that `name` was ignored.
    pub(super) fn add_ignored(&mut self, name: &'static str) {
        if !self.ignored.contains(&name) {
            self.ignored.push(name);
        }
    }

    /// Returns how the option `own` was typed, if it was as one of another program.
    pub(super) fn typed_for(&self, own: &str) -> Option<&str> {
        let mut pairs = self.replaced.iter();
        let (typed, _) = pairs.find(|(_, instead)| instead.trim_end_matches('=') == own)?;
        Some(typed.trim_end_matches('='))
    }

    /// Returns one sentence that says how to write the options for ftpfs, or None if they are.
    pub(super) fn hint(&self) -> Option<String> {
        let instead = self.replaced.iter();
        let instead: Vec<String> = instead
            .map(|(typed, own)| format!("{own} for {typed}"))
            .collect();
        let parts = [
            ("write ", instead.join(", ")),
            ("leave out ", self.ignored.join(", ")),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(verb, names)| format!("{verb}{names}"))
            .collect();
        (!parts.is_empty()).then(|| format!("options of other programs: {}", parts.join("; ")))
    }
}

/// The port of a proxy without one, as in curl.
const CURL_PORT: &str = ":1080";

/// curlftpfs's `proxy=host:port` without a scheme, with `proxy_user=` and the proxy's kind.
#[derive(Debug, Default)]
pub(super) struct ForeignProxy {
    /// Host and port, maybe with a login.
    pub(super) place: Option<Password>,
    /// `user:password`.
    pub(super) login: Option<Password>,
    /// The scheme of a proxy URL; HTTP by default, as in curl.
    pub(super) scheme: Option<&'static str>,
}

impl ForeignProxy {
    /// Returns the proxy's URL, or None if no place was given.
    pub(super) fn url(&self) -> Option<Password> {
        let scheme = self.scheme.unwrap_or("http");
        let place = self.place.as_ref()?.reveal();
        let login = self.login.as_ref().map(|login| {
            let (user, password) = login
                .reveal()
                .split_once(':')
                .unwrap_or((login.reveal(), ""));
            format!("{}:{}@", encoded(user), encoded(password))
        });
        let port = if has_port(place) { "" } else { CURL_PORT };
        let url = format!("{scheme}://{}{place}{port}", login.unwrap_or_default());
        Some(Password::new(url))
    }
}

fn has_port(place: &str) -> bool {
    let host = place.rsplit('@').next().unwrap_or_default();
    host.rsplit(']').next().unwrap_or_default().contains(':')
}

/// Percent-encodes everything that is not unreserved (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_one_sentence_that_names_everything_once() {
        let mut used = ForeignUse::default();
        assert_eq!(used.hint(), None);
        used.add_ignored("utf8");
        used.add_ignored("utf8");
        let hint = used.hint().unwrap();
        assert_eq!(hint, "options of other programs: leave out utf8");
        used.add_replaced("ssl", "tls");
        used.add_replaced("cacert=", "cafile=");
        used.add_replaced("ssl", "tls");
        used.add_ignored("tcp_nodelay");
        assert_eq!(
            used.hint().unwrap(),
            "options of other programs: write tls for ssl, cafile= for cacert=; \
             leave out utf8, tcp_nodelay"
        );
    }

    #[test]
    fn a_proxy_in_parts_becomes_a_url() {
        let proxy = ForeignProxy {
            place: Some(Password::new("h:1")),
            login: Some(Password::new("me:a@b:c")),
            scheme: Some("socks5"),
        };
        let url = proxy.url().unwrap();
        assert_eq!(url.reveal(), "socks5://me:a%40b%3Ac@h:1");
        assert!(ForeignProxy::default().url().is_none());
        let url_of = |place: &str| {
            let proxy = ForeignProxy {
                place: Some(Password::new(place)),
                ..ForeignProxy::default()
            };
            proxy.url().unwrap().reveal().to_owned()
        };
        assert_eq!(url_of("me:x@h"), "http://me:x@h:1080");
        assert_eq!(url_of("[::1]"), "http://[::1]:1080");
        assert_eq!(url_of("[::1]:8"), "http://[::1]:8");
    }
}

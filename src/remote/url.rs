//! The URL of a file, as curl and ftpfs accept it (RFC 1738 §3.2, RFC 3986).

use std::fmt::Write as _;

use super::RemoteHandle;
use crate::ftp::{RemotePath, Tls};

/// Default ports of FTP, and of FTP over implicit TLS.
const PORTS: (u16, u16) = (21, 990);

impl RemoteHandle {
    /// Returns the URL of `path`, without a password.
    pub(crate) fn url(&self, path: &RemotePath) -> String {
        let server = &self.inner.server;
        let (scheme, port) = match server.tls {
            Tls::Off => ("ftp", PORTS.0),
            Tls::Explicit(_) => ("ftpes", PORTS.0),
            Tls::Implicit(_) => ("ftps", PORTS.1),
        };
        let mut url = format!("{scheme}://");
        encode(&mut url, server.user.as_bytes());
        let is_ipv6 = server.host.contains(':');
        let (open, close) = if is_ipv6 { ("[", "]") } else { ("", "") };
        // Writing to a String cannot fail.
        let _ = write!(url, "@{open}{}{close}", server.host);
        if server.port != port {
            let _ = write!(url, ":{}", server.port);
        }
        url.push('/');
        // A path that begins with a slash of its own is absolute, any other is relative to the
        // login directory.
        let home = self.home().ok();
        let below = home.as_ref().and_then(|home| path.below(home));
        encode(&mut url, below.unwrap_or(path.as_bytes()));
        url
    }
}

/// Appends `bytes`, of which all but the unreserved ones and slashes are encoded.
fn encode(url: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            url.push(char::from(*byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_are_encoded() {
        let mut url = String::new();
        encode(&mut url, b"/a b/\xff#?%;~");
        assert_eq!(url, "/a%20b/%FF%23%3F%25%3B~");
    }
}

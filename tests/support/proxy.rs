//! A proxy in this process that speaks SOCKS5 (RFC 1928, RFC 1929) or HTTP CONNECT. It is written
//! from the RFCs, independently of the client side in ftpfs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The user name that every test proxy accepts.
pub(crate) const PROXY_USER: &str = "proxy-user";

/// The user's password, with characters that must be escaped in a URL; this is the escaped form.
const ESCAPED_PASSWORD: &str = "pr%40xy%3Asecret%2F1";

/// The same password as it is sent.
const PASSWORD: &str = "pr@xy:secret/1";

/// `PROXY_USER:PASSWORD` in base64.
const BASIC: &str = "cHJveHktdXNlcjpwckB4eTpzZWNyZXQvMQ==";

/// A host name that only this proxy resolves, to 127.0.0.1.
pub(crate) const HOST_BEHIND: &str = "ftp.behind-the-proxy.invalid";

/// The protocol that the proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Socks5,
    Http,
}

/// How the proxy treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Serves every request.
    Serves,
    /// Serves only requests that have the password.
    ServesUsers,
    /// Connects only to this port.
    ServesPort(u16),
    /// Refuses every request.
    Refuses,
    /// Accepts connections and stays silent.
    Stalls,
}

/// A running proxy; it stops with the test.
pub(crate) struct TestProxy {
    speaks: Speaks,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl TestProxy {
    /// Starts a proxy on a free port of 127.0.0.1.
    pub(crate) fn start(speaks: Speaks, manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its own address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let to_note = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let to_note = Arc::clone(&to_note);
                thread::spawn(move || {
                    let note = |host: &str, port| {
                        to_note.lock().unwrap().push((host.to_owned(), port));
                    };
                    // An error of the client shows on the client's side.
                    let _ = serve(client, speaks, manner, note);
                });
            }
        });
        Self {
            speaks,
            address,
            asked,
        }
    }

    /// Returns the proxy's URL without a login; `scheme` must be one that the proxy speaks.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Returns the proxy's URL with user and password.
    pub(crate) fn url_with_password(&self, scheme: &str) -> String {
        format!(
            "{scheme}://{PROXY_USER}:{ESCAPED_PASSWORD}@{}",
            self.address
        )
    }

    /// Returns every form in which the password could leak.
    pub(crate) fn secrets() -> [&'static str; 3] {
        [PASSWORD, ESCAPED_PASSWORD, BASIC]
    }

    /// Returns the hosts and ports requested so far.
    pub(crate) fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns the protocol that the proxy speaks.
    pub(crate) fn speaks(&self) -> Speaks {
        self.speaks
    }
}

fn serve(
    mut client: TcpStream,
    speaks: Speaks,
    manner: Manner,
    note: impl Fn(&str, u16),
) -> io::Result<()> {
    if manner == Manner::Stalls {
        return client.read_to_end(&mut Vec::new()).map(drop);
    }
    let needs_login = manner == Manner::ServesUsers;
    let (host, port) = match speaks {
        Speaks::Socks5 => socks_request(&mut client, needs_login)?,
        Speaks::Http => match http_request(&mut client, needs_login)? {
            Some(target) => target,
            None => {
                return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
            }
        },
    };
    note(&host, port);
    let is_allowed = match manner {
        Manner::ServesPort(allowed) => port == allowed,
        manner => manner != Manner::Refuses,
    };
    let host = if host == HOST_BEHIND {
        "127.0.0.1"
    } else {
        &host
    };
    let server = if is_allowed {
        TcpStream::connect((host, port)).ok()
    } else {
        None
    };
    let (done, refused): (&[u8], &[u8]) = match speaks {
        Speaks::Socks5 => (
            &[5, 0, 0, 1, 127, 0, 0, 1, 0, 9],
            &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0],
        ),
        Speaks::Http => (
            b"HTTP/1.1 200 Connection established\r\n\r\n",
            b"HTTP/1.1 403 Not allowed by policy\r\nContent-Length: 0\r\n\r\n",
        ),
    };
    match server {
        Some(server) => {
            client.write_all(done)?;
            relay(&client, &server)
        }
        None => client.write_all(refused),
    }
}

fn read<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_string(client: &mut TcpStream) -> io::Result<String> {
    let [length] = read(client)?;
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn socks_request(client: &mut TcpStream, needs_login: bool) -> io::Result<(String, u16)> {
    let [version, count] = read(client)?;
    let mut methods = vec![0; usize::from(count)];
    client.read_exact(&mut methods)?;
    let method = if needs_login { 2 } else { 0 };
    if version != 5 || !methods.contains(&method) {
        client.write_all(&[5, 0xff])?;
        return Err(io::Error::other("no method"));
    }
    client.write_all(&[5, method])?;
    if needs_login {
        let [_] = read(client)?;
        let login = (read_string(client)?, read_string(client)?);
        let is_right = login == (PROXY_USER.to_owned(), PASSWORD.to_owned());
        client.write_all(&[1, u8::from(!is_right)])?;
        if !is_right {
            return Err(io::Error::other("wrong password"));
        }
    }
    let [_version, _connect, _reserved, kind] = read(client)?;
    let host = match kind {
        1 => Ipv4Addr::from(read::<4>(client)?).to_string(),
        4 => Ipv6Addr::from(read::<16>(client)?).to_string(),
        _ => read_string(client)?,
    };
    Ok((host, u16::from_be_bytes(read(client)?)))
}

/// Reads an HTTP CONNECT request; None if the password is missing or wrong.
fn http_request(client: &mut TcpStream, needs_login: bool) -> io::Result<Option<(String, u16)>> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let mut next = || lines.next().unwrap_or_else(|| Ok(String::new()));
    let request = next()?;
    let mut is_let_in = !needs_login;
    loop {
        let line = next()?;
        if line.is_empty() {
            break;
        }
        is_let_in |= line == format!("Proxy-Authorization: Basic {BASIC}");
    }
    let target = request.strip_prefix("CONNECT ");
    let target = target.and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let (host, port) = target
        .and_then(|target| target.rsplit_once(':'))
        .ok_or_else(|| io::Error::other("no CONNECT"))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = port.parse().map_err(io::Error::other)?;
    Ok(is_let_in.then_some((host, port)))
}

/// Relays data until both sides have closed.
fn relay(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let copied = io::copy(&mut from, &mut to).map(drop);
        let _ = to.shutdown(Shutdown::Write);
        copied
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(server, client));
        copy(client, server)
    })
}

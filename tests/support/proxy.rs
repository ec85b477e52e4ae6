//! A proxy to connect by: SOCKS5 (RFC 1928, RFC 1929) or HTTP CONNECT, in this process, written
//! after the RFCs and not after ftpfs's own side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The user that every test proxy knows.
pub(crate) const PROXY_USER: &str = "proxy-user";

/// Its password, with characters that a URL must escape; here it is escaped.
const ESCAPED_PASSWORD: &str = "pr%40xy%3Asecret%2F1";

/// The same as it is sent.
const PASSWORD: &str = "pr@xy:secret/1";

/// `PROXY_USER:PASSWORD` in base64.
const BASIC: &str = "cHJveHktdXNlcjpwckB4eTpzZWNyZXQvMQ==";

/// A host that only this proxy knows: it is 127.0.0.1.
pub(crate) const HOST_BEHIND: &str = "ftp.behind-the-proxy.invalid";

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Socks5,
    Http,
}

/// What it does for those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// What it is asked.
    Serves,
    /// The same for those who have the password.
    ServesUsers,
    /// Connects to this port alone.
    ServesPort(u16),
    /// Refuses.
    Refuses,
    /// Takes connections and says nothing.
    Stalls,
}

/// A running proxy; it ends with the test.
pub(crate) struct TestProxy {
    speaks: Speaks,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl TestProxy {
    /// Starts it on a free port of 127.0.0.1.
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
                    // Whatever a client does wrong shows on its side.
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

    /// Its URL without a login; `scheme` is one that it speaks.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Its URL with user and password.
    pub(crate) fn url_with_password(&self, scheme: &str) -> String {
        format!(
            "{scheme}://{PROXY_USER}:{ESCAPED_PASSWORD}@{}",
            self.address
        )
    }

    /// Every way in which its password could show.
    pub(crate) fn secrets() -> [&'static str; 3] {
        [PASSWORD, ESCAPED_PASSWORD, BASIC]
    }

    /// The hosts and ports it was asked for.
    pub(crate) fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }

    /// What it speaks.
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

/// None where the password is missing or wrong.
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

/// Until both sides have ended.
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

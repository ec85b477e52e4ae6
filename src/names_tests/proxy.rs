//! What is between a mount and its server: it loses, refuses or holds what is sent.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the proxy of the control connections treats what goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// The answer to the next command of this name is lost, and the way is closed then.
    LosesAnswer(&'static str),
    /// This command was sent, and its answer is not there yet.
    Loses(&'static str),
    /// There is no connection.
    Closed,
    /// Renames to paths that contain this are refused.
    RefusesRename(&'static str),
    /// Renames to paths that contain this do not arrive yet.
    Holds(&'static str),
    /// Commands of these names do not arrive.
    Swallows(&'static [&'static str]),
    /// No time can be set.
    RefusesTimes,
    /// Commands of these names for paths that contain this are refused with this reply.
    Refuses(&'static [&'static str], &'static str, &'static str),
    /// The same, and lines that contain the last one wait.
    RefusesAndHolds(
        &'static [&'static str],
        &'static str,
        &'static str,
        &'static str,
    ),
}

pub(super) struct ControlProxy {
    pub(super) port: u16,
    pub(super) way: Arc<Mutex<Way>>,
}

impl ControlProxy {
    pub(super) fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Mutex::new(Way::Open));
        let of_thread = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to));
                let Some(server) = server
                    .ok()
                    .filter(|_| *of_thread.lock().unwrap() != Way::Closed)
                else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ends = [client.try_clone(), server.try_clone()].map(Result::unwrap);
                let way = Arc::clone(&of_thread);
                std::thread::spawn(move || {
                    forward(client, server, |line| {
                        let is_held = |held: &str| String::from_utf8_lossy(&line).contains(held);
                        let mut way = loop {
                            let way = way.lock().unwrap();
                            match *way {
                                Way::RefusesAndHolds(.., held) if is_held(held) => {}
                                Way::Holds(to) if is_rename_to(&line, to) => {}
                                _ => break way,
                            }
                            drop(way);
                            std::thread::sleep(Duration::from_millis(5));
                        };
                        if let Way::Refuses(names, part, _) | Way::RefusesAndHolds(names, part, ..) =
                            *way
                            && String::from_utf8_lossy(&line).contains(part)
                            && let Some(name) =
                                names.iter().find(|it| line.starts_with(it.as_bytes()))
                        {
                            let absent = format!("{name} /absent/directory/name\r\n");
                            return Some(absent.into_bytes());
                        }
                        if let Way::LosesAnswer(name) = *way
                            && line.starts_with(name.as_bytes())
                        {
                            *way = Way::Loses(name);
                        }
                        if let Way::Swallows(names) = *way
                            && names.iter().any(|name| line.starts_with(name.as_bytes()))
                        {
                            return Some(Vec::new());
                        }
                        let is_time = ["MFMT", "SITE UTIME", "MDTM 2"];
                        if *way == Way::RefusesTimes
                            && is_time.iter().any(|it| line.starts_with(it.as_bytes()))
                        {
                            return Some(b"SITE NONSENSE\r\n".to_vec());
                        }
                        if let Way::RefusesRename(part) = *way
                            && is_rename_to(&line, part)
                        {
                            return Some(b"RNTO /absent/directory/name\r\n".to_vec());
                        }
                        Some(line)
                    });
                });
                let way = Arc::clone(&of_thread);
                let [client, server] = ends;
                std::thread::spawn(move || {
                    forward(server, client, |line| {
                        let mut way = way.lock().unwrap();
                        if let Way::Loses(_) = *way
                            && line.starts_with(b"250")
                        {
                            *way = Way::Closed;
                        }
                        if let Way::Refuses(_, _, reply) | Way::RefusesAndHolds(_, _, reply, _) =
                            *way
                            && line.starts_with(b"550 ")
                        {
                            return Some(format!("{reply}\r\n").into_bytes());
                        }
                        (*way != Way::Closed).then_some(line)
                    });
                });
            }
        });
        Self { port, way }
    }

    pub(super) fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }

    pub(super) fn way(&self) -> Way {
        *self.way.lock().unwrap()
    }
}

fn is_rename_to(line: &[u8], part: &str) -> bool {
    line.starts_with(b"RNTO") && String::from_utf8_lossy(line).contains(part)
}

/// Forwards lines as long as `pass` returns what to send.
pub(super) fn forward(
    from: TcpStream,
    mut to: TcpStream,
    pass: impl Fn(Vec<u8>) -> Option<Vec<u8>>,
) {
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        let count = from.read_until(b'\n', &mut line).unwrap_or(0);
        let line = pass(line).filter(|_| count > 0);
        if line.is_none_or(|line| to.write_all(&line).is_err()) {
            break;
        }
    }
    let _ = (
        from.get_ref().shutdown(Shutdown::Both),
        to.shutdown(Shutdown::Both),
    );
}

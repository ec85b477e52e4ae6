//! A misbehaving server: it does what the test's script says, and acts as a small ordinary server
//! where the script says nothing.
//!
//! It has a directory `good` with a file `alive`, by which a test checks that the mount still
//! works.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The content of the file `good/alive`.
pub(crate) const ALIVE: &str = "it lives";

/// An action on a connection.
type Deed = Box<dyn FnOnce(&mut TcpStream) -> std::io::Result<()> + Send>;

/// What the server does instead of the correct behavior.
pub(crate) enum Act {
    /// Sends these bytes unchanged on the control connection.
    Say(Vec<u8>),
    /// Runs this on the control connection.
    Speak(Deed),
    /// Performs a transfer: sends `150`, runs this on the data connection, then sends this on the
    /// control connection.
    Transfer(Deed, &'static str),
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the arms of a script are options: None is what is right"
)]
impl Act {
    /// Sends these lines, including their line ends.
    pub(crate) fn say(lines: &str) -> Option<Self> {
        let lines = lines.lines().map(|line| format!("{line}\r\n"));
        Some(Self::Say(lines.collect::<String>().into_bytes()))
    }

    /// Transfers these bytes successfully.
    pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        Self::transfer(move |data| data.write_all(&bytes))
    }

    /// Runs this on the data connection of a transfer, which ends with a success reply.
    pub(crate) fn transfer(
        act: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Option<Self> {
        Some(Self::Transfer(Box::new(act), "226 done\r\n"))
    }

    /// Runs this on the control connection.
    pub(crate) fn speak(
        act: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Option<Self> {
        Some(Self::Speak(Box::new(act)))
    }
}

type Script = dyn Fn(&str) -> Option<Act> + Send + Sync;

/// The server; once dropped, it accepts no more connections.
pub(crate) struct Scripted {
    port: u16,
    ended: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Starts a server that does what `script` returns for a command line, and behaves correctly
    /// where it returns None.
    pub(crate) fn start(script: impl Fn(&str) -> Option<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ended, heard) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let script: Arc<Script> = Arc::new(script);
        let server = Self {
            port,
            ended: Arc::clone(&ended),
            heard: Arc::clone(&heard),
        };
        thread::spawn(move || {
            for control in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                // A client that disconnects ends its session; there is no one to report that to.
                thread::spawn(move || control.and_then(|control| serve(control, &*script, &heard)));
            }
        });
        server
    }

    /// Starts a server that lists these fact lines for the root, in addition to `good`.
    pub(crate) fn listing(lines: impl Into<Vec<u8>>) -> Self {
        let mut listing = lines.into();
        listing.extend_from_slice(b"type=dir; good\r\n");
        Self::start(move |line| {
            (line == "MLSD /")
                .then(|| Act::send(listing.clone()))
                .flatten()
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's URL.
    pub(crate) fn url(&self) -> String {
        format!("ftp://liar@127.0.0.1:{}/", self.port)
    }

    /// Returns every command so far.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(control: TcpStream, script: &Script, heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    control.set_nodelay(true)?;
    let mut lines = BufReader::new(control.try_clone()?);
    let mut session = Session {
        control,
        passive: None,
    };
    session.act("CONNECT", script)?;
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let command = String::from_utf8_lossy(&line)
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        line.clear();
        heard.lock().unwrap().push(command.clone());
        session.act(&command, script)?;
    }
    Ok(())
}

struct Session {
    control: TcpStream,
    passive: Option<TcpListener>,
}

impl Session {
    fn act(&mut self, line: &str, script: &Script) -> std::io::Result<()> {
        match script(line).or_else(|| self.ordinary(line)) {
            Some(Act::Say(bytes)) => self.control.write_all(&bytes),
            Some(Act::Speak(act)) => act(&mut self.control),
            Some(Act::Transfer(act, after)) => self.transfer(act, after),
            None => self.control.write_all(b"502 unknown here\r\n"),
        }
    }

    fn transfer(&mut self, act: Deed, after: &str) -> std::io::Result<()> {
        let Some(listener) = self.passive.take() else {
            return self.control.write_all(b"425 no data connection\r\n");
        };
        let (mut data, _) = listener.accept()?;
        self.control.write_all(b"150 here it comes\r\n")?;
        // If the client disconnects, the transfer also ends.
        let _ = act(&mut data);
        drop(data);
        self.control.write_all(after.as_bytes())
    }

    fn ordinary(&mut self, line: &str) -> Option<Act> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let answers = BTreeMap::from([
            ("CONNECT", "220 ready"),
            ("USER", "331 password?"),
            ("PASS", "230 in"),
            (
                "FEAT",
                "211-Features\n MLST type*;size*;modify*;\n REST STREAM\n SIZE\n211 End",
            ),
            ("OPTS", "200 so be it"),
            ("TYPE", "200 so be it"),
            ("NOOP", "200 here"),
            ("PWD", "257 \"/\" is where you are"),
            ("CWD", "250 there"),
            ("REST", "350 from there"),
            ("ABOR", "226 nothing to abort"),
            ("QUIT", "221 bye"),
        ]);
        match (verb, argument) {
            ("EPSV", _) => {
                let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                let port = listener.local_addr().ok()?.port();
                self.passive = Some(listener);
                Act::say(&format!("229 there (|||{port}|)"))
            }
            ("PASV", _) => {
                let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                let port = listener.local_addr().ok()?.port();
                self.passive = Some(listener);
                let [high, low] = port.to_be_bytes();
                Act::say(&format!("227 at ( 127, 0, 0, 1, {high}, {low} )"))
            }
            ("MLSD", "/") => Act::send("type=dir; good\r\n"),
            ("MLSD", "/good") => Act::send(format!("type=file;size={}; alive\r\n", ALIVE.len())),
            ("MLST", "/" | "/good") => Act::say(&format!("250-it\n type=dir; {argument}\n250 is")),
            ("MLST", "/good/alive") => {
                let size = ALIVE.len();
                Act::say(&format!(
                    "250-it\n type=file;size={size}; {argument}\n250 is"
                ))
            }
            ("RETR", "/good/alive") => Act::send(ALIVE),
            ("MLSD" | "MLST" | "RETR" | "SIZE", _) => Act::say("550 no such file"),
            _ => answers.get(verb).and_then(|answer| Act::say(answer)),
        }
    }
}

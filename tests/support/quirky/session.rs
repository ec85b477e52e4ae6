//! A session: reads commands and performs the steps of their answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{Answer, Request, Step};
use super::file_tree::FileTree;
use super::quirks::Pipelined;
use super::{World, verbs};

/// Maximum time that the server waits for a data connection.
const DATA_WAIT: Duration = Duration::from_secs(10);

/// How long a server that mishandles pipelining waits for a second command.
const PIPELINE_WAIT: Duration = Duration::from_millis(20);

/// The state that a hook can read and change: the tree and its session.
pub(crate) struct State<'a> {
    pub(crate) tree: MutexGuard<'a, FileTree>,
    /// Number of the session, from 0.
    pub(crate) session: usize,
    /// Number of open sessions, including this one.
    pub(crate) open: usize,
    pub(crate) directory: &'a mut String,
    pub(crate) rest: u64,
    pub(crate) rename_from: &'a mut Option<String>,
    data: &'a mut DataConnection,
}

impl State<'_> {
    /// Returns the absolute path of a client's path.
    pub(crate) fn resolve(&self, path: &str) -> String {
        self.tree.resolve(self.directory, path)
    }

    pub(crate) fn is_directory(&self, path: &str) -> bool {
        let node = self.tree.node(&self.resolve(path));
        node.is_some_and(super::file_tree::Node::is_directory)
    }

    pub(crate) fn is_file(&self, path: &str) -> bool {
        let node = self.tree.node(&self.resolve(path));
        node.is_some_and(|node| !node.is_directory())
    }

    /// Whether the session is waiting for a data connection.
    pub(crate) fn is_listening(&self) -> bool {
        self.data.listener.is_some()
    }

    /// Starts to listen for a data connection on a new port.
    pub(crate) fn listen(&mut self) -> Option<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = listener.local_addr().ok()?.port();
        *self.data = DataConnection {
            listener: Some(listener),
            stream: None,
        };
        Some(port)
    }
}

#[derive(Default)]
struct DataConnection {
    listener: Option<TcpListener>,
    stream: Option<TcpStream>,
}

impl DataConnection {
    /// Accepts the data connection unless already done. Drops one from another address.
    fn accept(&mut self, client: SocketAddr) -> io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + DATA_WAIT;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(false)?;
                    self.stream = (peer.ip() == client.ip()).then_some(stream);
                    return Ok(());
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if Instant::now() > deadline => return Ok(()),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Serves one client until the session ends.
pub(super) fn serve(control: TcpStream, world: &World) -> io::Result<()> {
    let open = world.open.fetch_add(1, Ordering::SeqCst) + 1;
    let outcome = Session::new(control, world).and_then(|session| session.run(open));
    world.open.fetch_sub(1, Ordering::SeqCst);
    outcome
}

struct Session<'a> {
    world: &'a World,
    number: usize,
    client: SocketAddr,
    control: TcpStream,
    lines: BufReader<TcpStream>,
    directory: String,
    rest: u64,
    rename_from: Option<String>,
    data: DataConnection,
}

impl<'a> Session<'a> {
    fn new(control: TcpStream, world: &'a World) -> io::Result<Self> {
        control.set_nodelay(true)?;
        let mut heard = world.heard.lock().unwrap();
        heard.push(Vec::new());
        Ok(Self {
            world,
            number: heard.len() - 1,
            client: control.peer_addr()?,
            lines: BufReader::new(control.try_clone()?),
            control,
            directory: "/".to_owned(),
            rest: 0,
            rename_from: None,
            data: DataConnection::default(),
        })
    }

    fn run(mut self, open: usize) -> io::Result<()> {
        if let Some((most, words)) = self.world.quirks.most_sessions
            && open > most
        {
            return self.say(words);
        }
        let greeting = self.answer(&Request::parse("CONNECT"));
        self.perform(greeting)?;
        while let Some(first) = self.next_command()? {
            let mut batch = vec![first];
            if self.world.quirks.pipelined != Pipelined::Served {
                self.read_pipelined(&mut batch)?;
            }
            if batch.len() > 1 {
                self.serve_batch(batch)?;
                continue;
            }
            for request in batch {
                self.carry_out(&request)?;
            }
        }
        Ok(())
    }

    fn next_command(&mut self) -> io::Result<Option<Request>> {
        let mut line = Vec::new();
        if self.lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        self.world.heard.lock().unwrap()[self.number].push(line.to_owned());
        Ok(Some(Request::parse(line)))
    }

    fn read_pipelined(&mut self, batch: &mut Vec<Request>) -> io::Result<()> {
        loop {
            if self.lines.buffer().is_empty() {
                self.control.set_read_timeout(Some(PIPELINE_WAIT))?;
                let more = self.lines.fill_buf().map(|bytes| !bytes.is_empty());
                self.control.set_read_timeout(None)?;
                if !more.unwrap_or(false) {
                    return Ok(());
                }
            }
            let Some(request) = self.next_command()? else {
                return Ok(());
            };
            batch.push(request);
        }
    }

    fn serve_batch(&mut self, mut batch: Vec<Request>) -> io::Result<()> {
        match self.world.quirks.pipelined {
            Pipelined::Served => {}
            Pipelined::Closes => return self.perform(Answer::close()).map(drop),
            Pipelined::OneAnswer(lines) => return self.say(lines),
            Pipelined::Reversed => batch.reverse(),
            Pipelined::RefusalsFirst => {
                let answers = batch.iter().map(|request| self.answer(request));
                let mut answers: Vec<Answer> = answers.collect();
                answers.sort_by_key(|answer| !answer.is_refusal());
                return answers
                    .into_iter()
                    .try_for_each(|answer| self.perform(answer).map(drop));
            }
            Pipelined::Lost => batch.truncate(1),
        }
        batch.iter().try_for_each(|request| self.carry_out(request))
    }

    fn carry_out(&mut self, request: &Request) -> io::Result<()> {
        let is_transfer = request.is(&["RETR", "STOR", "APPE", "LIST", "NLST", "MLSD"]);
        let is_of_file = request.is(&["RETR", "STOR", "APPE"]);
        let answer = self.answer(request);
        let is_refusal = answer.is_refusal();
        let is_complete = self.perform(answer)?;
        let sticks = self.world.quirks.rest_sticks && (!is_of_file || is_refusal || !is_complete);
        if is_transfer && !sticks {
            self.rest = 0;
        }
        if self.world.quirks.epsv_blocks && request.is(&["EPSV", "PASV"]) {
            self.data.accept(self.client)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let quirks = &self.world.quirks;
        let mut state = State {
            tree: self.world.tree.lock().unwrap(),
            session: self.number,
            open: self.world.open.load(Ordering::SeqCst),
            directory: &mut self.directory,
            rest: self.rest,
            rename_from: &mut self.rename_from,
            data: &mut self.data,
        };
        let answer = quirks.instead(request, &mut state);
        let answer = answer.unwrap_or_else(|| verbs::answer(request, &mut state, quirks));
        self.rest = state.rest;
        quirks.altered(request, answer)
    }

    /// Performs the steps; returns whether all of them were performed.
    fn perform(&mut self, answer: Answer) -> io::Result<bool> {
        for step in answer.steps {
            match step {
                Step::Say(lines) => self.say(&lines)?,
                Step::SayBytes(bytes) => self.control.write_all(&bytes)?,
                Step::Send(bytes) => {
                    let Some(mut data) = self.data()? else {
                        return Ok(false);
                    };
                    if data.write_all(&bytes).is_err() {
                        self.say("426 Connection closed; transfer aborted")?;
                        if let Some(more) = self.world.quirks.after_abort {
                            self.say(more)?;
                        }
                        return Ok(false);
                    }
                }
                Step::SendAndReset(bytes) => {
                    let Some(mut data) = self.data()? else {
                        return Ok(false);
                    };
                    let _ = data.write_all(&bytes);
                    socket2::SockRef::from(&data).set_linger(Some(Duration::ZERO))?;
                }
                Step::Receive(path, from) => {
                    let Some(mut data) = self.data()? else {
                        return Ok(false);
                    };
                    let mut bytes = Vec::new();
                    let outcome = data.read_to_end(&mut bytes);
                    let mut tree = self.world.tree.lock().unwrap();
                    debug_assert!(tree.content(&path).is_none_or(|c| c.len() as u64 >= from));
                    tree.append(&path, &bytes);
                    drop(tree);
                    if outcome.is_err() {
                        self.say("426 Connection closed; transfer aborted")?;
                        return Ok(false);
                    }
                }
                Step::Wait(time) => thread::sleep(time),
                Step::Change(change) => change(&mut self.world.tree.lock().unwrap()),
                Step::Later(time, change) => {
                    let tree = Arc::clone(&self.world.tree);
                    let later = Arc::clone(&self.world.later);
                    later.lock().unwrap().push_back(change);
                    thread::spawn(move || {
                        thread::sleep(time);
                        let mut tree = tree.lock().unwrap();
                        // Make the oldest change, regardless of which thread wakes first.
                        if let Some(change) = later.lock().unwrap().pop_front() {
                            change(&mut tree);
                        }
                    });
                }
                Step::Close => {
                    let _ = self.control.shutdown(Shutdown::Both);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        Ok(true)
    }

    /// Returns the data connection; without one, sends the client an error reply.
    fn data(&mut self) -> io::Result<Option<TcpStream>> {
        self.data.accept(self.client)?;
        let data = self.data.stream.take();
        if data.is_none() {
            self.say("425 Security: no data connection from your address")?;
        }
        Ok(data)
    }

    fn say(&mut self, lines: &str) -> io::Result<()> {
        let lines = lines.lines().map(|line| format!("{line}\r\n"));
        self.control.write_all(lines.collect::<String>().as_bytes())
    }
}

//! A small in-memory FTP server that is honest by default. [`Quirks`] give it the behavior that
//! odd servers were seen to have.
//!
//! It keeps files, directories, times and modes, serves several sessions, and can be written to.
//!
//! ```ignore
//! let server = QuirkyServer::start(Quirks::none().without_facts().dash_is_a_name());
//! server.tree().file("/docs/a.txt", "hello");
//! let mount = Mount::of_url(&server.url(), "secret", &[]);
//! // … use the mount like any directory …
//! assert_eq!(server.tree().content("/docs/a.txt"), Some(b"hello".to_vec()));
//! assert_eq!(server.count("LIST"), 2);
//! ```
//!
//! A command becomes a [`Request`]. The first hook that returns an [`Answer`] wins; without one,
//! the honest server answers. Then every alteration may change the answer. An answer is a series
//! of steps (say, send, receive, wait, close), which the session performs.
//!
//! - `file_tree` holds the server's files, `verbs` and `listing` implement the honest server,
//! - `quirks` has a method for each quirk; all quirks can be combined,
//! - `session` reads commands, performs answers and handles pipelined commands.
//!
//! A quirk that only one test needs is a hook in that test:
//!
//! ```ignore
//! Quirks::none().hook(|request, state| {
//!     let is_size = request.verb == "SIZE" && state.is_file(&request.argument);
//!     is_size.then(|| Answer::say("213 File status"))
//! })
//! ```

mod answer;
mod file_tree;
mod listing;
mod quirks;
mod session;
mod verbs;

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

pub(crate) use answer::{Answer, Request, Step};
pub(crate) use file_tree::FileTree;
pub(crate) use quirks::{Pipelined, Quirks};
pub(crate) use session::State;

/// The server; once dropped, it accepts no more connections.
pub(crate) struct QuirkyServer {
    port: u16,
    world: Arc<World>,
}

/// The state that all sessions of a server share.
struct World {
    quirks: Quirks,
    tree: Arc<Mutex<FileTree>>,
    /// Changes to make later, in this order.
    later: Arc<Mutex<VecDeque<answer::Change>>>,
    /// The commands of each session, in order of arrival.
    heard: Mutex<Vec<Vec<String>>>,
    /// Number of currently open sessions.
    open: AtomicUsize,
    ended: AtomicBool,
}

impl QuirkyServer {
    /// Starts an empty server.
    pub(crate) fn start(quirks: Quirks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tree = FileTree::new(quirks.names());
        let world = Arc::new(World {
            quirks,
            tree: Arc::new(Mutex::new(tree)),
            later: Arc::default(),
            heard: Mutex::default(),
            open: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let server = Self {
            port,
            world: Arc::clone(&world),
        };
        thread::spawn(move || {
            for control in listener.incoming() {
                if world.ended.load(Ordering::Relaxed) {
                    return;
                }
                let world = Arc::clone(&world);
                // A client that disconnects ends its session.
                thread::spawn(move || control.and_then(|control| session::serve(control, &world)));
            }
        });
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of the server's root.
    pub(crate) fn url(&self) -> String {
        format!("ftp://user@127.0.0.1:{}/", self.port)
    }

    /// Returns the server's tree, for reading and writing.
    pub(crate) fn tree(&self) -> MutexGuard<'_, FileTree> {
        self.world.tree.lock().unwrap()
    }

    /// Returns the commands of each session so far.
    pub(crate) fn sessions(&self) -> Vec<Vec<String>> {
        self.world.heard.lock().unwrap().clone()
    }

    /// Returns every command so far, session by session.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.sessions().concat()
    }

    /// Returns the number of commands so far that begin with `prefix`.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let commands = self.commands();
        commands.iter().filter(|c| c.starts_with(prefix)).count()
    }
}

impl Drop for QuirkyServer {
    fn drop(&mut self) {
        self.world.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

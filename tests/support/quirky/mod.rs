//! A small FTP server in memory that is honest by default and takes [`Quirks`]: what odd servers
//! were seen to do.
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
//! A command becomes a [`Request`]. The first hook that has an [`Answer`] to it wins; otherwise the
//! honest server answers. Then every alteration may change the answer. An answer is a series of
//! steps (say, send, receive, wait, close), which the session performs.
//!
//! - `file_tree` is what the server holds, `verbs` and `listing` are the honest server,
//! - `quirks` has a method for each quirk, all of which combine,
//! - `session` reads commands and performs answers; it knows how pipelined commands fare.
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

/// The server; dropped, it takes no more connections.
pub(crate) struct QuirkyServer {
    port: u16,
    world: Arc<World>,
}

/// What all sessions of a server share.
struct World {
    quirks: Quirks,
    tree: Arc<Mutex<FileTree>>,
    /// What is carried out later, in this order.
    later: Arc<Mutex<VecDeque<answer::Change>>>,
    /// The commands of each session, in order of arrival.
    heard: Mutex<Vec<Vec<String>>>,
    /// Number of sessions that are open now.
    open: AtomicUsize,
    ended: AtomicBool,
}

impl QuirkyServer {
    /// A server that holds nothing yet.
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
                // A client that hangs up ends its session.
                thread::spawn(move || control.and_then(|control| session::serve(control, &world)));
            }
        });
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// URL of its root.
    pub(crate) fn url(&self) -> String {
        format!("ftp://user@127.0.0.1:{}/", self.port)
    }

    /// What it holds, to look at and to change.
    pub(crate) fn tree(&self) -> MutexGuard<'_, FileTree> {
        self.world.tree.lock().unwrap()
    }

    /// The commands of each session so far.
    pub(crate) fn sessions(&self) -> Vec<Vec<String>> {
        self.world.heard.lock().unwrap().clone()
    }

    /// Every command so far, session by session.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.sessions().concat()
    }

    /// Number of commands so far that begin with `prefix`.
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

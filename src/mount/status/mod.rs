//! The control socket of a running mount, and who asks there: `ftpfs status`.
//!
//! The socket is in a directory of the user's alone. Its name is the mount's device number, so that
//! it is found without touching the mount, and the process id, because the kernel gives the number
//! to another mount while the first one still ends. One question a connection: a line, `text` or
//! `json`; the answer is a [`Report`] in that form.

mod ask;
mod json;
mod place;
mod text;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::guarded;
use crate::vfs::{Report, Vfs};

pub use ask::{AskError, StatusAnswer, all, at};
pub use place::{Sockets, runtime_home};

/// How long one who asks may take to say what, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest question, bytes.
const QUESTION: u64 = 16;

/// What of a mount does not change.
#[derive(Debug, Clone)]
pub(super) struct MountIdentity {
    pub(super) mountpoint: PathBuf,
    /// Shown as the mount's source.
    pub(super) source: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
}

/// How a report is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is told of a mount.
struct Told<'a> {
    identity: &'a MountIdentity,
    /// It is unmounted, and stores what is left.
    is_ending: bool,
    report: &'a Report,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The socket of this mount; removed with this.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    sockets: Sockets,
    is_ending: Arc<AtomicBool>,
}

impl Socket {
    /// Answers for the mount whose device number is `device`.
    pub(super) fn open(
        sockets: &Sockets,
        device: &str,
        identity: MountIdentity,
        vfs: &Arc<Vfs>,
    ) -> io::Result<Self> {
        sockets.make()?;
        // Mounts that were killed left these.
        for old in sockets.of_device(device)? {
            if ask::is_dead(&old) {
                ask::remove(&old);
            }
        }
        let path = sockets.of_mount(device, std::process::id());
        let listener = listen(&path)?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let socket = Self {
            path: path.clone(),
            sockets: sockets.clone(),
            is_ending: Arc::clone(&is_ending),
        };
        let vfs = Arc::downgrade(vfs);
        guarded::spawn("status", move || {
            for connection in listener.incoming() {
                let Some(vfs) = vfs.upgrade() else { return };
                let is_ending = is_ending.load(Ordering::Relaxed);
                let answered = guarded::catch("an answer of the status", || {
                    connection.and_then(|connection| answer(connection, &identity, is_ending, &vfs))
                });
                if let Some(Err(error)) = answered {
                    log::debug!("a question for the status was not answered: {error}");
                }
            }
        })?;
        Ok(socket)
    }

    /// The mount is gone, and its device number may be another's soon: from now on only who asks
    /// for all mounts is answered.
    pub(super) fn unmounted(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let path = self.sockets.of_process(std::process::id());
        match fs::rename(&self.path, &path) {
            Ok(()) => self.path = path,
            Err(error) => log::debug!("{}: {error}", self.path.display()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

/// A socket at `path`, which answers from its first moment: to an asker, one that refuses is that
/// of a killed mount.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let unready = path.with_extension("new");
    ask::remove(&unready);
    let listener = UnixListener::bind(&unready)?;
    let shown = fs::set_permissions(&unready, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&unready, path));
    if let Err(error) = shown {
        ask::remove(&unready);
        return Err(error);
    }
    Ok(listener)
}

fn answer(
    mut connection: UnixStream,
    identity: &MountIdentity,
    is_ending: bool,
    vfs: &Vfs,
) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let form = question(&mut connection)?;
    let told = Told {
        identity,
        is_ending,
        report: &vfs.report(),
    };
    let text = match form {
        Form::Text => text::of(&told),
        Form::Json => json::of(&told),
    };
    connection.write_all(text.as_bytes())
}

/// The form that is asked for: a line that ends with a line feed.
fn question(connection: &mut UnixStream) -> io::Result<Form> {
    let mut line = String::new();
    BufReader::new(connection.take(QUESTION)).read_line(&mut line)?;
    let forms = [Form::Text, Form::Json];
    let asked = forms
        .into_iter()
        .find(|form| line.strip_suffix('\n') == Some(form.word()));
    asked.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Shown of a path that is no UTF-8, as near as can be.
fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

//! The names that unfinished uploads, and files moved aside, have on the server for a while: the one place
//! that makes and knows them. Each is in the journal from before it is used until it is known to be gone.

use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::change;
use super::error::{Operation, Task};
use super::retry::Dialogue;
use super::stat::{Look, look};
use super::{Error, Remote, rename};
use crate::ftp::RemotePath;
use crate::journal::Journal;

const PREFIX: &[u8] = b".ftpfs-";
const PART: &[u8] = b".part";
const ASIDE: &[u8] = b".old";
/// Hexadecimal digits between prefix and suffix: half of them are the mount's, half the name's.
const DIGITS: usize = 16;

/// Makes names that no other mount makes, and remembers those that could not be cleared away.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    journal: Journal,
    made: AtomicU32,
    orphans: Mutex<Vec<Orphan>>,
}

/// A temporary name in use. Dropped before it is [gone](Self::gone), it is an orphan, which
/// [`Remote::clear_orphans`] looks after.
#[derive(Debug)]
pub(super) struct Temporary {
    remote: Remote,
    orphan: Option<Orphan>,
    path: RemotePath,
}

/// What may still be on the server though nobody works with it any more.
#[derive(Debug, Clone)]
enum Orphan {
    /// An unfinished upload.
    Part(RemotePath),
    /// A file that was moved aside, and from where.
    Aside(RemotePath, RemotePath),
}

impl TemporaryNames {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            made: AtomicU32::new(0),
            orphans: Mutex::default(),
        }
    }

    /// The file at `path` is overwritten where it is.
    pub(super) fn in_place(&self, path: &RemotePath) {
        self.journal.in_place(path);
    }

    /// … and is so no more.
    pub(super) fn not_in_place(&self, path: &RemotePath) {
        self.journal.gone(path);
    }

    /// Whether this mount made `name`.
    pub(super) fn is_ours(&self, name: &[u8]) -> bool {
        is_temporary(name) && name.starts_with(&self.start())
    }

    fn beside(&self, target: &RemotePath, suffix: &[u8]) -> Option<RemotePath> {
        let number = format!("{:08x}", self.made.fetch_add(1, Ordering::Relaxed));
        let name = [&self.start(), number.as_bytes(), suffix].concat();
        target.parent()?.join(&name).ok()
    }

    fn start(&self) -> Vec<u8> {
        [PREFIX, format!("{:08x}", self.journal.mount()).as_bytes()].concat()
    }
}

impl Remote {
    /// A new name beside `target` for its upload; none for the root, beside which nothing is.
    pub(super) fn new_part(&self, target: &RemotePath) -> Option<Temporary> {
        let path = self.names().beside(target, PART)?;
        self.names().journal.part(&path);
        Some(Temporary::new(self, path.clone(), Orphan::Part(path)))
    }

    /// A new name beside `target` to move it to for a moment; none for the root.
    pub(super) fn new_aside(&self, target: &RemotePath) -> Option<Temporary> {
        let path = self.names().beside(target, ASIDE)?;
        self.names().journal.aside(&path, target);
        let orphan = Orphan::Aside(path.clone(), target.clone());
        Some(Temporary::new(self, path, orphan))
    }

    /// Clears away what could not be when it should have been, because the connection was lost. What cannot
    /// be now either waits for the next call.
    pub fn clear_orphans(&self) {
        for orphan in self.names().take_orphans() {
            let cleared = match &orphan {
                Orphan::Part(path) => self.delete_part(path),
                Orphan::Aside(aside, target) => self.settle_aside(aside, target),
            };
            match cleared {
                Ok(()) => self.names().journal.gone(orphan.path()),
                Err(fault) => {
                    log::debug!("{} is still to be cleared away: {fault}", orphan.path());
                    self.names().add_orphan(orphan);
                }
            }
        }
    }

    /// Deletes the unfinished upload at `path`, which may be gone already.
    ///
    /// # Errors
    /// Whether it is there is not known, or it is.
    pub fn delete_part(&self, path: &RemotePath) -> Result<(), Error> {
        delete_part(self, &mut self.dialogue(), path)
    }

    /// Moves the file at `aside` back to `target`, unless another has taken its place: then it is deleted.
    ///
    /// # Errors
    /// What became of it is not known.
    pub fn settle_aside(&self, aside: &RemotePath, target: &RemotePath) -> Result<(), Error> {
        settle_aside(self, &mut self.dialogue(), aside, target)
    }
}

fn delete_part(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
) -> Result<(), Error> {
    let Err(fault) = change::delete_in(remote, dialogue, path) else {
        return Ok(());
    };
    match look(remote, dialogue, path) {
        Ok(Look::Absent | Look::NoParent(_)) => Ok(()),
        Ok(Look::Found(_)) | Err(_) => {
            let task = Task::new(Operation::Delete, path);
            Err(remote.blame(dialogue, &task, &fault))
        }
    }
}

fn settle_aside(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    aside: &RemotePath,
    target: &RemotePath,
) -> Result<(), Error> {
    match look(remote, dialogue, target)? {
        Look::Found(_) => delete_part(remote, dialogue, aside),
        Look::NoParent(_) => Ok(()),
        Look::Absent => match look(remote, dialogue, aside)? {
            Look::Absent | Look::NoParent(_) => Ok(()),
            Look::Found(_) => rename::put_back(remote, dialogue, aside, target),
        },
    }
}

impl TemporaryNames {
    fn take_orphans(&self) -> Vec<Orphan> {
        mem::take(&mut *self.orphans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add_orphan(&self, orphan: Orphan) {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        orphans.push(orphan);
    }
}

impl Temporary {
    fn new(remote: &Remote, path: RemotePath, orphan: Orphan) -> Self {
        Self {
            remote: remote.clone(),
            orphan: Some(orphan),
            path,
        }
    }

    /// The path on the server.
    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    /// Nothing is there any more, or never was.
    pub(super) fn gone(mut self) {
        self.orphan = None;
        self.remote.names().journal.gone(&self.path);
    }

    /// Deletes what is there. Where that fails it is an orphan.
    pub(super) fn delete(self, dialogue: &mut Dialogue<'_>) {
        match change::delete_in(&self.remote, dialogue, &self.path) {
            Ok(()) => self.gone(),
            Err(fault) => log::debug!("{} is to be deleted later: {fault}", self.path),
        }
    }

    /// Moves a file that may have been moved aside back, unless another has its name now. Where that fails it is an
    /// orphan; where the server may still be `at_work` on it, too.
    pub(super) fn put_back(self, dialogue: &mut Dialogue<'_>, at_work: bool) {
        let Some(Orphan::Aside(aside, target)) = &self.orphan else {
            return;
        };
        match settle_aside(&self.remote, dialogue, aside, target) {
            Ok(()) if at_work => {}
            Ok(()) => self.gone(),
            Err(fault) => log::error!(
                "the old {target} may now be {aside}, which is moved back as soon as it can be: {fault}"
            ),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(orphan) = self.orphan.take() {
            self.remote.names().add_orphan(orphan);
        }
    }
}

impl Orphan {
    fn path(&self) -> &RemotePath {
        match self {
            Self::Part(path) | Self::Aside(path, _) => path,
        }
    }
}

/// Whether `name` is one of these, whoever made it. Strict, so that no name a user would choose is taken for
/// one.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let rest = name.strip_prefix(PREFIX);
    let digits = rest.and_then(|rest| rest.strip_suffix(PART).or(rest.strip_suffix(ASIDE)));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS
            && digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> TemporaryNames {
        TemporaryNames::new(Journal::keeping_nothing(None))
    }

    #[test]
    fn names_are_beside_their_target_known_and_never_the_same() {
        let target = RemotePath::new(b"/a/b").unwrap();
        let (ours, theirs) = (names(), names());
        let made = [
            (&ours, PART),
            (&ours, ASIDE),
            (&theirs, PART),
            (&theirs, PART),
        ]
        .map(|(names, suffix)| names.beside(&target, suffix).unwrap());
        for (index, path) in made.iter().enumerate() {
            assert_eq!(path.parent(), target.parent());
            assert!(is_temporary(path.name()), "{path}");
            assert_eq!(ours.is_ours(path.name()), index < 2, "{path}");
            assert!(!made[..index].contains(path));
        }
        assert_eq!(ours.beside(&RemotePath::root(), PART), None);
    }

    #[test]
    fn names_of_users_are_theirs() {
        for name in [
            b".ftpfs-.part".as_slice(),
            b".ftpfs-0123456789abcde.part",
            b".ftpfs-0123456789abcdef0.part",
            b".ftpfs-0123456789ABCDEF.part",
            b".ftpfs-0123456789abcdef.par",
            b"ftpfs-0123456789abcdef.part",
            b".ftpfs-0123456789abcdef.part ",
            b".ftpfs-0123456789abcdef.part.old",
        ] {
            assert!(!is_temporary(name));
        }
        assert!(is_temporary(b".ftpfs-0123456789abcdef.part"));
        assert!(is_temporary(b".ftpfs-0123456789abcdef.old"));
    }
}

//! The temporary names of unfinished uploads and of files that were moved aside. They are created
//! only here. The journal records each name from before its first use until its file is known to be
//! gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::orphan::{FIRST_PAUSE, Orphan, Orphans};
use super::retry::Exchange;
use super::temporary_name::{ASIDE, HIDDEN, PART, TRIAL, VISIBLE, digits};
use super::{Remote, change};
use crate::ftp::{Capability, Cause, RemotePath, Version};
use crate::journal::Journal;

/// Creates names that no other mount creates, and remembers the files that could not be cleaned up.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    journal: Journal,
    made: AtomicU32,
    orphans: Orphans,
}

/// A temporary name in use. If it is dropped before it is [gone](Self::mark_gone), it becomes an
/// orphan, which [`Remote::clear_orphans`] cleans up.
#[derive(Debug)]
pub(super) struct Temporary {
    remote: Remote,
    orphan: Option<Orphan>,
    path: RemotePath,
    /// Whether a command that creates a file of this name was lost with its connection. The server
    /// may execute it later.
    may_appear_late: bool,
}

/// A file that is being overwritten in place. The journal records it before the server can have
/// touched the file. If it is dropped before it is [finished](Self::finished), the record remains
/// only if the next mount should store the file.
#[derive(Debug)]
pub(super) struct InPlace {
    remote: Remote,
    path: RemotePath,
    is_whole: bool,
}

impl TemporaryNames {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            made: AtomicU32::new(0),
            orphans: Orphans::default(),
        }
    }

    /// Whether this mount created `name`.
    pub(super) fn is_ours(&self, name: &[u8]) -> bool {
        let mount = self.mount_digits();
        digits(name).is_some_and(|digits| digits.ends_with(mount.as_bytes()))
    }

    /// Returns the names that are no longer in use.
    pub(super) fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    /// Returns the journal that records them.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    fn beside(&self, target: &RemotePath, prefix: &[u8], suffix: &[u8]) -> Option<RemotePath> {
        let number = format!("{:08x}", self.made.fetch_add(1, Ordering::Relaxed));
        let mount = self.mount_digits();
        let name = [prefix, number.as_bytes(), mount.as_bytes(), suffix].concat();
        target.parent()?.join(&name).ok()
    }

    fn mount_digits(&self) -> String {
        format!("{:08x}", self.journal.mount())
    }
}

impl Remote {
    /// Creates a name next to `target` for its upload; `None` for the root, which has no siblings.
    pub(super) fn new_part(&self, target: &RemotePath, is_hidden: bool) -> Option<Temporary> {
        let prefix = if is_hidden { HIDDEN } else { VISIBLE };
        let path = self.names().beside(target, prefix, PART)?;
        self.names().journal.part(&path);
        Some(Temporary::new(self, path.clone(), Orphan::Part(path)))
    }

    /// Creates a name next to `target` to which it is moved for a moment; `None` for the root.
    /// `successor` is the version of the file that will replace it, if there is one.
    pub(super) fn new_aside(
        &self,
        target: &RemotePath,
        successor: Option<Version>,
    ) -> Option<Temporary> {
        let prefix = if self.profile().has(Capability::HiddenNames) {
            HIDDEN
        } else {
            VISIBLE
        };
        let path = self.names().beside(target, prefix, ASIDE)?;
        self.names().journal.aside(&path, target, successor);
        let orphan = Orphan::Aside(path.clone(), target.clone(), successor);
        Some(Temporary::new(self, path, orphan))
    }
}

impl Remote {
    /// Creates a trial name next to `target`. `shape` builds it from the digits that make it
    /// unique.
    pub(super) fn new_trial(
        &self,
        target: &RemotePath,
        shape: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Option<Temporary> {
        let token = self.names().beside(target, VISIBLE, TRIAL)?;
        let path = target.parent()?.join(&shape(token.name())).ok()?;
        self.names().journal.part(&path);
        Some(Temporary::new(self, path.clone(), Orphan::Part(path)))
    }
}

impl Remote {
    /// Records that the file at `path` is about to be overwritten in place.
    pub(super) fn overwrite(&self, path: &RemotePath) -> InPlace {
        self.names().journal.in_place(path);
        InPlace {
            remote: self.uncancelled(),
            path: path.clone(),
            is_whole: false,
        }
    }
}

impl InPlace {
    /// Returns the path on the server.
    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    /// Records that the server has the old file or all of the new one.
    pub(super) fn finished(mut self) {
        self.is_whole = true;
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        let journal = &self.remote.names().journal;
        if self.is_whole {
            journal.clear(&self.path);
        } else {
            journal.in_place_failed(&self.path);
        }
    }
}

impl Temporary {
    fn new(remote: &Remote, path: RemotePath, orphan: Orphan) -> Self {
        Self {
            remote: remote.uncancelled(),
            orphan: Some(orphan),
            path,
            may_appear_late: false,
        }
    }

    /// Returns the path on the server.
    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    /// Marks the file for deletion, whatever happens to its old name.
    pub(super) fn mark_for_deletion(&mut self) {
        if let Some(orphan) = &mut self.orphan {
            orphan.mark_for_deletion(&self.remote);
        }
    }

    /// Records that the file will be at `path` after the rename of a directory above it.
    pub(super) fn expect_at(&self, path: &RemotePath) {
        self.remote.names().journal.part(path);
    }

    /// Records that the file is at `path`, [as expected](Self::expect_at). It is deleted when it is
    /// cleaned up.
    pub(super) fn is_at(&mut self, path: RemotePath) {
        self.remote.names().journal.clear(&self.path);
        self.orphan = Some(Orphan::Part(path.clone()));
        self.path = path;
    }

    /// Records that the file did not move to `path`, where it was [expected](Self::expect_at).
    pub(super) fn is_not_at(&self, path: &RemotePath) {
        self.remote.names().journal.clear(path);
    }

    /// Records that the connection was lost after a command that creates a file of this name. The
    /// server may execute it after the file was deleted, so it is looked up once more later.
    pub(super) fn may_appear_late(&mut self) {
        self.may_appear_late = true;
    }

    /// Records that nothing exists there any more, or never did.
    pub(super) fn mark_gone(mut self) {
        self.note_gone();
    }

    fn note_gone(&mut self) {
        match self.orphan.take().filter(|_| self.may_appear_late) {
            Some(_) => {
                let orphan = Orphan::Part(self.path.clone());
                let later = Instant::now() + FIRST_PAUSE;
                self.remote.names().orphans.add(orphan, later);
            }
            None => self.remote.names().journal.clear(&self.path),
        }
    }

    /// Deletes the file. If that fails, it becomes an orphan.
    pub(super) fn delete(mut self, exchange: &mut Exchange<'_>) {
        self.try_delete(exchange);
    }

    /// Deletes the file. Returns whether the server has deleted it; else that is tried again later.
    pub(super) fn try_delete(&mut self, exchange: &mut Exchange<'_>) -> bool {
        // A file that was moved aside for its successor never comes back.
        self.mark_for_deletion();
        let deleted = change::delete_in(&self.remote, exchange, &self.path);
        match &deleted {
            Ok(()) => self.note_gone(),
            Err(fault) => log::debug!("cannot delete {} yet: {fault}", self.path),
        }
        deleted.is_ok()
    }

    /// Moves the file back to the name from which it may have been moved aside, unless another file
    /// has that name now. If that fails, it becomes an orphan. If the server may still be `at_work`
    /// on it, it is looked up once more later.
    pub(super) fn put_back(mut self, exchange: &mut Exchange<'_>, at_work: bool) {
        let Some(orphan) = &mut self.orphan else {
            return;
        };
        match orphan.resolve(&self.remote, exchange) {
            Ok(()) if at_work => {
                let later = Instant::now() + FIRST_PAUSE;
                if let Some(orphan) = self.orphan.take() {
                    self.remote.names().orphans.add(orphan, later);
                }
            }
            Ok(()) => self.mark_gone(),
            Err(fault) => log::error!(
                path = self.path, reply = fault.quoted_reply();
                "an old file may now be at {}; it will be moved back as soon as possible: {fault}",
                self.path
            ),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(orphan) = self.orphan.take() {
            let (orphans, now) = (&self.remote.names().orphans, Instant::now());
            if self.may_appear_late {
                orphans.add_late(orphan, now, self.remote.timeout());
            } else {
                orphans.add(orphan, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::temporary_name::{is_temporary, saved_path};

    fn names() -> TemporaryNames {
        TemporaryNames::new(Journal::disabled(None))
    }

    #[test]
    fn names_are_beside_their_target_known_and_never_the_same() {
        let target = RemotePath::new(b"/a/b").unwrap();
        let (ours, theirs) = (names(), names());
        let made = [
            (&ours, HIDDEN, PART),
            (&ours, VISIBLE, ASIDE),
            (&theirs, HIDDEN, PART),
            (&theirs, VISIBLE, PART),
        ]
        .map(|(names, prefix, suffix)| names.beside(&target, prefix, suffix).unwrap());
        for (index, path) in made.iter().enumerate() {
            assert_eq!(path.parent(), target.parent());
            assert!(is_temporary(path.name()), "{path}");
            assert_eq!(ours.is_ours(path.name()), index < 2, "{path}");
            assert!(!made[..index].contains(path));
        }
        assert_eq!(ours.beside(&RemotePath::root(), HIDDEN, PART), None);
    }

    #[test]
    fn a_saved_file_has_a_name_that_is_shown_and_not_too_long() {
        let saved = |target: &str| {
            let target = RemotePath::new(target.as_bytes()).unwrap();
            let aside = target.parent().unwrap();
            let aside = aside.join(b".ftpfs-0123456789abcdef.old").unwrap();
            let saved = saved_path(&aside, &target).unwrap();
            assert!(!is_temporary(saved.name()), "{saved}");
            String::from_utf8(saved.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(saved("/d/a.txt"), "/d/a.txt.ftpfs-saved-0123456789abcdef");
        let long = format!("/d/{}", "x".repeat(240));
        assert_eq!(saved(&long), "/d/ftpfs-saved-0123456789abcdef");
    }

    #[test]
    fn names_of_users_are_theirs() {
        for name in [
            b".ftpfs-.part".as_slice(),
            b".ftpfs-0123456789abcde.part",
            b".ftpfs-0123456789abcdef0.part",
            b".ftpfs-0123456789ABCDEF.part",
            b".ftpfs-0123456789abcdef.par",
            b"..ftpfs-0123456789abcdef.part",
            b"ftpfs-0123456789abcde.part",
            b"Ftpfs-0123456789abcdef.part",
            b".ftpfs-0123456789abcdef.part ",
            b".ftpfs-0123456789abcdef.part.old",
        ] {
            assert!(!is_temporary(name));
        }
        assert!(is_temporary(b".ftpfs-0123456789abcdef.part"));
        assert!(is_temporary(b".ftpfs-0123456789abcdef.old"));
        assert!(is_temporary(b"ftpfs-0123456789abcdef.part"));
        assert!(is_temporary(b" -ftpfs-0123456789abcdef.tryxx -b"));
        assert!(!is_temporary(b"ftpfs-0123456789abcdeg.tryxx"));
    }
}

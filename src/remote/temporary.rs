//! The names that unfinished uploads, and files moved aside, have on the server for a while: the
//! one place that makes them. Each is in the journal from before it is used until it is known to be
//! gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::orphan::{FIRST_PAUSE, Orphan, Orphans};
use super::retry::Exchange;
use super::{Remote, Version, change};
use crate::ftp::{Capability, RemotePath};
use crate::journal::Journal;

/// Of a name that servers may take for hidden, and that tools do not show.
const HIDDEN: &[u8] = b".ftpfs-";
/// Of a name on servers that refuse or do not show the others.
const VISIBLE: &[u8] = b"ftpfs-";
const PART: &[u8] = b".part";
const ASIDE: &[u8] = b".old";
/// Of an empty file by whose name the server is tried; what is tried comes after it.
const TRIAL: &[u8] = b".try";
/// Between a file's name and the digits, of a file that is kept because another client took its
/// name.
const SAVED: &[u8] = b".ftpfs-saved-";
/// Longest name that servers on Unix file systems take, bytes.
const MAX_NAME: usize = 255;
/// Hexadecimal digits between prefix and suffix: half of them are the name's, half the mount's. The
/// name's come first, so that two names of a mount differ even where the server cuts them.
const DIGITS: usize = 16;

/// Makes names that no other mount makes, and remembers those that could not be cleared away.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    journal: Journal,
    made: AtomicU32,
    orphans: Orphans,
}

/// A temporary name in use. Dropped before it is [gone](Self::mark_gone), it is an orphan, which
/// [`Remote::clear_orphans`] looks after.
#[derive(Debug)]
pub(super) struct Temporary {
    remote: Remote,
    orphan: Option<Orphan>,
    path: RemotePath,
    /// A command that makes a file of this name was lost with its connection: the server may carry
    /// it out later.
    may_appear_late: bool,
}

/// A file that is being overwritten where it is. The journal holds a record of it from before the
/// server can have touched the file. Dropped before it is [finished](Self::finished), the record
/// stays only where the next mount is to store the file.
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

    /// Whether this mount made `name`.
    pub(super) fn is_ours(&self, name: &[u8]) -> bool {
        let mount = self.mount_digits();
        digits(name).is_some_and(|digits| digits.ends_with(mount.as_bytes()))
    }

    /// Those that are no longer in use.
    pub(super) fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    /// What is noted of them.
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
    /// A new name beside `target` for its upload; none for the root, which has no siblings.
    pub(super) fn new_part(&self, target: &RemotePath, is_hidden: bool) -> Option<Temporary> {
        let prefix = if is_hidden { HIDDEN } else { VISIBLE };
        let path = self.names().beside(target, prefix, PART)?;
        self.names().journal.part(&path);
        Some(Temporary::new(self, path.clone(), Orphan::Part(path)))
    }

    /// A new name beside `target` to move it to for a moment; none for the root. `successor` is the
    /// version of the file that is to have its place, where one is.
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
        let successor = successor.and_then(|version| version.successor());
        self.names().journal.aside(&path, target, successor);
        let orphan = Orphan::Aside(path.clone(), target.clone(), successor);
        Some(Temporary::new(self, path, orphan))
    }
}

impl Remote {
    /// A new name beside `target` that is tried: `shape` makes it of the digits that tell it from
    /// others.
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
    /// Notes that the file at `path` is about to be overwritten where it is.
    pub(super) fn overwrite(&self, path: &RemotePath) -> InPlace {
        self.names().journal.in_place(path);
        InPlace {
            remote: self.clone(),
            path: path.clone(),
            is_whole: false,
        }
    }
}

impl InPlace {
    /// The file's path on the server.
    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    /// The server has the old file or all of the new one.
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
            remote: remote.clone(),
            orphan: Some(orphan),
            path,
            may_appear_late: false,
        }
    }

    /// The path on the server.
    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    /// It is deleted when it is cleared away, whatever else becomes of its old name.
    pub(super) fn mark_for_deletion(&mut self) {
        if let Some(orphan) = &mut self.orphan {
            orphan.mark_for_deletion(&self.remote);
        }
    }

    /// A directory above it is about to be renamed, after which it is at `path`.
    pub(super) fn expect_at(&self, path: &RemotePath) {
        self.remote.names().journal.part(path);
    }

    /// It is at `path` now, [as expected](Self::expect_at), and is deleted when it is cleared away.
    pub(super) fn is_at(&mut self, path: RemotePath) {
        self.remote.names().journal.clear(&self.path);
        self.orphan = Some(Orphan::Part(path.clone()));
        self.path = path;
    }

    /// It did not get to `path`, where it was [expected](Self::expect_at).
    pub(super) fn is_not_at(&self, path: &RemotePath) {
        self.remote.names().journal.clear(path);
    }

    /// The connection was lost after a command that makes a file of this name. The server may carry
    /// it out when the file is gone, so it is looked for once more later.
    pub(super) fn may_appear_late(&mut self) {
        self.may_appear_late = true;
    }

    /// Nothing is there any more, or never was.
    pub(super) fn mark_gone(mut self) {
        match self.orphan.take().filter(|_| self.may_appear_late) {
            Some(_) => {
                let orphan = Orphan::Part(self.path.clone());
                let later = Instant::now() + FIRST_PAUSE;
                self.remote.names().orphans.add(orphan, later);
            }
            None => self.remote.names().journal.clear(&self.path),
        }
    }

    /// Deletes what is there. Where that fails it is an orphan.
    pub(super) fn delete(mut self, exchange: &mut Exchange<'_>) {
        // What was moved aside for the file that has its place now never comes back.
        self.mark_for_deletion();
        match change::delete_in(&self.remote, exchange, &self.path) {
            Ok(()) => self.mark_gone(),
            Err(fault) => log::debug!("{} is to be deleted later: {fault}", self.path),
        }
    }

    /// Moves a file that may have been moved aside back, unless another has its name now. Where
    /// that fails it is an orphan. Where the server may still be `at_work` on it, it is looked for
    /// once more later.
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
                "an old file may now be {}, and is moved back as soon as it can be: {fault}",
                self.path
            ),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(orphan) = self.orphan.take() {
            self.remote.names().orphans.add(orphan, Instant::now());
        }
    }
}

/// Whether `name` is a temporary name of any mount. Strict, so that no name a user would choose is
/// taken for one.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    digits(name).is_some()
}

/// The name, beside `target`, under which users find the file at `aside` once another client's file
/// is at `target`.
pub(super) fn saved_path(aside: &RemotePath, target: &RemotePath) -> Option<RemotePath> {
    let digits = digits(aside.name())?;
    let mut name = [target.name(), SAVED, digits].concat();
    if name.len() > MAX_NAME {
        name.drain(..=target.name().len());
    }
    aside.parent()?.join(&name).ok()
}

/// The digits of a temporary name.
fn digits(name: &[u8]) -> Option<&[u8]> {
    let are_digits = |digits: &[u8]| {
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == DIGITS && digits.iter().all(is_digit)
    };
    let rest = name.strip_prefix(HIDDEN).or(name.strip_prefix(VISIBLE));
    let digits = rest.and_then(|rest| rest.strip_suffix(PART).or(rest.strip_suffix(ASIDE)));
    if let Some(digits) = digits {
        return are_digits(digits).then_some(digits);
    }
    let length = VISIBLE.len() + DIGITS + TRIAL.len();
    let tried = name
        .windows(length)
        .find(|part| part.starts_with(VISIBLE) && part.ends_with(TRIAL))?;
    let digits = tried.get(VISIBLE.len()..VISIBLE.len() + DIGITS)?;
    are_digits(digits).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

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

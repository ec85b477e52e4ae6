//! The marks that `ls -F` appends to names: `/` to directories, `*` to executable files, `@` to
//! links, `=` to sockets, `|` to pipes, `>` to doors.
//!
//! A slash can only be a mark. The others may belong to the name: whether they do, the directories
//! of the same listing show, which all bear a slash or none.

use super::{Entry, Kind};

/// What a listing showed so far.
#[derive(Debug, Default)]
pub(super) struct TypeIndicators {
    /// A directory has a slash.
    slash: bool,
    /// A directory has none.
    no_slash: bool,
}

impl TypeIndicators {
    /// Learns from an entry and takes the slash from a directory's name. Returns whether the entry
    /// ends in what may be a mark.
    pub(super) fn learn(&mut self, entry: &mut Entry) -> bool {
        if entry.kind == Kind::Directory {
            match entry.name.last() {
                Some(b'/') => {
                    entry.name.pop();
                    self.slash = true;
                }
                _ => self.no_slash = true,
            }
            return false;
        }
        !self.no_slash && (has_mark(entry) || has_marked_target(entry))
    }

    /// Takes the marks from an entry, now that all of the listing was seen, if it has any.
    pub(super) fn strip_from(&self, entry: &mut Entry) {
        if !self.slash || self.no_slash {
            return;
        }
        if has_mark(entry) {
            entry.name.pop();
        }
        if has_marked_target(entry)
            && let Some(target) = &mut entry.target
        {
            target.pop();
        }
    }
}

fn has_mark(entry: &Entry) -> bool {
    let is_executable = entry.mode.is_none_or(|mode| mode & 0o111 != 0);
    match (entry.kind, entry.name.last()) {
        (Kind::File, Some(b'*')) => is_executable,
        (Kind::Symlink, Some(b'@')) | (Kind::Special, Some(b'=' | b'|' | b'>')) => true,
        _ => false,
    }
}

/// Whether a link's target ends in a mark: one that is as long as the link says does not.
fn has_marked_target(entry: &Entry) -> bool {
    let Some(target) = entry.target.as_deref() else {
        return false;
    };
    let is_whole = entry.size == u64::try_from(target.len()).ok();
    entry.kind == Kind::Symlink
        && target.len() > 1
        && matches!(target.last(), Some(b'/' | b'*' | b'@' | b'=' | b'|' | b'>'))
        && !is_whole
}

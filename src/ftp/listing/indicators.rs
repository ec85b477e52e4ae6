//! Type indicators that `ls -F` appends to names: `/` to directories, `*` to executable files, `@`
//! to links, `=` to sockets, `|` to pipes, `>` to doors.
//!
//! A trailing slash is always an indicator. The other characters may belong to the name. The
//! directories of the same listing tell, because either all of them have a slash or none.

use super::{Entry, Kind};

/// What the listing has shown so far.
#[derive(Debug, Default)]
pub(super) struct TypeIndicators {
    /// A directory has a slash.
    slash: bool,
    /// A directory has no slash.
    no_slash: bool,
}

impl TypeIndicators {
    /// Learns from an entry and strips the slash from a directory's name. Returns whether the entry
    /// ends in a possible indicator.
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

    /// Strips the indicators from an entry, if the complete listing shows that there are any.
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

/// Whether a link's target ends in an indicator, that is, does not match the size of the link.
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

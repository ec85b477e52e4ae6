//! The attributes of an open file: those that programs see, and those that they set before the
//! contents are stored.

use std::time::SystemTime;

use super::{OpenFile, State, UploadFailure};
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::{Precision, Version};
use crate::vfs::attr::to_seconds;
use crate::vfs::write::state::Visible;

impl OpenFile {
    /// Returns the attributes to show, if they are newer than the server's.
    pub(in crate::vfs) fn attributes(&self) -> Option<Attributes> {
        let state = self.state();
        let attributes = state.attributes.clone();
        let size = match state.contents.visible() {
            Visible::Local(spooled) => spooled.spool.len(),
            Visible::Copied(copy) => copy.shown(),
            Visible::Remote(_) => {
                let is_newer = state.naming.is_unlinked() || state.is_unlisted;
                return is_newer.then_some(attributes);
            }
        };
        Some(Attributes {
            size: Some(size),
            ..attributes
        })
    }

    /// Records that the listings show the stored file.
    pub(in crate::vfs) fn listed(&self) {
        self.state().is_unlisted = false;
    }

    /// Returns the size that programs see, if it is known.
    pub(in crate::vfs) fn visible_size(&self) -> Option<u64> {
        let local = self.attributes().and_then(|local| local.size);
        local.or_else(|| self.base()?.size)
    }

    /// Updates attributes after the server accepted new ones under the file's name.
    pub(in crate::vfs) fn update(&self, change: impl FnOnce(&mut Attributes)) {
        let mut state = self.state();
        let before = state.attributes.modified;
        change(&mut state.attributes);
        let now = state.attributes.modified;
        if now == before {
            return;
        }
        if let Some((reader, (seconds, _))) = state.contents.reader().zip(now) {
            reader.has_time(seconds);
        }
        if let Some(base) = &mut state.base {
            base.modified = now;
        }
    }

    /// Records that the server's file is about to get the modification time `seconds`, in Unix
    /// seconds. Asks the server first whether it still has the version that programs read. If so,
    /// they continue after the change.
    pub(in crate::vfs) fn expect_time(&self, seconds: i64, cancel: &Cancel) {
        let reader = self.state().contents.reader().cloned();
        if let Some(reader) = reader {
            match reader.confirm(cancel) {
                Ok(()) => reader.may_get_time(seconds),
                Err(error) => log::debug!("{error}"),
            }
        }
    }

    /// Whether `now`, which the server has, is the version that programs read, maybe with a time
    /// that this mount has set. If so, the file has that time from now on.
    pub(in crate::vfs) fn recognizes(&self, now: &Version) -> bool {
        self.state().recognizes(now)
    }

    /// Records a time that is set when the waiting bytes are stored. Returns false if none are
    /// waiting.
    pub(in crate::vfs) fn set_modified_later(&self, seconds: i64) -> bool {
        let mut state = self.state();
        if !state.takes_attributes() {
            return false;
        }
        state.contents.set_late_modified(Some(seconds));
        state.attributes.modified = Some((seconds, Precision::Second));
        drop(state);
        self.record_attributes();
        true
    }

    /// Records a mode that is set when the waiting bytes are stored. Returns false if none are
    /// waiting.
    pub(in crate::vfs) fn set_mode_later(&self, mode: u32) -> bool {
        let mut state = self.state();
        if !state.takes_attributes() {
            return false;
        }
        state.attributes.mode = Some(mode);
        state.contents.set_late_mode(mode);
        drop(state);
        self.record_attributes();
        true
    }

    /// Records that a program changes the contents now.
    pub(super) fn touch(&self) {
        let now = to_seconds(SystemTime::now());
        let mut state = self.state();
        state.contents.set_late_modified(None);
        state.attributes.modified = Some((now, Precision::Second));
        if state.failure == UploadFailure::Reported {
            state.failure = UploadFailure::None;
        }
    }

    /// Removes the setuid bit, and the setgid bit of a file that its group may execute, after a
    /// program without the privilege to keep them has changed the contents.
    pub(in crate::vfs) fn drop_privileged_mode(&self) {
        let mode = self.state().attributes.mode;
        if let Some(mode) = mode.filter(|mode| mode & 0o6000 != 0) {
            let of_group = if mode & 0o010 == 0 { 0 } else { 0o2000 };
            self.set_mode_later(mode & !(0o4000 | of_group));
        }
    }
}

impl State {
    /// See [`OpenFile::recognizes`].
    pub(super) fn recognizes(&mut self, now: &Version) -> bool {
        let Some(reader) = self.contents.reader().filter(|it| !it.has_changed()) else {
            return false;
        };
        if !reader.recognizes(now) {
            return false;
        }
        let version = reader.version();
        if !Version::from(&self.attributes).agrees(&version) {
            self.attributes.modified = version.modified;
            if let Some(base) = &mut self.base {
                base.modified = version.modified;
            }
        }
        true
    }
}

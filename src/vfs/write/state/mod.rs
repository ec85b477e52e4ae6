//! The contents of an open file on their way to the server.
//!
//! Written bytes are a *draft* until the file is closed, *sealed* from then on (with
//! `-o writeback`), and the server's after their upload:
//!
//! | from | event | to |
//! |---|---|---|
//! | clean | a program writes | draft |
//! | draft | close | sealed |
//! | sealed | a program writes | sealed, with a draft of what comes after it |
//! | sealed and draft | close | sealed: the draft; the older one is obsolete |
//! | draft | uploaded | draft, which the server has |
//! | sealed | uploaded | draft, which the server has |
//! | sealed and draft | the sealed one is uploaded | draft |
//! | sealed and draft | the draft is uploaded (fsync) | draft; the older one is obsolete |
//! | draft, of which only a part is here | uploaded | clean |
//! | draft or sealed | given up | clean |
//! | empty draft | the server copies another file | copied |
//! | copied | a program needs its bytes here | draft |
//! | copied | renamed to its name | clean |
//! | any | the name is removed | the same without what is sealed |
//!
//! Everything here is bookkeeping. The caller writes the journal as the results say.

/// A local copy of contents, in a spool. Clones are the same copy.
pub(in crate::vfs) trait LocalCopy: Clone {
    /// Whether this is the same copy, not one with equal bytes.
    fn is_same(&self, other: &Self) -> bool;

    /// Returns the number of its changes.
    fn generation(&self) -> u64;

    /// Whether it has changes that the server does not have.
    fn is_dirty(&self) -> bool;
}

/// Contents that were closed. They are on the local disk and do not change any more.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Sealed<C> {
    pub(in crate::vfs) copy: C,
    /// Generation of the copy up to which it is sealed.
    pub(in crate::vfs) generation: u64,
    /// Modification time to set.
    pub(in crate::vfs) modified: Option<i64>,
    /// Mode to set.
    pub(in crate::vfs) mode: Option<u32>,
}

/// Where the contents are: on the server, readable by an `R`, or in local copies.
#[derive(Debug)]
enum Contents<R, C, K> {
    Clean(R),
    /// The server has them under a temporary name, where it has copied them from another file.
    Copied(K),
    Draft(C),
    Sealed(Sealed<C>),
    Superseded {
        sealed: Sealed<C>,
        draft: C,
    },
}

/// The contents that programs see.
#[derive(Debug)]
pub(in crate::vfs) enum Visible<R, C, K> {
    /// Those of the server.
    Remote(R),
    /// Those that the server has copied under a temporary name.
    Copied(K),
    /// A local copy.
    Local(C),
}

/// Attributes that programs set and the server does not have. They are sent with the bytes, or
/// after them if they were set during the upload.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct LateAttributes {
    pub(in crate::vfs) modified: Option<i64>,
    pub(in crate::vfs) mode: Option<u32>,
}

/// The contents of an open file and their upload. A `K` is a copy that the server has made.
#[derive(Debug)]
pub(in crate::vfs) struct WriteState<R, C, K = ()> {
    contents: Contents<R, C, K>,
    /// The copy that is being uploaded.
    uploading: Option<C>,
    late: LateAttributes,
}

/// What [`WriteState::seal`] did.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vfs) enum SealOutcome<C> {
    /// The copy is sealed. The other one, if any, is obsolete.
    Sealed(Option<C>),
    /// The copy is not what programs see any more.
    Obsolete,
}

/// What the journal must record after an upload.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vfs) struct AfterUpload<C> {
    /// Copies that need no upload any more.
    pub(in crate::vfs) done: Vec<C>,
    /// The sealed copy, which is now based on the uploaded one. It may be the same, with what was
    /// closed during the upload.
    pub(in crate::vfs) rebased: Option<C>,
}

/// What becomes of the journal's record of a copy whose upload failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum RecordFate {
    /// It stays: the copy is sealed.
    Kept,
    /// It is removed: newer contents are sealed.
    Removed,
    /// It is removed: the draft is lost with this process.
    Abandoned,
}

impl<R, C: LocalCopy, K: Clone> WriteState<R, C, K> {
    /// Creates the state of a file on the server.
    pub(in crate::vfs) fn clean(reader: R) -> Self {
        Self::of(Contents::Clean(reader))
    }

    /// Creates the state of a file that only exists here.
    pub(in crate::vfs) fn draft(copy: C) -> Self {
        Self::of(Contents::Draft(copy))
    }

    /// Creates the state of a file that was closed before this process started.
    pub(in crate::vfs) fn left(sealed: Sealed<C>) -> Self {
        Self::of(Contents::Sealed(sealed))
    }

    fn of(contents: Contents<R, C, K>) -> Self {
        Self {
            contents,
            uploading: None,
            late: LateAttributes::default(),
        }
    }

    /// Returns the contents that programs see.
    pub(in crate::vfs) fn visible(&self) -> Visible<&R, &C, &K> {
        match &self.contents {
            Contents::Clean(reader) => Visible::Remote(reader),
            Contents::Copied(copy) => Visible::Copied(copy),
            Contents::Draft(copy) | Contents::Superseded { draft: copy, .. } => {
                Visible::Local(copy)
            }
            Contents::Sealed(sealed) => Visible::Local(&sealed.copy),
        }
    }

    /// Returns the reader of the server's contents, if programs see those.
    pub(in crate::vfs) fn reader(&self) -> Option<&R> {
        match self.visible() {
            Visible::Remote(reader) => Some(reader),
            Visible::Local(_) | Visible::Copied(_) => None,
        }
    }

    /// Returns the copy that programs see, if it is local.
    pub(in crate::vfs) fn local(&self) -> Option<&C> {
        match self.visible() {
            Visible::Remote(_) | Visible::Copied(_) => None,
            Visible::Local(copy) => Some(copy),
        }
    }

    /// Returns the copy that the server has made, if programs see that.
    pub(in crate::vfs) fn copied(&self) -> Option<&K> {
        match self.visible() {
            Visible::Remote(_) | Visible::Local(_) => None,
            Visible::Copied(copy) => Some(copy),
        }
    }

    /// Whether there is only a draft, which is not being uploaded.
    pub(in crate::vfs) fn is_only_draft(&self) -> bool {
        matches!(self.contents, Contents::Draft(_)) && !self.has_upload()
    }

    /// Replaces a draft with a copy that the server has made. Returns the draft, or `None` if there
    /// is something else, which stays.
    pub(in crate::vfs) fn copied_instead(&mut self, copy: K) -> Option<C> {
        let Contents::Draft(draft) = &self.contents else {
            return None;
        };
        let draft = draft.clone();
        self.contents = Contents::Copied(copy);
        Some(draft)
    }

    /// Replaces a copy that the server has made with `reader`, because it has its name now.
    pub(in crate::vfs) fn leave_copied(&mut self, reader: R) {
        if matches!(self.contents, Contents::Copied(_)) {
            self.contents = Contents::Clean(reader);
        }
    }

    /// Returns the copy that may be changed.
    pub(in crate::vfs) fn changeable(&self) -> Option<&C> {
        match &self.contents {
            Contents::Draft(copy) | Contents::Superseded { draft: copy, .. } => Some(copy),
            Contents::Clean(_) | Contents::Copied(_) | Contents::Sealed(_) => None,
        }
    }

    /// Returns what was closed and waits for its upload.
    pub(in crate::vfs) fn sealed(&self) -> Option<&Sealed<C>> {
        match &self.contents {
            Contents::Sealed(sealed) | Contents::Superseded { sealed, .. } => Some(sealed),
            Contents::Clean(_) | Contents::Copied(_) | Contents::Draft(_) => None,
        }
    }

    /// Returns what was closed if programs see it, so that it must be copied before a change.
    pub(in crate::vfs) fn visible_sealed(&mut self) -> Option<&mut Sealed<C>> {
        match &mut self.contents {
            Contents::Sealed(sealed) => Some(sealed),
            Contents::Clean(_)
            | Contents::Copied(_)
            | Contents::Draft(_)
            | Contents::Superseded { .. } => None,
        }
    }

    /// Whether programs see what was closed.
    pub(in crate::vfs) fn is_sealed(&self) -> bool {
        matches!(self.contents, Contents::Sealed(_))
    }

    /// Whether everything that was written is sealed.
    pub(in crate::vfs) fn is_all_sealed(&self) -> bool {
        matches!(&self.contents, Contents::Sealed(it) if it.generation == it.copy.generation())
    }

    /// Whether programs see the bytes of `copy`.
    pub(in crate::vfs) fn is_visible(&self, copy: &C) -> bool {
        self.local().is_some_and(|local| local.is_same(copy))
    }

    /// Whether programs see changes that the server does not have.
    pub(in crate::vfs) fn is_dirty(&self) -> bool {
        self.copied().is_some() || self.local().is_some_and(C::is_dirty)
    }

    /// Replaces the reader after the file has changed on the server.
    pub(in crate::vfs) fn read_by(&mut self, reader: R) {
        if let Contents::Clean(current) = &mut self.contents {
            *current = reader;
        }
    }

    /// Begins a draft in `copy`, which programs see from now on. What is sealed stays so.
    pub(in crate::vfs) fn begin_draft(&mut self, copy: C) {
        self.contents = match self.sealed().cloned() {
            None => Contents::Draft(copy),
            Some(sealed) => Contents::Superseded {
                sealed,
                draft: copy,
            },
        };
    }

    /// Replaces `copy`, which the server has and of which only a part is here, with `reader`. Does
    /// nothing if it was changed since, or is not what programs see.
    pub(in crate::vfs) fn leave(&mut self, copy: &C, reader: R) {
        if matches!(&self.contents, Contents::Draft(draft) if draft.is_same(copy) && !draft.is_dirty())
        {
            self.contents = Contents::Clean(reader);
        }
    }

    /// Replaces `old` with `new`, which has the same contents. A sealed one gets `mode`, unless
    /// another one was requested.
    pub(in crate::vfs) fn replace(&mut self, old: &C, new: &C, mode: Option<u32>) {
        let replace = |copy: &mut C| {
            if copy.is_same(old) {
                *copy = new.clone();
            }
        };
        match &mut self.contents {
            Contents::Sealed(sealed) | Contents::Superseded { sealed, .. }
                if sealed.copy.is_same(old) =>
            {
                sealed.copy = new.clone();
                sealed.generation = new.generation();
                sealed.mode = sealed.mode.or(mode);
            }
            Contents::Draft(draft) | Contents::Superseded { draft, .. } => replace(draft),
            Contents::Clean(_) | Contents::Copied(_) | Contents::Sealed(_) => {}
        }
        self.uploading.as_mut().map(replace);
    }

    /// Gives up `copy`, which cannot be stored: the server's contents, which `reader` reads, take
    /// its place. Contents that were closed before it or written after it stay.
    pub(in crate::vfs) fn give_up(&mut self, copy: &C, reader: R) {
        self.uploading = None;
        self.late = LateAttributes::default();
        let is_sealed = self.sealed().is_some_and(|it| it.copy.is_same(copy));
        match (self.sealed().cloned(), self.local().cloned()) {
            (Some(_), Some(local)) if is_sealed && !local.is_same(copy) => {
                self.contents = Contents::Draft(local);
            }
            (Some(sealed), Some(local)) if !is_sealed && local.is_same(copy) => {
                self.contents = Contents::Sealed(sealed);
            }
            (_, Some(local)) if local.is_same(copy) => self.contents = Contents::Clean(reader),
            _ => {}
        }
    }

    /// Seals a copy that programs see or have closed before.
    pub(in crate::vfs) fn seal(&mut self, new: Sealed<C>) -> SealOutcome<C> {
        if self.is_visible(&new.copy) {
            let older = self.sealed().map(|older| older.copy.clone());
            let obsolete = older.filter(|older| {
                // One that is being uploaded is looked at when that ends.
                !older.is_same(&new.copy) && !self.is_uploading(older)
            });
            self.contents = Contents::Sealed(new);
            return SealOutcome::Sealed(obsolete);
        }
        match &mut self.contents {
            Contents::Superseded { sealed, .. } if sealed.copy.is_same(&new.copy) => {
                *sealed = new;
                SealOutcome::Sealed(None)
            }
            _ => SealOutcome::Obsolete,
        }
    }

    /// Removes what is sealed, because the file has lost its name. Returns its copy.
    pub(in crate::vfs) fn unseal(&mut self) -> Option<C> {
        let sealed = self.sealed()?.copy.clone();
        if let Some(visible) = self.local().cloned() {
            self.contents = Contents::Draft(visible);
        }
        Some(sealed)
    }

    /// Whether an upload is running.
    pub(in crate::vfs) fn has_upload(&self) -> bool {
        self.uploading.is_some()
    }

    /// Returns what is being uploaded.
    pub(in crate::vfs) fn uploading(&self) -> Option<&C> {
        self.uploading.as_ref()
    }

    fn is_uploading(&self, copy: &C) -> bool {
        self.uploading
            .as_ref()
            .is_some_and(|uploading| uploading.is_same(copy))
    }

    /// Records that the upload of `copy` begins. Returns false if newer contents have taken its
    /// place.
    pub(in crate::vfs) fn upload_begins(&mut self, copy: &C) -> bool {
        if !self.is_current(copy) {
            self.uploading = None;
            return false;
        }
        self.uploading = Some(copy.clone());
        self.late.mode = None;
        true
    }

    /// Whether programs see `copy`, or it was the last one to be closed.
    pub(in crate::vfs) fn is_current(&self, copy: &C) -> bool {
        let is_sealed = self.sealed().is_some_and(|it| it.copy.is_same(copy));
        is_sealed || self.is_visible(copy)
    }

    /// Records that the upload of `copy` failed. Returns what becomes of its record.
    pub(in crate::vfs) fn upload_failed(&mut self, copy: &C) -> RecordFate {
        self.uploading = None;
        match self.sealed() {
            Some(sealed) if sealed.copy.is_same(copy) => RecordFate::Kept,
            Some(_) if !self.is_visible(copy) => RecordFate::Removed,
            Some(_) | None => RecordFate::Abandoned,
        }
    }

    /// Records that the server has `copy`. Bytes that were written meanwhile remain to be uploaded.
    pub(in crate::vfs) fn uploaded(&mut self, copy: &C) -> AfterUpload<C> {
        let done = vec![copy.clone()];
        let Some(sealed) = self.sealed().cloned() else {
            return AfterUpload {
                done,
                rebased: None,
            };
        };
        if sealed.copy.is_same(copy) {
            if copy.is_dirty() {
                return AfterUpload {
                    done: Vec::new(),
                    rebased: Some(sealed.copy),
                };
            }
            self.unseal();
            return AfterUpload {
                done,
                rebased: None,
            };
        }
        if self.is_visible(copy) {
            self.unseal();
            return AfterUpload {
                done: vec![sealed.copy, copy.clone()],
                rebased: None,
            };
        }
        AfterUpload {
            done,
            rebased: Some(sealed.copy),
        }
    }

    /// Returns the attributes to send with `copy`; `mode` is the mode that programs see.
    pub(in crate::vfs) fn attributes_of(&self, copy: &C, mode: Option<u32>) -> LateAttributes {
        match self.sealed() {
            Some(sealed) if sealed.copy.is_same(copy) => LateAttributes {
                modified: sealed.modified,
                mode: sealed.mode,
            },
            Some(_) | None => LateAttributes {
                modified: self.late.modified,
                mode,
            },
        }
    }

    /// Returns the attributes that are not sent yet.
    pub(in crate::vfs) fn late(&self) -> LateAttributes {
        self.late
    }

    /// Records a time that programs set; `None` after a write, which sets another one.
    pub(in crate::vfs) fn set_late_modified(&mut self, modified: Option<i64>) {
        self.late.modified = modified;
    }

    /// Records a mode that programs set. Without an upload it is sent with the bytes.
    pub(in crate::vfs) fn set_late_mode(&mut self, mode: u32) {
        if self.has_upload() {
            self.late.mode = Some(mode);
        }
    }

    /// Records that the time `modified` was sent with the bytes.
    pub(in crate::vfs) fn sent_modified(&mut self, modified: Option<i64>) {
        if self.late.modified == modified {
            self.late.modified = None;
        }
    }

    /// Takes the attributes that were set while `copy` was uploaded. If there are none, the upload
    /// ends.
    pub(in crate::vfs) fn take_late(&mut self, copy: &C) -> Option<LateAttributes> {
        let late = LateAttributes {
            modified: self.late.modified.filter(|_| !self.is_dirty()),
            mode: self.late.mode.take(),
        };
        if !self.is_visible(copy) || late == LateAttributes::default() {
            self.uploading = None;
            return None;
        }
        if late.modified.is_some() {
            self.late.modified = None;
        }
        Some(late)
    }
}

#[cfg(test)]
mod tests;

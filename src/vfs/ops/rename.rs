//! rename, with or without an existing target.

use std::sync::Arc;

use crate::cache::{Attributes, is_same_but_case};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{Completeness, Kind, RemotePath, Version};
use crate::remote::{CaseRule, ErrorKind};

use super::later::{ChangeEffect, ChangeTime};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::file::gate::Pass;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::names::Inherited;

/// A name: the inode and path of its directory, and the name.
struct NamedPlace<'a> {
    parent: Ino,
    directory: RemotePath,
    name: &'a [u8],
    path: RemotePath,
}

/// What became of an attempt to rename a file or directory now.
enum RenameStep {
    Done,
    /// It is renamed on the server, where the changes before it are not made yet.
    NotItsTurn,
}

impl Vfs {
    /// Renames `from` to `to`. Replaces an existing `to`, or fails with EEXIST if `no_replace` is
    /// set.
    ///
    /// Another client may create `to` between the check and the rename. FTP has no rename that
    /// refuses to replace, so `no_replace` is reliable only against programs on this mount.
    pub(crate) fn rename(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        no_replace: bool,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        self.check_writable()?;
        let (from, mut to) = (self.rename_place(from)?, self.rename_place(to)?);
        let into = to.directory.clone();
        if self.is_into_other_case(&from, &to) {
            to = NamedPlace {
                parent: from.parent,
                directory: from.directory.clone(),
                name: into.name(),
                path: into.clone(),
            };
        }
        if from.path == to.path {
            return Ok(());
        }
        if to.path.below(&from.path).is_some() || self.is_below_in_other_case(&from, &to) {
            return Err(Errno::INVAL);
        }
        for place in [&from, &to] {
            self.confirm_left(self.open_at(place).as_ref(), &place.path, cancel)?;
        }
        let moved = self.what_is_at(&from, cancel)?.ok_or(Errno::NOENT)?;
        let replaced = if self.is_case_only(&from, &to) {
            None
        } else {
            self.what_is_at(&to, cancel)?
        };
        let watch = self.begin_change(&[&from.path, &to.path], cancel)?;
        if let Some(replaced) = &replaced {
            if no_replace {
                return Err(Errno::EXIST);
            }
            check_replaceable(moved.kind, replaced.kind)?;
        }
        if !self.is_case_only(&from, &to)
            && self.rename_closed(&from, &to, &moved, replaced.as_ref(), cancel)?
                == ChangeTime::Later
        {
            return Ok(());
        }
        let is_on_server = |file: &Arc<OpenFile>| file.is_on_server();
        let mut is_in_turn = self.open_at(&from).as_ref().is_none_or(is_on_server);
        loop {
            if is_in_turn {
                let effect = match replaced {
                    Some(_) => ChangeEffect::Destroys,
                    None => ChangeEffect::Keeps,
                };
                let paths = [&from.path, &to.path];
                self.settle_order(&paths, effect, watch.as_ref(), cancel)?;
            }
            if replaced
                .as_ref()
                .is_some_and(|it| it.kind == Kind::Directory)
            {
                self.check_empty(&to, cancel)?;
            }
            let there = (&moved, replaced.as_ref());
            match self.rename_checked(&from, &to, there, is_in_turn, cancel)? {
                RenameStep::Done => return Ok(()),
                RenameStep::NotItsTurn => is_in_turn = true,
            }
        }
    }

    /// Renames a file that no program has open later, if that is possible.
    fn rename_closed(
        &self,
        from: &NamedPlace<'_>,
        to: &NamedPlace<'_>,
        moved: &Attributes,
        replaced: Option<&Attributes>,
        cancel: &Cancel,
    ) -> Result<ChangeTime, Errno> {
        if !self.options.names || self.open_at(from).is_some() {
            return Ok(ChangeTime::Now);
        }
        let replaced_file = self.open_at(to);
        let pass = match &replaced_file {
            Some(file) => Some(file.enter_interrupting(cancel)?),
            None => None,
        };
        let there = (replaced, replaced_file.as_ref());
        if self.rename_later(&from.path, &to.path, moved, there)? == ChangeTime::Now {
            return Ok(ChangeTime::Now);
        }
        self.touch_directory(&from.directory);
        self.touch_directory(&to.directory);
        self.inodes
            .rename((from.parent, from.name), (to.parent, to.name));
        if let Some((file, pass)) = replaced_file.as_ref().zip(pass) {
            file.unlink(&pass);
            self.forget_sealed(file);
        }
        Ok(ChangeTime::Later)
    }

    fn rename_checked(
        &self,
        from: &NamedPlace<'_>,
        to: &NamedPlace<'_>,
        (moved, replaced): (&Attributes, Option<&Attributes>),
        is_in_turn: bool,
        cancel: &Cancel,
    ) -> Result<RenameStep, Errno> {
        let moved_file = self.open_at(from);
        let replaced_file = self.open_at(to);
        let replaces_read_file = replaced_file
            .as_ref()
            .is_some_and(|file| file.needs_server());
        self.prepare_waiting(
            &from.path,
            moved.kind,
            moved_file.as_ref(),
            replaces_read_file,
            cancel,
        );
        let files = RenamedFiles {
            moved: moved_file,
            replaced: replaced_file,
            below: self.open_below(&from.path),
        };
        let passes = enter_all(files.all().collect(), cancel)?;
        let entered = (&files, &*passes);
        let step = self.rename_entered(from, to, (moved, replaced), entered, is_in_turn, cancel);
        drop(passes);
        for file in files.all() {
            self.discard_if_closed(file);
        }
        step
    }

    fn rename_entered(
        &self,
        from: &NamedPlace<'_>,
        to: &NamedPlace<'_>,
        (moved, replaced): (&Attributes, Option<&Attributes>),
        (files, passes): (&RenamedFiles, &[(Ino, Pass<'_>)]),
        is_in_turn: bool,
        cancel: &Cancel,
    ) -> Result<RenameStep, Errno> {
        let pass_of = |ino| {
            passes
                .iter()
                .find(|(of, _)| *of == ino)
                .map(|(_, pass)| pass)
        };
        let (moved_file, replaced_file) = (&files.moved, &files.replaced);

        let moves_on_server = moved_file.as_ref().is_none_or(|file| file.is_on_server());
        if moves_on_server && !is_in_turn {
            // It was stored meanwhile.
            return Ok(RenameStep::NotItsTurn);
        }
        let replaced_open = replaced_file
            .as_ref()
            .and_then(|file| Some((file, pass_of(file.ino())?)));
        let hidden = match replaced_open {
            Some((file, pass)) if file.needs_server() && moves_on_server => {
                self.hide(file, pass, (to.parent, to.name), &to.path, cancel)?
            }
            Some((file, pass)) => {
                // Its successor is still being written. Until that is stored, the server has this
                // file.
                file.keep_contents(pass, cancel)?;
                None
            }
            None => None,
        };
        let below: Vec<_> = files
            .below
            .iter()
            .filter_map(|file| Some((file, pass_of(file.ino())?)))
            .collect();
        for (file, pass) in &below {
            file.end_early_upload(pass)?;
        }
        let renaming = moves_on_server.then(|| self.inodes.begin_rename(&[&from.path, &to.path]));
        if moves_on_server {
            // Hiding the replaced file was the first step: the others follow.
            let never = Cancel::never();
            let cancel = hidden.as_ref().map_or(cancel, |_| &never);
            let cached = self.begin_cached_rename(&from.path, &to.path, moved.kind);
            let renamed = self.rename_with_hidden(from, to, moved.kind, replaced, &below, cancel);
            if let Err(errno) = renamed {
                if let Some(hidden) = hidden {
                    self.unhide((to.parent, to.name), hidden);
                }
                return Err(errno);
            }
            if let Some(cached) = cached {
                cached.finish();
            }
            self.on_renamed(from, to, moved.kind);
        } else if let Some(file) = moved_file {
            self.cache.remove(&from.directory, from.name);
            if self.names.needs_look(file.ino()) && !self.is_offline() {
                // It was not the one of the server.
                self.invalidate(&from.directory, from.name);
            }
            file.set_base(match replaced_file {
                Some(file) => file.base(),
                None => replaced.map(Version::from),
            });
        }
        self.touch_directory(&from.directory);
        self.touch_directory(&to.directory);
        let inherited = self.inherit_store(moved_file.as_ref(), replaced_file.as_ref());
        self.inodes
            .rename((from.parent, from.name), (to.parent, to.name));
        drop(renaming);
        if let Some(file) = moved_file.as_ref().filter(|_| !moves_on_server) {
            self.expect_refused(file);
        }
        // The replaced file is forgotten after its successor is recorded, so a kill between the two
        // loses nothing.
        let moved = moved_file
            .iter()
            .filter_map(|file| Some((file, pass_of(file.ino())?)));
        for (file, pass) in moved.chain(below) {
            file.record_new_path(pass);
            self.move_store(file, inherited.clone());
        }
        if let Some((file, pass)) = replaced_open {
            match hidden {
                Some(hidden) => file.hide(pass, hidden),
                None => file.unlink(pass),
            }
            self.forget_sealed(file);
        }
        Ok(RenameStep::Done)
    }

    /// Updates what is known of both names after the server renamed one to the other.
    fn on_renamed(&self, from: &NamedPlace<'_>, to: &NamedPlace<'_>, moved: Kind) {
        self.cache.rename(&from.path, &to.path);
        if moved == Kind::Directory {
            self.names.directory_renamed(&from.path, &to.path);
        }
        for place in [from, to] {
            self.forget_variants(&place.directory, place.name);
            self.prefetcher.forget(&place.path);
        }
    }

    /// Removes the store of the replaced file from the order. Returns what the moved one inherits.
    fn inherit_store(
        &self,
        moved: Option<&Arc<OpenFile>>,
        replaced: Option<&Arc<OpenFile>>,
    ) -> Option<Inherited> {
        let replaced = replaced?;
        let is_unconfirmed = replaced.is_unconfirmed();
        let inherited = self.names.forget_store(replaced.ino());
        if self.names.is_on()
            && let Some(moved) = moved
            && (is_unconfirmed || inherited.needs_look)
        {
            // It replaces what the server has only if that is what programs saw.
            moved.set_offline();
        }
        Some(inherited)
    }

    /// Renames on the server, including the hidden files `below` a directory.
    fn rename_with_hidden(
        &self,
        from: &NamedPlace<'_>,
        to: &NamedPlace<'_>,
        moved: Kind,
        replaced: Option<&Attributes>,
        below: &[(&Arc<OpenFile>, &Pass<'_>)],
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        let mut hidden = Vec::new();
        for (file, pass) in below {
            if let Some(taken) = file.take_hidden(pass) {
                let path = taken.path().rebased(&from.path, &to.path);
                if let Some(path) = &path {
                    taken.expect_at(path);
                }
                hidden.push((file, pass, taken, path));
            }
        }
        let renamed = self.rename_on_server(from, to, moved, replaced, cancel);
        for (file, pass, mut taken, path) in hidden {
            match (path, renamed) {
                (Some(path), Ok(())) => taken.is_at(path),
                (Some(path), Err(_)) => taken.is_not_at(&path),
                (None, _) => {}
            }
            file.put_hidden(pass, taken);
        }
        renamed
    }

    /// Stores pending files before a move on the server: until the journal has the new name, the
    /// next mount would store them under the old one. A file that the server does not have yet
    /// moves only by name, unless programs read the one that it `replaces` there.
    fn prepare_waiting(
        &self,
        from: &RemotePath,
        moved: Kind,
        file: Option<&Arc<OpenFile>>,
        replaces: bool,
        cancel: &Cancel,
    ) {
        if moved == Kind::Directory {
            self.store_below(from, cancel);
        }
        if let Some(file) = file.filter(|file| file.has_sealed())
            && (replaces || file.is_on_server())
            && let Err(errno) = self.store_sealed_now(file, cancel)
        {
            log::debug!("moving {from} before it is stored: {errno:?}");
        }
    }

    /// Returns the files below a directory that may be written to, are pending, or are hidden,
    /// which gives them a temporary name in it.
    fn open_below(&self, directory: &RemotePath) -> Vec<Arc<OpenFile>> {
        let is_below = |file: &OpenFile| {
            self.inodes
                .path(file.ino())
                .is_ok_and(|path| path.below(directory).is_some_and(|rest| !rest.is_empty()))
        };
        let files = self.files_in_use().into_iter();
        files
            .filter(|file| file.has_writers() || file.has_sealed() || file.is_hidden())
            .filter(|file| is_below(file))
            .collect()
    }

    fn rename_place<'a>(&self, (parent, name): (Ino, &'a [u8])) -> Result<NamedPlace<'a>, Errno> {
        let directory = self.inodes.path(parent)?;
        let path = directory.join(name)?;
        Ok(NamedPlace {
            parent,
            directory,
            name,
            path,
        })
    }

    /// Whether a directory moves into itself under another spelling, keeping its name. mv(1) does
    /// that for a change of case, because it finds a directory under the new spelling. No other
    /// rename looks like this.
    fn is_into_other_case(&self, from: &NamedPlace<'_>, to: &NamedPlace<'_>) -> bool {
        self.remote.case_rule() == CaseRule::Insensitive
            && from.name == to.name
            && from.path != to.directory
            && Some(&from.directory) == to.directory.parent().as_ref()
            && is_same_but_case(from.name, to.directory.name())
    }

    /// Whether `to` is below `from` under another spelling, on a server that ignores case.
    fn is_below_in_other_case(&self, from: &NamedPlace<'_>, to: &NamedPlace<'_>) -> bool {
        let (above, path) = (from.path.as_bytes(), to.path.as_bytes());
        self.remote.case_rule() == CaseRule::Insensitive
            && path.get(above.len()) == Some(&b'/')
            && path
                .get(..above.len())
                .is_some_and(|start| is_same_but_case(start, above))
    }

    /// Whether only the case of a name changes, on a server that ignores case.
    fn is_case_only(&self, from: &NamedPlace<'_>, to: &NamedPlace<'_>) -> bool {
        self.remote.case_rule() == CaseRule::Insensitive
            && from.directory == to.directory
            && is_same_but_case(from.name, to.name)
    }

    fn open_at(&self, place: &NamedPlace<'_>) -> Option<Arc<OpenFile>> {
        self.inodes
            .open_file(self.inodes.known(place.parent, place.name)?)
    }

    fn what_is_at(
        &self,
        place: &NamedPlace<'_>,
        cancel: &Cancel,
    ) -> Result<Option<Attributes>, Errno> {
        if let Some(known) = self.open_at(place).and_then(|file| file.attributes()) {
            return Ok(Some(known));
        }
        match self.attributes_of(&place.directory, place.name, Blocking::Yes(cancel)) {
            Ok(fresh) => Ok(Some(fresh.value)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Fails with ENOTEMPTY if the directory at `place` is not empty, as rename(2) requires.
    /// Servers overwrite such a directory or merge the two. The directory is listed again, and
    /// hidden files in it are moved away.
    fn check_empty(&self, place: &NamedPlace<'_>, cancel: &Cancel) -> Result<(), Errno> {
        if let Some(ino) = self.inodes.known(place.parent, place.name) {
            self.clear_directory(ino, place.parent)?;
        }
        let listing = self.remote.with(cancel).list(&place.path)?;
        match listing.completeness {
            _ if !listing.entries.is_empty() => Err(Errno::NOTEMPTY),
            // RMD, which comes next, refuses a directory with unlisted contents.
            Completeness::Complete | Completeness::Visible | Completeness::Blank => Ok(()),
            Completeness::Incomplete | Completeness::Unreadable => Err(Errno::IO),
            Completeness::Unlistable => Err(Errno::ACCES),
        }
    }

    fn rename_on_server(
        &self,
        from: &NamedPlace<'_>,
        to: &NamedPlace<'_>,
        moved: Kind,
        replaced: Option<&Attributes>,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        // Not every server renames onto an empty directory.
        let directory = replaced.filter(|_| moved == Kind::Directory);
        if directory.is_some() {
            self.remote.with(cancel).remove_directory(&to.path)?;
        }
        // A rename that has begun on the server is completed.
        let remote = match directory {
            Some(_) => self.remote.uncancelled(),
            None => self.remote.with(cancel),
        };
        let renamed = if self.is_case_only(from, to) {
            remote.rename_case(&from.path, &to.path)
        } else {
            remote.rename(&from.path, &to.path)
        };
        let Err(error) = renamed else {
            return Ok(());
        };
        if let Some(directory) = directory {
            self.restore_directory(to, directory);
        }
        if error.kind == ErrorKind::NotFound {
            self.cache.forget(&from.directory);
        }
        for place in [from, to] {
            self.invalidate_after(&place.directory, place.name, error.kind);
        }
        Err(error.into())
    }

    /// Creates the empty directory again that was removed for a rename that then failed.
    fn restore_directory(&self, place: &NamedPlace<'_>, was: &Attributes) {
        if let Err(error) = self.remote.uncancelled().make_directory(&place.path) {
            log::error!(
                path = error.path, reply = error.reply;
                "{error}; it was removed for a rename that failed"
            );
            self.cache.invalidate(&place.directory, place.name);
            return;
        }
        if let Some(mode) = was.mode
            && let Err(error) = self.remote.uncancelled().set_mode(&place.path, mode)
        {
            log::info!(
                path = error.path, reply = error.reply;
                "{error}; the directory has the server's default mode now"
            );
        }
    }
}

/// The open files that a rename is about.
struct RenamedFiles {
    moved: Option<Arc<OpenFile>>,
    replaced: Option<Arc<OpenFile>>,
    /// Those below a renamed directory, see [`Vfs::open_below`].
    below: Vec<Arc<OpenFile>>,
}

impl RenamedFiles {
    fn all(&self) -> impl Iterator<Item = &Arc<OpenFile>> {
        let named = self.moved.iter().chain(&self.replaced);
        named.chain(&self.below)
    }
}

/// Enters the gates of `files` in the order of their inodes, so that two renames never wait for
/// each other. Their background uploads, which would use old names, are interrupted.
fn enter_all<'a>(
    mut files: Vec<&'a Arc<OpenFile>>,
    cancel: &Cancel,
) -> Result<Vec<(Ino, Pass<'a>)>, Errno> {
    files.sort_by_key(|file| file.ino());
    files.dedup_by_key(|file| file.ino());
    let files = files.into_iter();
    files
        .map(|file| Ok((file.ino(), file.enter_interrupting(cancel)?)))
        .collect()
}

/// Checks whether one kind may replace another. POSIX: a directory replaces only a directory, any
/// other file only a file that is no directory.
fn check_replaceable(moved: Kind, replaced: Kind) -> Result<(), Errno> {
    match (moved == Kind::Directory, replaced == Kind::Directory) {
        (true, false) => Err(Errno::NOTDIR),
        (false, true) => Err(Errno::ISDIR),
        (true, true) | (false, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_a_file_never_replace_each_other() {
        assert_eq!(
            check_replaceable(Kind::Directory, Kind::File),
            Err(Errno::NOTDIR)
        );
        assert_eq!(
            check_replaceable(Kind::Symlink, Kind::Directory),
            Err(Errno::ISDIR)
        );
        assert_eq!(check_replaceable(Kind::File, Kind::Symlink), Ok(()));
        assert_eq!(check_replaceable(Kind::Directory, Kind::Directory), Ok(()));
    }
}

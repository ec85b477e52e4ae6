//! Renaming, over an existing file or not.

use std::sync::Arc;

use crate::cache::Attributes;
use crate::ftp::{Kind, RemotePath};
use crate::journal::Before;
use crate::remote::ErrorKind;

use super::Vfs;
use super::errno::Errno;
use super::inode::Ino;
use super::open_file::{self, OpenFile};

/// Where a name is: its directory's inode and path, and the name.
struct Place<'a> {
    parent: Ino,
    directory: RemotePath,
    name: &'a [u8],
    path: RemotePath,
}

impl Vfs {
    /// Makes `from` be `to`. What is at `to` is replaced, unless `no_replace`: then it is EEXIST.
    ///
    /// Between the look at `to` and the renaming somebody else may make it: FTP has no rename that
    /// refuses to replace, so `no_replace` holds against this mount's programs only.
    pub fn rename(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        no_replace: bool,
    ) -> Result<(), Errno> {
        self.check_writable()?;
        let (from, to) = (self.rename_place(from)?, self.rename_place(to)?);
        let moved = self.what_is_at(&from)?.ok_or(Errno::NOENT)?;
        let replaced = self.what_is_at(&to)?;
        if let Some(replaced) = &replaced {
            if no_replace {
                return Err(Errno::EXIST);
            }
            check_replaceable(moved.kind, replaced.kind)?;
        }
        let moved_file = self.open_at(&from);
        let replaced_file = self.open_at(&to);
        let replaces_read_file = replaced_file
            .as_ref()
            .is_some_and(|file| file.needs_server());
        self.prepare_waiting(
            &from.path,
            moved.kind,
            moved_file.as_ref(),
            replaces_read_file,
        );
        for file in moved_file.iter().chain(&replaced_file) {
            file.interrupt_storing();
        }
        // Gates in the order of their inodes, so that two renames never wait for each other.
        let below = self.open_below(&from.path);
        let mut gates: Vec<_> = moved_file
            .iter()
            .chain(&replaced_file)
            .chain(&below)
            .collect();
        gates.sort_by_key(|file| file.ino());
        gates.dedup_by_key(|file| file.ino());
        let passes: Vec<_> = gates
            .iter()
            .map(|file| (file.ino(), file.enter()))
            .collect();
        let pass_of = |ino| {
            passes
                .iter()
                .find(|(of, _)| *of == ino)
                .map(|(_, pass)| pass)
        };

        let moves_on_server = moved_file.as_ref().is_none_or(|file| file.is_on_server());
        let mut hidden = None;
        if let Some(file) = &replaced_file
            && let Some(pass) = pass_of(file.ino())
            && file.needs_server()
        {
            if moves_on_server {
                hidden = self.hide(file, pass, (to.parent, to.name), &to.path)?;
            } else {
                // Its successor is still being written: until that is stored, the server has this one.
                file.keep_contents(pass)?;
            }
        }
        let mut hidden_below = Vec::new();
        for file in &below {
            if let Some(pass) = pass_of(file.ino()) {
                file.end_early_upload(pass);
                if let Some(hidden) = file.take_hidden(pass) {
                    hidden_below.push((file, pass, hidden));
                }
            }
        }
        if moves_on_server {
            for (_, _, hidden) in &hidden_below {
                if let Some(path) = hidden.path().rebased(&from.path, &to.path) {
                    hidden.expect_at(&path);
                }
            }
            let renamed = self.rename_on_server(&from, &to, moved.kind, replaced.as_ref());
            for (file, pass, mut hidden) in hidden_below {
                if let Some(path) = hidden.path().rebased(&from.path, &to.path) {
                    match renamed {
                        Ok(()) => hidden.is_at(path),
                        Err(_) => hidden.is_not_at(&path),
                    }
                }
                file.put_hidden(pass, hidden);
            }
            if let Err(errno) = renamed {
                if let Some(hidden) = hidden {
                    self.unhide((to.parent, to.name), hidden);
                }
                return Err(errno);
            }
            self.cache.rename(&from.path, &to.path);
            self.ahead.forget(&from.path);
            self.ahead.forget(&to.path);
        } else if let Some(file) = &moved_file {
            self.cache.remove(&from.directory, from.name);
            file.set_before(match (&replaced_file, &replaced) {
                (Some(file), _) => file.before(),
                (None, Some(replaced)) => open_file::before(replaced),
                (None, None) => Before::Absent,
            });
        }
        self.note_modified(&from.directory);
        self.note_modified(&to.directory);
        self.inodes
            .rename((from.parent, from.name), (to.parent, to.name));
        // What is replaced is forgotten after its successor is remembered: a kill between the two costs nothing.
        for file in moved_file.iter().chain(&below) {
            if let Some(pass) = pass_of(file.ino()) {
                file.note_new_place(pass);
            }
        }
        if let Some(file) = &replaced_file
            && let Some(pass) = pass_of(file.ino())
        {
            match hidden {
                Some(hidden) => self.keep_hidden(file, pass, hidden),
                None => file.unlink(pass),
            }
            self.forget_waiting(file);
        }
        Ok(())
    }

    /// Stores what was closed and moves on the server: until the journal knows its new name, the next mount would store
    /// it by the old one. A file that the server does not have yet moves by name alone, unless programs read the one that
    /// it `replaces` there.
    fn prepare_waiting(
        &self,
        from: &RemotePath,
        moved: Kind,
        file: Option<&Arc<OpenFile>>,
        replaces: bool,
    ) {
        if moved == Kind::Directory {
            self.store_below(from);
        }
        if let Some(file) = file.filter(|file| file.has_closed())
            && (replaces || file.is_on_server())
            && let Err(errno) = self.store_closed_now(file)
        {
            log::debug!("{from} is moved before it is stored: {errno:?}");
        }
    }

    /// The files below a directory that may be written to, wait to be stored, or are hidden: they have a temporary name in
    /// it.
    fn open_below(&self, directory: &RemotePath) -> Vec<Arc<OpenFile>> {
        let is_below = |file: &OpenFile| {
            self.inodes
                .path(file.ino())
                .is_ok_and(|path| path.below(directory).is_some_and(|rest| !rest.is_empty()))
        };
        let files = self.files_in_use().into_iter();
        files
            .filter(|file| file.has_writers() || file.has_closed() || file.is_hidden())
            .filter(|file| is_below(file))
            .collect()
    }

    fn rename_place<'a>(&self, (parent, name): (Ino, &'a [u8])) -> Result<Place<'a>, Errno> {
        let directory = self.inodes.path(parent)?;
        let path = directory.join(name)?;
        Ok(Place {
            parent,
            directory,
            name,
            path,
        })
    }

    fn open_at(&self, place: &Place<'_>) -> Option<Arc<OpenFile>> {
        self.inodes
            .open_file(self.inodes.known(place.parent, place.name)?)
    }

    fn what_is_at(&self, place: &Place<'_>) -> Result<Option<Attributes>, Errno> {
        if let Some(known) = self.open_at(place).and_then(|file| file.attributes()) {
            return Ok(Some(known));
        }
        match self.attributes_of(&place.directory, place.name) {
            Ok(fresh) => Ok(Some(fresh.value)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn rename_on_server(
        &self,
        from: &Place<'_>,
        to: &Place<'_>,
        moved: Kind,
        replaced: Option<&Attributes>,
    ) -> Result<(), Errno> {
        let Err(error) = self.remote.rename(&from.path, &to.path) else {
            return Ok(());
        };
        let replaces_directory =
            moved == Kind::Directory && replaced.is_some_and(|at| at.kind == Kind::Directory);
        // rename(2) replaces an empty directory; not every server does.
        let could_be_in_the_way = matches!(
            error.kind,
            ErrorKind::AlreadyExists | ErrorKind::PermissionDenied | ErrorKind::Other
        );
        if !(replaces_directory && could_be_in_the_way) {
            if error.kind == ErrorKind::NotFound {
                self.cache.forget(&from.directory);
            }
            for place in [from, to] {
                self.doubt(&place.directory, place.name, error.kind);
            }
            return Err(error.into());
        }
        self.remote.remove_directory(&to.path)?;
        if let Err(error) = self.remote.rename(&from.path, &to.path) {
            self.cache.remove(&to.directory, to.name);
            return Err(error.into());
        }
        Ok(())
    }
}

/// POSIX: a directory replaces only a directory, anything else only what is none.
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

//! A file being stored: under a temporary name beside its target, renamed over it when the server has all of
//! it. Readers see the old file or the new one; a failed upload leaves the old one whole.

use std::cell::Cell;
use std::fs::File;
use std::mem;

use super::error::{Operation, Task, is_unsupported, meaning, refusal};
use super::retry::Dialogue;
use super::sending::Sending;
use super::temporary::{InPlace, Temporary};
use super::{Atomic, Commit, Error, ErrorKind, Remote, Stored, placing};
use crate::ftp::{self, Capability, Entry, Failed, Modified, Precision, RemotePath, Session};
use crate::pool::{self, Permit};

/// A file being stored. Dropped before it is committed, it is given up, which may take a moment.
#[derive(Debug)]
pub struct Upload {
    remote: Remote,
    /// What it was begun for; errors name it.
    path: RemotePath,
    place: Place,
    state: State,
}

/// A small file, all of whose bytes are there when its upload begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) file: &'a File,
    /// It is to have so many bytes.
    pub(super) length: u64,
    /// What arrived is asked for first of all.
    pub(super) look: bool,
}

/// Where the bytes go until the commit.
#[derive(Debug)]
enum Place {
    /// A name of ours: whatever is there may be deleted.
    Temporary(Temporary),
    /// The file itself: the directory takes no new names.
    Direct(InPlace),
    /// Nowhere any more: the temporary name is gone.
    Gone(RemotePath),
}

impl Place {
    fn path(&self) -> &RemotePath {
        match self {
            Self::Temporary(temporary) => temporary.path(),
            Self::Direct(in_place) => in_place.path(),
            Self::Gone(path) => path,
        }
    }
}

#[derive(Debug)]
enum State {
    Sending(Box<Sending>),
    Failed(Error),
    /// Committed or given up.
    Ended,
}

/// See [`Remote::upload`].
pub(super) fn upload(
    remote: &Remote,
    path: &RemotePath,
    whole: Option<Whole<'_>>,
) -> Result<Upload, Error> {
    let task = Task::new(Operation::Store, path);
    if !remote.keeps_name(path) {
        return Err(task.name_not_kept());
    }
    let Some(temporary) = remote.new_part(path) else {
        return Err(task.error(ErrorKind::IsDirectory, &"the root is a directory"));
    };
    let mut dialogue = remote.dialogue();
    if remote.atomic() == Atomic::Never {
        temporary.gone();
        return direct(remote, &mut dialogue, &task, whole);
    }
    let asked = Cell::new(0);
    let begin = |session: Session| {
        asked.set(asked.get() + 1);
        store(session, temporary.path(), whole)
    };
    let fault = match dialogue.start(begin) {
        Ok(started) => {
            return Ok(Upload::new(
                remote,
                path,
                Place::Temporary(temporary),
                started,
            ));
        }
        Err(fault) => fault,
    };
    let is_about_the_name = may_be_about_the_name(&fault, temporary.path());
    if has_made_nothing(&fault, asked.get()) {
        temporary.gone();
    } else {
        temporary.delete(&mut dialogue);
    }
    if !is_about_the_name || remote.atomic() == Atomic::Require {
        return Err(remote.blame(&mut dialogue, &task, &fault));
    }
    let upload = direct(remote, &mut dialogue, &task, whole)?;
    if remote.inner.warned_of_overwriting.first() {
        log::warn!(
            "the server takes no new name beside {path} ({fault}): it is overwritten in place, and an \
             upload that fails leaves it cut short"
        );
    }
    Ok(upload)
}

/// STOR, with all the data at once where they are at hand.
fn store(
    session: Session,
    path: &RemotePath,
    whole: Option<Whole<'_>>,
) -> Result<ftp::Upload, Box<Failed>> {
    match whole {
        Some(whole) => session.store_whole(path, whole.file, whole.length, whole.look),
        None => session.store(path, 0),
    }
}

/// What SIZE, and MDTM with it, tell of a file.
fn size_and_time(
    session: &mut Session,
    path: &RemotePath,
    has_mdtm: bool,
) -> Result<Entry, ftp::Error> {
    let (size, modified) = if has_mdtm {
        let (size, modified) = session.size_and_modified(path)?;
        (size, modified.ok())
    } else {
        (session.size(path), None)
    };
    let size = match size {
        // An answer without a number, as npm ftp-srv gives of an empty file.
        Err(ftp::Error::Malformed { .. }) if session.is_usable() => None,
        size => Some(size?),
    };
    let mut entry = Entry::new(path.name(), ftp::Kind::File);
    entry.size = size;
    entry.modified = modified.map(|seconds| Modified {
        seconds,
        precision: Precision::Second,
        utc: true,
    });
    Ok(entry)
}

/// Whether there is no file after so many tries of a STOR, the last of which ended with `fault`. A connection that is
/// lost leaves that open; before a 425 vsftpd has made the file.
fn has_made_nothing(fault: &pool::Error, tries: u32) -> bool {
    let for_good = refusal(fault).is_some_and(|reply| reply.code().0 >= 500);
    tries == 0 || (tries == 1 && for_good)
}

/// Begins an upload straight at its name. The journal knows of it before the server does.
fn direct(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    task: &Task<'_>,
    whole: Option<Whole<'_>>,
) -> Result<Upload, Error> {
    let path = task.path;
    remote.settle_before(dialogue, path);
    let in_place = remote.overwrite(path);
    let tries = Cell::new(0);
    let begin = |session: Session| {
        tries.set(tries.get() + 1);
        store(session, path, whole)
    };
    match dialogue.start(begin) {
        Ok(started) => Ok(Upload::new(remote, path, Place::Direct(in_place), started)),
        Err(fault) => {
            if has_made_nothing(&fault, tries.get()) {
                in_place.finished();
            }
            Err(remote.blame(dialogue, task, &fault))
        }
    }
}

/// Whether another name may be taken where this one was not: files in a directory that cannot be written to
/// can still be writable.
fn may_be_about_the_name(fault: &pool::Error, path: &RemotePath) -> bool {
    if !refusal(fault).is_some_and(|reply| matches!(reply.code().0, 501 | 550 | 553)) {
        return false;
    }
    matches!(
        meaning(fault, path),
        None | Some(
            ErrorKind::PermissionDenied
                | ErrorKind::InvalidName
                | ErrorKind::NameTooLong
                | ErrorKind::Other
        )
    )
}

impl Upload {
    fn new(
        remote: &Remote,
        path: &RemotePath,
        place: Place,
        started: (ftp::Upload, Permit),
    ) -> Self {
        let is_ours = matches!(place, Place::Temporary(_));
        let sending = Sending::new(remote, place.path(), is_ours, started);
        Self {
            remote: remote.clone(),
            path: path.clone(),
            place,
            state: State::Sending(Box::new(sending)),
        }
    }

    /// Bytes handed to the connection so far.
    pub fn sent(&self) -> u64 {
        match &self.state {
            State::Sending(sending) => sending.sent(),
            State::Failed(_) | State::Ended => 0,
        }
    }

    /// Sends the next `length` bytes, found at `self.sent()` in `file`. A connection that breaks is replaced, and the
    /// transfer goes on where the server has got to, if it can.
    ///
    /// # Errors
    /// What broke, in the server's words where it had any ([`ErrorKind::NoSpace`] …), or
    /// [`ErrorKind::Local`]. The upload is given up then, and the same is said when asked again.
    pub fn send(&mut self, file: &File, length: u64) -> Result<(), Error> {
        self.step(|sending| sending.send(file, length))
    }

    /// Waits until the server has acknowledged what was sent, and has the same bytes where it tells a digest; bytes that
    /// were lost with their connection are sent again from `file`. Without a file, nothing is compared or sent again.
    ///
    /// # Errors
    /// Those of [`Upload::send`].
    pub fn arrive(&mut self, file: Option<&File>) -> Result<(), Error> {
        self.step(|sending| sending.finish(file))?;
        let Some(file) = file else { return Ok(()) };
        let State::Sending(sending) = &mut self.state else {
            return Ok(());
        };
        let (remote, size) = (self.remote.clone(), sending.sent());
        let mut dialogue = sending.lend_lease().map_or_else(
            || remote.dialogue(),
            |lease| Dialogue::with(remote.pool(), lease),
        );
        let verified = remote.verify_digest(&mut dialogue, self.place.path(), file, size);
        sending.put_lease_back(dialogue.into_lease());
        verified
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut Sending) -> Result<(), pool::Error>,
    ) -> Result<(), Error> {
        match &mut self.state {
            State::Sending(sending) => match step(sending) {
                Ok(()) => Ok(()),
                Err(fault) => Err(self.fail(&fault)),
            },
            State::Failed(error) => Err(error.clone()),
            State::Ended => Err(self.task().error(ErrorKind::Other, &"the upload has ended")),
        }
    }

    /// Takes the 226 unless it [has arrived](Self::arrive), checks the size where the server tells it, sets mode and
    /// time, renames over `target`.
    ///
    /// Mode and time are best effort: a server that refuses them is logged, once where it has no command for
    /// them, and the file is stored all the same.
    ///
    /// # Errors
    /// The old file is whole and the temporary one deleted, unless the upload went straight to its name
    /// (which was logged).
    pub fn commit(mut self, target: &RemotePath, commit: &Commit) -> Result<Stored, Error> {
        let sent = self.sent();
        if matches!(self.state, State::Sending(_)) && sent != commit.size {
            let reason = format!("{sent} of {} bytes were sent", commit.size);
            return Err(Task::new(Operation::Store, target).error(ErrorKind::Truncated, &reason));
        }
        self.step(|sending| sending.finish(None))?;
        let remote = self.remote.clone();
        let lease = match mem::replace(&mut self.state, State::Ended) {
            State::Sending(sending) => sending.into_lease(),
            State::Failed(_) | State::Ended => None,
        };
        let mut dialogue = lease.map_or_else(
            || remote.dialogue(),
            |lease| Dialogue::with(remote.pool(), lease),
        );
        let done = self.settle(&mut dialogue, target, commit);
        match done {
            Ok(_) => self.leave_place(),
            Err(_) => self.remove_temporary(&mut dialogue),
        }
        done
    }

    /// Gives up and removes the temporary file. Dropping does the same.
    pub fn abandon(self) {
        drop(self);
    }

    /// From all bytes acknowledged to the file in its place.
    fn settle(
        &self,
        dialogue: &mut Dialogue<'_>,
        target: &RemotePath,
        commit: &Commit,
    ) -> Result<Stored, Error> {
        let task = Task::new(Operation::Store, target);
        let found = self.arrived(dialogue, target)?;
        if let Some(size) = found.as_ref().and_then(|found| found.size)
            && size != commit.size
        {
            let reason = format!("the server has {size} of {} bytes", commit.size);
            return Err(task.error(ErrorKind::Truncated, &reason));
        }
        let from = self.place.path();
        placing::place(&self.remote, dialogue, from, target, commit, found.as_ref())
    }

    /// What the server has of the upload: one question answers for size, time and mode where the
    /// server has MLST (RFC 3659 §7), else SIZE (§4) for the size alone.
    fn arrived(
        &self,
        dialogue: &mut Dialogue<'_>,
        target: &RemotePath,
    ) -> Result<Option<Entry>, Error> {
        let (profile, path) = (self.remote.profile(), self.place.path());
        let asked = if profile.has(Capability::Mlst) {
            dialogue.repeat(|session| session.mlst(path))
        } else if profile.has(Capability::Size) {
            dialogue.repeat(|session| size_and_time(session, path, profile.has(Capability::Mdtm)))
        } else {
            return Ok(None);
        };
        match asked {
            Ok(entry) => Ok(Some(entry)),
            Err(fault) if is_unsupported(&fault) && profile.has(Capability::Mlst) => {
                profile.fails(Capability::Mlst, &fault);
                self.arrived(dialogue, target)
            }
            Err(fault) if is_unsupported(&fault) => {
                profile.fails(Capability::Size, &fault);
                Ok(None)
            }
            Err(fault) if refusal(&fault).is_some() => {
                log::debug!("the stored size of {target} is not told: {fault}");
                Ok(None)
            }
            Err(fault) => {
                let task = Task::new(Operation::Store, target);
                Err(self.remote.blame(dialogue, &task, &fault))
            }
        }
    }

    /// It cannot be stored: says why, in the server's words where it had any.
    fn fail(&mut self, fault: &pool::Error) -> Error {
        let remote = self.remote.clone();
        self.state = State::Ended;
        let mut dialogue = remote.dialogue();
        let error = remote.blame(&mut dialogue, &self.task(), fault);
        self.remove_temporary(&mut dialogue);
        self.state = State::Failed(error.clone());
        error
    }

    /// Deletes what has come of it, where that is under a name of its own.
    fn remove_temporary(&mut self, dialogue: &mut Dialogue<'_>) {
        if let Place::Temporary(temporary) = self.take_place() {
            temporary.delete(dialogue);
        }
    }

    /// The file has its name and all its bytes.
    fn leave_place(&mut self) {
        match self.take_place() {
            Place::Temporary(temporary) => temporary.gone(),
            Place::Direct(in_place) => in_place.finished(),
            Place::Gone(_) => {}
        }
    }

    fn take_place(&mut self) -> Place {
        let path = self.place.path().clone();
        mem::replace(&mut self.place, Place::Gone(path))
    }

    fn task(&self) -> Task<'_> {
        Task::new(Operation::Store, &self.path)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !matches!(self.state, State::Sending(_)) {
            return;
        }
        // The transfer is ended before its name is cleared away.
        self.state = State::Ended;
        let remote = self.remote.clone();
        self.remove_temporary(&mut remote.dialogue());
    }
}

//! Several changes of names together (`-o writeback=names`): sent in one write where the server
//! queues commands.

use std::time::Instant;

use super::error::{ErrorContext, Operation};
use super::fallbacks::{Fallback, ModeWay, TimeWay};
use super::retry::Exchange;
use super::steps::UploadName;
use super::{Atomic, Error, Remote, RemoteHandle};
use crate::cancel::Cancel;
use crate::ftp::{Capability, ChangeCommand, RemotePath};
use crate::pool::Purpose;

/// The server's answer to one of several changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchAnswer {
    /// It was made.
    Done,
    /// It was refused. Made alone, it may succeed in another way, or shows the reason.
    Refused,
    /// There was no answer, so it may have been made.
    None,
}

impl RemoteHandle {
    /// Whether the server queues commands, so that several changes take one round trip.
    pub(crate) fn queues_changes(&self) -> bool {
        self.profile().is_proven(Capability::Pipelining)
    }

    /// Whether the server may have a command that sets modes.
    pub(crate) fn sets_modes(&self) -> bool {
        ModeWay::candidates(self.profile()).next().is_some()
    }

    /// Whether the server may have a command that makes symbolic links.
    pub(crate) fn may_make_links(&self) -> bool {
        self.profile().has(Capability::SiteSymlink)
    }

    /// Whether the server may have a command that sets times, also of directories if wanted.
    pub(crate) fn sets_times(&self, of_directories: bool) -> bool {
        TimeWay::candidates(self.profile()).next().is_some()
            && (!of_directories || self.profile().has(Capability::DirectoryTimes))
    }

    /// Returns the command that sets the mode of a file or directory, if it is known to work.
    pub(crate) fn mode_command(&self, path: &RemotePath, mode: u32) -> Option<ChangeCommand> {
        let way = ModeWay::candidates(self.profile()).next()?;
        let works = self.profile().is_proven(way.capability());
        works.then(|| ChangeCommand::Set(path.clone(), way.setting(mode)))
    }

    /// Returns the command that sets the time of a file, or of a directory, if it is known to work.
    pub(crate) fn time_command(
        &self,
        path: &RemotePath,
        seconds: i64,
        is_directory: bool,
    ) -> Option<ChangeCommand> {
        let way = TimeWay::candidates(self.profile()).next()?;
        let works = self.profile().is_proven(way.capability())
            && (!is_directory || self.profile().is_proven(Capability::DirectoryTimes));
        works.then(|| ChangeCommand::Set(path.clone(), way.setting(seconds)))
    }

    /// Returns the time that the server reports after it was set to `seconds`.
    pub(crate) fn round_trip_of(&self, seconds: i64) -> i64 {
        self.zone().round_trip(seconds)
    }

    /// Whether an upload to `path` goes to its final name.
    pub(crate) fn uploads_in_place(&self, path: &RemotePath) -> bool {
        let first = self.steps().first(self.profile(), path, Instant::now());
        self.atomic() == Atomic::Never || first == UploadName::Final
    }

    /// Whether a directory can be made at `path` without a question about its name.
    pub(crate) fn is_plain_name(&self, path: &RemotePath) -> bool {
        self.is_name_kept(path.name())
    }
}

impl Remote {
    /// Makes the changes in order, each even if those before it were refused. Returns one answer
    /// for each.
    ///
    /// # Errors
    /// There is no session, and nothing was sent.
    pub(crate) fn change_together(
        &self,
        changes: &[ChangeCommand],
    ) -> Result<Vec<BatchAnswer>, Error> {
        let root = RemotePath::root();
        let context = ErrorContext::new(Operation::Rename, changes.first().map_or(&root, path_of));
        let mut exchange = self.begin(&context)?;
        for change in changes {
            self.resolve_leftovers(&mut exchange, path_of(change));
        }
        let mut lease = if let Some(lease) = exchange.into_lease() {
            lease
        } else {
            let leased = self.pool().lease(Purpose::Command, &Cancel::never());
            let none = |fault| {
                let mut exchange = Exchange::new(self.pool(), Cancel::never());
                self.diagnose(&mut exchange, &context, &fault)
            };
            leased.map_err(none)?
        };
        let mut answers = Vec::with_capacity(changes.len());
        if let Err(fault) = lease.change_batch(changes, &mut answers) {
            log::debug!(
                "not all of {} changes were answered: {fault}",
                changes.len()
            );
        }
        let answers = answers.iter().map(|answer| match answer {
            Ok(()) => BatchAnswer::Done,
            Err(fault) => {
                log::debug!("{fault}");
                BatchAnswer::Refused
            }
        });
        let mut answers: Vec<_> = answers.collect();
        answers.resize(changes.len(), BatchAnswer::None);
        Ok(answers)
    }
}

fn path_of(change: &ChangeCommand) -> &RemotePath {
    match change {
        ChangeCommand::Delete(path)
        | ChangeCommand::MakeDirectory(path)
        | ChangeCommand::RemoveDirectory(path)
        | ChangeCommand::Rename(path, _)
        | ChangeCommand::Set(path, _) => path,
    }
}

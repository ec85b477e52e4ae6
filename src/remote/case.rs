//! Servers on which names that differ only in case are the same (IIS, FAT, SMB).

use super::error::{ErrorContext, Operation, meaning, refusal};
use super::listing::list_all;
use super::rename::move_path;
use super::retry::Exchange;
use super::transience::is_lost;
use super::{Error, ErrorKind, Remote, RemoteHandle};
use crate::ftp::{Capability, Finding, Kind, RemotePath};
use crate::pool;

/// Whether a server distinguishes upper and lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseRule {
    /// Names that differ in case are different.
    Sensitive,
    /// Names that differ in case are the same.
    Insensitive,
    /// Not known yet.
    Unknown,
}

impl RemoteHandle {
    /// Returns what is known about case sensitivity.
    pub fn case_rule(&self) -> CaseRule {
        match self.profile().finding(Capability::CaseSensitive) {
            Finding::Works => CaseRule::Sensitive,
            Finding::Fails => CaseRule::Insensitive,
            Finding::Unknown | Finding::Announced | Finding::NotAnnounced => CaseRule::Unknown,
        }
    }
}

impl Remote {
    /// Finds out whether names that differ in case are the same. `path` is not listed, but an entry
    /// of this kind is listed whose name differs from it only in case. Sends one command, then
    /// requests the listing.
    ///
    /// # Errors
    /// The server could not be asked.
    pub fn find_case_rule(&self, path: &RemotePath, kind: Kind) -> Result<CaseRule, Error> {
        let mut exchange = self.exchange();
        let answer = self.ask_for(&mut exchange, path, kind);
        match answer {
            Ok(()) => {
                // Another client may have created it since.
                let Some(parent) = path.parent() else {
                    return Ok(CaseRule::Unknown);
                };
                let listing = list_all(self, &mut exchange, &parent)?;
                if listing
                    .entries
                    .iter()
                    .any(|entry| entry.name == path.name())
                {
                    return Ok(CaseRule::Unknown);
                }
                let why = format!("it has {path} under another spelling");
                self.profile().fails(Capability::CaseSensitive, &why);
            }
            Err(fault) if refusal(&fault).is_some() && !is_lost(&fault) => {
                match meaning(&fault, path) {
                    Some(ErrorKind::NotFound) | None => {
                        self.profile().works(Capability::CaseSensitive);
                    }
                    Some(_) => {}
                }
            }
            Err(fault) => {
                let context = ErrorContext::new(Operation::Stat, path);
                return Err(self.diagnose(&mut exchange, &context, &fault));
            }
        }
        Ok(self.case_rule())
    }

    /// Requests something of this kind by its path alone. Success means that it exists.
    fn ask_for(
        &self,
        exchange: &mut Exchange<'_>,
        path: &RemotePath,
        kind: Kind,
    ) -> Result<(), pool::Error> {
        let profile = self.profile();
        if profile.has(Capability::Mlst) {
            exchange
                .run_idempotent(|session| session.mlst(path))
                .map(drop)
        } else if kind == Kind::Directory {
            exchange.run_idempotent(|session| session.change_directory(path))
        } else if profile.has(Capability::Size) {
            exchange
                .run_idempotent(|session| session.size(path))
                .map(drop)
        } else {
            exchange
                .run_idempotent(|session| session.modified(path))
                .map(drop)
        }
    }

    /// Changes only the case of a name. If the server takes the new name for an existing file,
    /// renames by way of a temporary name.
    ///
    /// # Errors
    /// Those of rename(2). The file keeps its old name or gets it back.
    pub fn rename_case(&self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        let context = ErrorContext::new(Operation::Rename, from);
        let mut exchange = self.begin(&context)?;
        for path in [from, to] {
            self.resolve_leftovers(&mut exchange, path);
        }
        let Err(fault) = move_path(self, &mut exchange, &[], from, to, &[]) else {
            return Ok(());
        };
        let aside = match self.new_aside(from, None) {
            Some(aside) if refusal(&fault).is_some() && !is_lost(&fault) => aside,
            Some(unused) => {
                unused.mark_gone();
                return Err(self.diagnose(&mut exchange, &context, &fault));
            }
            None => return Err(self.diagnose(&mut exchange, &context, &fault)),
        };
        let moved = move_path(self, &mut exchange, &[], from, aside.path(), &[])
            .and_then(|_| move_path(self, &mut exchange, &[], aside.path(), to, &[]));
        match moved {
            Ok(_) => {
                aside.mark_gone();
                Ok(())
            }
            Err(fault) => {
                aside.put_back(&mut exchange, is_lost(&fault));
                Err(self.diagnose(&mut exchange, &context, &fault))
            }
        }
    }
}

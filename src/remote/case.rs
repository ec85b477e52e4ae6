//! Servers on which names that differ in case are the same (IIS, FAT, SMB).

use super::error::{ErrorContext, Operation, meaning, refusal};
use super::listing::list_all;
use super::rename::move_path;
use super::retry::{Exchange, is_lost};
use super::{Error, ErrorKind, Remote};
use crate::ftp::{Capability, Finding, Kind, RemotePath};
use crate::pool;

/// What is known about upper and lower case on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseRule {
    /// Names that differ in case are different.
    Sensitive,
    /// They are the same.
    Insensitive,
    /// Not seen yet.
    Unknown,
}

impl Remote {
    /// What is known about upper and lower case.
    pub fn case_rule(&self) -> CaseRule {
        match self.profile().finding(Capability::CaseSensitive) {
            Finding::Works => CaseRule::Sensitive,
            Finding::Fails => CaseRule::Insensitive,
            Finding::Unknown | Finding::Announced | Finding::NotAnnounced => CaseRule::Unknown,
        }
    }

    /// Finds out whether names that differ in case are the same: `path` is not listed, and
    /// something of this kind is whose name differs from it in case. One command, then the listing.
    ///
    /// # Errors
    /// The server could not be asked.
    pub fn find_case_rule(&self, path: &RemotePath, kind: Kind) -> Result<CaseRule, Error> {
        let mut exchange = self.exchange();
        let answer = self.ask_for(&mut exchange, path, kind);
        match answer {
            Ok(()) => {
                // Somebody may have made it since.
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
                let why = format!("it has {path} by another spelling");
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

    /// Asks for something of this kind by its path alone; an answer means that it is there.
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

    /// Changes the spelling of a name in case only. A server that takes the new one for a file in
    /// the way gets it by way of a temporary name.
    ///
    /// # Errors
    /// Those of rename(2). The file has its old name, or gets it back.
    pub fn rename_case(&self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        let mut exchange = self.exchange();
        for path in [from, to] {
            self.resolve_leftovers(&mut exchange, path);
        }
        let Err(fault) = move_path(self, &mut exchange, &[], from, to, &[]) else {
            return Ok(());
        };
        let context = ErrorContext::new(Operation::Rename, from);
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

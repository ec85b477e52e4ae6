//! Finds the cause of a refusal that gives no reason (vsftpd never does): an inspection of the path
//! and its directory yields the error that a local file system would have reported.

use super::error::{ErrorContext, Operation, meaning};
use super::listing::list_all;
use super::name_lookup::Lookup;
use super::retry::Exchange;
use super::stat::lookup;
use super::{Error, ErrorKind, Remote};
use crate::ftp::{Kind, RemotePath};
use crate::pool;

impl Remote {
    /// Returns the error for `fault` in `context`. After a refusal without a reason, it inspects
    /// the server over the same session; also after "no such directory", which pyftpdlib reports
    /// for a file.
    pub(super) fn diagnose(
        &self,
        exchange: &mut Exchange<'_>,
        context: &ErrorContext<'_>,
        fault: &pool::Error,
    ) -> Error {
        let kind = match meaning(fault, context.path) {
            Some(kind) if (context.operation, kind) != (Operation::List, ErrorKind::NotFound) => {
                kind
            }
            _ => self.inspect(exchange, context.operation, context.path),
        };
        context.error(kind, fault)
    }

    /// Returns what is wrong with `path`, judged by what exists there.
    fn inspect(
        &self,
        exchange: &mut Exchange<'_>,
        operation: Operation,
        path: &RemotePath,
    ) -> ErrorKind {
        // Only the refusal itself can show that the root does not exist.
        if path.is_root() {
            return ErrorKind::PermissionDenied;
        }
        let there = match lookup(self, exchange, path) {
            Ok(Lookup::Found(entry)) => entry.kind,
            Ok(Lookup::Absent) => return kind_if_absent(operation),
            Ok(Lookup::NoParent(kind)) => return kind,
            Err(_) => return kind_if_unknown(operation),
        };
        let is_directory = there == Kind::Directory;
        match operation {
            Operation::List if is_directory => ErrorKind::PermissionDenied,
            Operation::List => ErrorKind::NotDirectory,
            Operation::Read | Operation::Store | Operation::Append | Operation::Delete
                if is_directory =>
            {
                ErrorKind::IsDirectory
            }
            Operation::MakeDirectory | Operation::MakeLink => ErrorKind::AlreadyExists,
            Operation::RemoveDirectory if there == Kind::File => ErrorKind::NotDirectory,
            Operation::RemoveDirectory if self.is_filled(exchange, path) => ErrorKind::NotEmpty,
            Operation::Home
            | Operation::Stat
            | Operation::ReadLink
            | Operation::Read
            | Operation::Digest
            | Operation::Store
            | Operation::Append
            | Operation::RemoveDirectory
            | Operation::Delete
            | Operation::Rename
            | Operation::SetTime
            | Operation::SetMode
            | Operation::SetGroup
            | Operation::Copy => ErrorKind::PermissionDenied,
        }
    }

    /// Whether `path` is a directory that is not empty.
    pub(super) fn is_filled(&self, exchange: &mut Exchange<'_>, path: &RemotePath) -> bool {
        list_all(self, exchange, path).is_ok_and(|listing| !listing.entries.is_empty())
    }
}

/// Returns the meaning of a refusal if nothing exists at the path but its directory does.
fn kind_if_absent(operation: Operation) -> ErrorKind {
    match operation {
        Operation::Store | Operation::MakeDirectory | Operation::MakeLink => {
            ErrorKind::PermissionDenied
        }
        Operation::Home
        | Operation::Stat
        | Operation::List
        | Operation::ReadLink
        | Operation::Read
        | Operation::Append
        | Operation::Digest
        | Operation::RemoveDirectory
        | Operation::Delete
        | Operation::Rename
        | Operation::SetTime
        | Operation::SetMode
        | Operation::SetGroup
        | Operation::Copy => ErrorKind::NotFound,
    }
}

/// Returns the meaning of a refusal if the inspection showed nothing.
fn kind_if_unknown(operation: Operation) -> ErrorKind {
    match operation {
        Operation::Home
        | Operation::Stat
        | Operation::List
        | Operation::ReadLink
        | Operation::Read
        | Operation::Digest => ErrorKind::NotFound,
        Operation::Store
        | Operation::Append
        | Operation::MakeDirectory
        | Operation::RemoveDirectory
        | Operation::Delete
        | Operation::Rename
        | Operation::SetTime
        | Operation::SetMode
        | Operation::SetGroup
        | Operation::MakeLink
        | Operation::Copy => ErrorKind::PermissionDenied,
    }
}

//! The file system operations, one file for each group of calls.

mod case;
mod close;
mod directories;
mod hidden;
mod invalidate;
mod lookup;
mod open;
mod permission;
mod read;
mod rename;
mod revalidate;
mod setattr;
mod statfs;
mod status;
mod symlink;
mod unlink;
mod write;

pub(crate) use open::{OpenAccess, OpenMode, Opened, PageCache};
pub(crate) use setattr::Changes;
pub(crate) use statfs::FreeSpace;
pub(crate) use status::{Report, Stage, Waiting};

pub(super) use statfs::StatfsCache;

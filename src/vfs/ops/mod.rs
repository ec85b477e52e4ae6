//! The file system operations, one file for each group of calls.

mod adopt;
mod allocate;
mod case;
mod close;
mod directories;
mod flush;
mod follow;
mod hidden;
mod invalidate;
mod lookup;
mod open;
mod permission;
mod read;
mod refresh;
mod rename;
mod revalidate;
mod setattr;
mod statfs;
mod status;
mod symlink;
mod unlink;
mod warmup;
mod write;

pub(crate) use flush::FlushOutcome;
pub(crate) use open::{OpenAccess, OpenMode, Opened, PageCache};
pub(crate) use setattr::Changes;
pub(crate) use statfs::FreeSpace;
pub(crate) use status::{HealthSummary, Report, Stage, Waiting};
pub(crate) use warmup::WarmupCounts;

pub(super) use follow::ReplacedNames;
pub(super) use statfs::StatfsCache;

//! The file system operations, one file for each group of calls.

mod adopt;
mod allocate;
mod cached;
mod case;
mod close;
mod copy;
mod directories;
mod exact_times;
mod export;
mod flush;
mod follow;
mod hidden;
mod invalidate;
mod later;
mod lookup;
mod offline;
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
mod xattr;

pub(crate) use copy::CopyEnd;
pub(crate) use flush::FlushOutcome;
pub(super) use flush::LOOK;
pub(crate) use open::{OpenAccess, OpenMode, Opened, PageCache};
pub(crate) use setattr::Changes;
pub(crate) use statfs::FreeSpace;
pub(crate) use status::{HealthSummary, Report, Stage, Waiting};
pub(crate) use warmup::{ContentCounts, WarmupCounts};
pub(crate) use xattr::ExtendedAttribute;

pub(super) use follow::ReplacedNames;
pub(super) use statfs::StatfsCache;
pub(super) use xattr::RecentDigests;

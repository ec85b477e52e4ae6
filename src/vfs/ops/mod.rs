//! The file system operations, one file for each group of calls.

mod case;
mod close;
mod directories;
mod hidden;
mod invalidate;
mod lookup;
mod open;
mod read;
mod rename;
mod revalidate;
mod setattr;
mod statfs;
mod status;
mod symlink;
mod unlink;
mod write;

pub use directories::DirEntry;
pub use open::{OpenAccess, OpenMode, Opened, PageCache};
pub use setattr::Changes;
pub use statfs::FreeSpace;
pub use status::{Report, Stage, Waiting};

pub(super) use statfs::StatfsCache;

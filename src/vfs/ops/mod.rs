//! The operations of the file system, a file for each group of calls.

mod case;
mod directories;
mod files;
mod hidden;
mod invalidate;
mod lookup;
mod rename;
mod revalidate;
mod setattr;
mod statfs;
mod status;
mod symlink;
mod unlink;

pub use directories::Listed;
pub use files::{Access, OpenMode, Opened, Pages};
pub use setattr::Changes;
pub use statfs::SpaceLeft;
pub use status::{Report, Stage, Waiting};

pub(super) use statfs::SpaceMemory;

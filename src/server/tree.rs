//! The served directory, and path resolution in it.
//!
//! A path is resolved one component at a time from one open descriptor to the next, never through a
//! name that the kernel could resolve elsewhere. Neither symlinks nor `..` nor a concurrent rename
//! can lead out of the root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use super::path::VirtualPath;
use super::place::Place;

/// Maximum number of symlinks followed on one path, as on Linux.
const LINK_LIMIT: usize = 40;

/// Flags for directories on the path, which are opened for lookups only.
const STEP: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Treatment of a symlink as the last component.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    /// Resolve it.
    Followed,
    /// Return the link itself.
    Kept,
}

/// The served directory.
pub(super) struct Tree {
    root: Arc<OwnedFd>,
    /// Path of the root without symlinks. Absolute links that point below it are followed.
    path: PathBuf,
}

/// A path resolution in progress.
struct Walk<'a> {
    tree: &'a Tree,
    /// The open directories below the root, the current one last.
    trail: Vec<Arc<OwnedFd>>,
    /// The remaining components, the next one last.
    ahead: Vec<Vec<u8>>,
    links: usize,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(root)?;
        let root = File::open(&path)?;
        if !root.metadata()?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Self {
            root: Arc::new(root.into()),
            path,
        })
    }

    /// Resolves `path` to a place. The containing directory exists; the place itself may not.
    pub(super) fn find(&self, path: &VirtualPath, last: LastLink) -> io::Result<Place> {
        let ahead = path.components().rev().map(<[u8]>::to_vec).collect();
        Walk {
            tree: self,
            trail: Vec::new(),
            ahead,
            links: 0,
        }
        .run(last)
    }
}

impl Walk<'_> {
    fn run(mut self, last: LastLink) -> io::Result<Place> {
        while let Some(name) = self.ahead.pop() {
            if name == b".." {
                // Only a symlink's target contains `..` here. Nothing above the root is served.
                self.trail.pop().ok_or(Errno::ACCESS)?;
                continue;
            }
            if !self.ahead.is_empty() {
                self.enter(&name)?;
                continue;
            }
            if last == LastLink::Followed
                && let Some(target) = self.link(&name)?
            {
                self.follow(&target)?;
                continue;
            }
            return Ok(Place::new(self.here(), name));
        }
        Ok(Place::new(self.here(), b".".to_vec()))
    }

    fn here(&self) -> Arc<OwnedFd> {
        Arc::clone(self.trail.last().unwrap_or(&self.tree.root))
    }

    fn enter(&mut self, name: &[u8]) -> io::Result<()> {
        match openat(self.here(), name, STEP, Mode::empty()) {
            Ok(directory) => self.trail.push(Arc::new(directory)),
            Err(error @ (Errno::NOTDIR | Errno::LOOP)) => {
                let target = self.link(name)?.ok_or(error)?;
                self.follow(&target)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Returns the target if the name is a symlink.
    fn link(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match readlinkat(self.here(), name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            // For other or missing files the caller decides.
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Inserts a symlink's target before the remaining components.
    fn follow(&mut self, target: &[u8]) -> io::Result<()> {
        self.links += 1;
        if self.links > LINK_LIMIT {
            return Err(Errno::LOOP.into());
        }
        let mut target = Path::new(OsStr::from_bytes(target));
        if target.is_absolute() {
            target = target
                .strip_prefix(&self.tree.path)
                .map_err(|_| Errno::ACCESS)?;
            self.trail.clear();
        }
        for component in target.components().rev() {
            match component {
                Component::Normal(name) => self.ahead.push(name.as_bytes().to_vec()),
                Component::ParentDir => self.ahead.push(b"..".to_vec()),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Served {
        _outer: tempfile::TempDir,
        root: PathBuf,
        tree: Tree,
    }

    fn served() -> Served {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "inside").unwrap();
        fs::write(outer.path().join("secret"), "outside").unwrap();
        let tree = Tree::open(&root).unwrap();
        Served {
            _outer: outer,
            root,
            tree,
        }
    }

    impl Served {
        fn read(&self, path: &str) -> Result<String, Errno> {
            let path = VirtualPath::default().join(path.as_bytes()).unwrap();
            self.tree
                .find(&path, LastLink::Followed)
                .and_then(|place| place.open_to_read())
                .and_then(io::read_to_string)
                .map_err(|error| Errno::from_io_error(&error).unwrap())
        }
    }

    #[test]
    fn links_that_point_inside_are_followed() {
        let served = served();
        symlink("../a/file", served.root.join("a/relative")).unwrap();
        symlink(served.root.join("a/file"), served.root.join("absolute")).unwrap();
        symlink("a/b", served.root.join("directory")).unwrap();
        symlink("../file", served.root.join("a/b/up")).unwrap();
        for path in ["a/file", "a/relative", "absolute", "directory/up"] {
            assert_eq!(served.read(path).as_deref(), Ok("inside"), "{path}");
        }
    }

    #[test]
    fn links_that_point_outside_are_refused() {
        let served = served();
        symlink("../secret", served.root.join("relative")).unwrap();
        symlink("/etc/passwd", served.root.join("absolute")).unwrap();
        symlink("..", served.root.join("up")).unwrap();
        symlink("/", served.root.join("top")).unwrap();
        symlink("a/b/../../../secret", served.root.join("around")).unwrap();
        for path in [
            "relative",
            "absolute",
            "up/secret",
            "top/etc/passwd",
            "around",
        ] {
            assert_eq!(served.read(path), Err(Errno::ACCESS), "{path}");
        }
    }

    #[test]
    fn a_neighbour_whose_path_begins_like_the_root_is_outside() {
        let served = served();
        let neighbour = served.root.with_file_name("root-too");
        fs::create_dir(&neighbour).unwrap();
        fs::write(neighbour.join("file"), "outside").unwrap();
        symlink(neighbour.join("file"), served.root.join("near")).unwrap();
        assert_eq!(served.read("near"), Err(Errno::ACCESS));
    }

    #[test]
    fn a_loop_of_links_ends() {
        let served = served();
        symlink("two", served.root.join("one")).unwrap();
        symlink("one", served.root.join("two")).unwrap();
        assert_eq!(served.read("one"), Err(Errno::LOOP));
        assert_eq!(served.read("one/file"), Err(Errno::LOOP));
    }

    #[test]
    fn a_file_is_no_directory() {
        let served = served();
        assert_eq!(served.read("a/file/x"), Err(Errno::NOTDIR));
        assert_eq!(served.read("missing/x"), Err(Errno::NOENT));
    }
}

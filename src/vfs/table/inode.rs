//! Inodes: the kernel's numbers for names, and the names behind the numbers.
//!
//! An inode lives while the kernel's lookup count is above zero or an inode below it lives,
//! whatever happens to its name. Numbers are made from names, and no two living inodes have the
//! same. With `-o export`, numbers and generations come from the disk ([`exported`]). Nothing here
//! waits, uses the network or reads a clock.

mod by_path;
mod children;
mod exported;
mod listed;
mod renames;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::claimed::{ClaimedNumbers, NumberClaim};
use super::ino::{Ino, InoMap, InoSet};
use crate::ftp::{RemotePath, Version};

use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::read::ReadEnd;
use children::Children;
use exported::ExportedNumbers;
use renames::OngoingRenames;

pub(in crate::vfs) use listed::ListedInode;
pub(in crate::vfs) use renames::MOST_QUESTIONS;

/// Whether an inode is a directory. A name whose kind changes becomes another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum NodeKind {
    Directory,
    Leaf,
}

impl NodeKind {
    /// Whether this is a directory.
    pub(in crate::vfs) fn is_directory(self) -> bool {
        self == Self::Directory
    }
}

/// An inode's directory and its name there.
pub(crate) type ParentAndName = (Ino, Arc<[u8]>);

/// An inode that the kernel may have cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachedNode {
    /// Its number.
    pub ino: Ino,
    /// The directory and the name of a file that no program has open. The kernel can forget these,
    /// too. It must keep the name of a directory, which may be the working directory of a program.
    pub unused_file: Option<(Ino, Arc<[u8]>)>,
}

/// All inodes that the kernel knows.
#[derive(Debug)]
pub(in crate::vfs) struct Inodes {
    table: Mutex<InodeTable>,
    /// Where the numbers come from with `-o export`.
    numbers: Option<ExportedNumbers>,
    /// The numbers that open files use.
    claimed: ClaimedNumbers,
    renames: OngoingRenames,
}

#[derive(Debug)]
struct InodeTable {
    /// The path of the root on the server, once it is known.
    root: Option<RemotePath>,
    /// Boxed, so that a table of a million inodes grows without moving them.
    nodes: InoMap<Box<Node>>,
    /// The inodes that a program may have open: few of those in a large directory.
    opened: InoSet,
    hasher: RandomState,
    /// The numbers that no new inode gets, because open files use them.
    claimed: ClaimedNumbers,
    /// Number of further [attempts](Ino::of_name) so far.
    attempts: u64,
}

/// What is known of every inode. There is one for each file that the kernel has seen, so it is
/// small.
#[derive(Debug)]
struct Node {
    /// Its directory and name; `None` for the root, and after removal while the kernel still holds
    /// it.
    place: Option<ParentAndName>,
    /// Number of lookups that the kernel has not forgotten yet.
    lookups: u64,
    /// Known inodes below it, if there are any.
    children: Option<Box<Children>>,
    /// What is known of its contents, after a program has opened it.
    contents: Option<Box<NodeContents>>,
    /// With `-o export`, tells it from files that had its number before; otherwise 0.
    generation: u32,
    shape: NodeKind,
}

/// What is known of the contents of an inode.
#[derive(Debug, Default)]
struct NodeContents {
    /// Its contents, while a program has it open.
    open: Weak<OpenFile>,
    /// The version of the contents in the kernel's page cache.
    cached: Option<Version>,
    /// The end of the file, if it is in these pages.
    read_end: Option<ReadEnd>,
}

/// Number of inodes for which a table keeps its space.
const LEAST_CAPACITY: usize = 256;

impl Node {
    fn new(shape: NodeKind, generation: u32) -> Self {
        Self {
            place: None,
            lookups: 0,
            children: None,
            contents: None,
            generation,
            shape,
        }
    }

    /// Returns its contents, if a program has it open.
    fn open_file(&self) -> Option<Arc<OpenFile>> {
        self.contents.as_ref()?.open.upgrade()
    }

    fn cached(&self) -> Option<Version> {
        self.contents.as_ref()?.cached
    }

    /// Returns the inodes below it.
    fn children(&self) -> impl Iterator<Item = Ino> {
        self.children.iter().flat_map(|children| children.iter())
    }
}

impl Inodes {
    /// Creates the table with only the root, which is `root` on the server if that is known.
    pub(in crate::vfs) fn new(root: Option<RemotePath>) -> Self {
        let root_node = Box::new(Node::new(NodeKind::Directory, 0));
        let nodes = [(Ino::ROOT, root_node)].into_iter().collect();
        let claimed = ClaimedNumbers::default();
        Self {
            numbers: None,
            claimed: claimed.clone(),
            renames: OngoingRenames::default(),
            table: Mutex::new(InodeTable {
                root,
                nodes,
                opened: InoSet::default(),
                hasher: RandomState::new(),
                claimed,
                attempts: 0,
            }),
        }
    }

    /// Sets the path of the root. Returns whether it was unknown.
    pub(in crate::vfs) fn set_root(&self, root: RemotePath) -> bool {
        let mut table = self.lock();
        let was_unknown = table.root.is_none();
        if was_unknown {
            table.root = Some(root);
        }
        was_unknown
    }

    /// Returns the path of the root on the server, if it is known.
    pub(in crate::vfs) fn root(&self) -> Option<RemotePath> {
        self.lock().root.clone()
    }

    /// Returns the inode of `name` in `parent` and counts one lookup. Creates an inode if there is
    /// none of this kind.
    pub(in crate::vfs) fn lookup(
        &self,
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<Ino, Errno> {
        if let Some(numbers) = &self.numbers {
            return self.lookup_numbered(numbers, parent, name, shape);
        }
        let mut table = self.lock();
        let known = table.child(parent, name)?;
        table.count_lookup(known, parent, name, shape)
    }

    /// Removes `count` lookups of `ino` that the kernel has dropped. Calls `dropped` if that was
    /// the end of the inode, before another one can have its number.
    pub(in crate::vfs) fn forget(&self, ino: Ino, count: u64, dropped: impl FnOnce()) {
        let mut table = self.lock();
        if let Some(node) = table.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            table.drop_unused(ino);
            if !table.nodes.contains_key(&ino) {
                dropped();
            }
        }
    }

    /// Keeps the number of `ino` from being given to another inode until the result is dropped.
    pub(in crate::vfs) fn claim(&self, ino: Ino) -> NumberClaim {
        self.claimed.claim(ino)
    }

    /// Holds `ino` for this mount's own use, like a lookup, until it is forgotten once. Returns
    /// false if it no longer exists.
    pub(in crate::vfs) fn hold(&self, ino: Ino) -> bool {
        let mut table = self.lock();
        let node = table.node_mut(ino);
        node.map(|node| node.lookups += 1).is_ok()
    }

    /// Returns the inode of `name` in `parent` if the kernel knows one. Counts no lookup.
    pub(in crate::vfs) fn known(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        self.lock().child(parent, name).ok().flatten()
    }

    /// Returns the current path of `ino` on the server.
    pub(in crate::vfs) fn path(&self, ino: Ino) -> Result<RemotePath, Errno> {
        self.lock().path(ino)
    }

    /// Returns the path of `name` in `parent` on the server.
    pub(in crate::vfs) fn path_of(&self, parent: Ino, name: &[u8]) -> Result<RemotePath, Errno> {
        Ok(self.path(parent)?.join(name)?)
    }

    /// Returns the directory of `ino` and its name there; `None` for the root.
    pub(in crate::vfs) fn parent_and_name(&self, ino: Ino) -> Result<Option<ParentAndName>, Errno> {
        let table = self.lock();
        let place = table.node(ino)?.place.clone();
        if place.is_none() && ino != Ino::ROOT {
            return Err(Errno::STALE);
        }
        Ok(place)
    }

    /// Returns the kind of `ino`.
    pub(in crate::vfs) fn kind(&self, ino: Ino) -> Result<NodeKind, Errno> {
        Ok(self.lock().node(ino)?.shape)
    }

    /// Returns the inode at `path` and all inodes below it that the kernel knows.
    pub(in crate::vfs) fn tree(&self, path: &RemotePath) -> Vec<CachedNode> {
        let table = self.lock();
        let mut stack: Vec<_> = table.at(path).into_iter().collect();
        let mut nodes = Vec::new();
        while let Some(ino) = stack.pop() {
            let Some(node) = table.nodes.get(&ino) else {
                continue;
            };
            stack.extend(node.children());
            let is_unused = !node.shape.is_directory() && node.open_file().is_none();
            nodes.push(CachedNode {
                ino,
                unused_file: node.place.clone().filter(|_| is_unused),
            });
        }
        nodes
    }

    /// Returns the contents of `ino` if it is open.
    pub(in crate::vfs) fn open_file(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.lock().nodes.get(&ino)?.open_file()
    }

    /// Returns every open inode in `parent`, with its name.
    pub(in crate::vfs) fn open_files_in(&self, parent: Ino) -> Vec<(Arc<[u8]>, Arc<OpenFile>)> {
        let table = self.lock();
        let open = |ino: &Ino| {
            let node = table.nodes.get(ino)?;
            // The last handle of a file must not end under the lock of the table.
            let (_, name) = node.place.as_ref().filter(|(it, _)| *it == parent)?;
            Some((Arc::clone(name), node.open_file()?))
        };
        table.opened.iter().filter_map(open).collect()
    }

    /// Returns the open contents of `ino` if `serves` accepts them, otherwise those that `open`
    /// creates, which then belong to `ino`.
    pub(in crate::vfs) fn share_open_file(
        &self,
        ino: Ino,
        serves: impl FnOnce(&OpenFile) -> bool,
        open: impl FnOnce() -> OpenFile,
    ) -> Result<Arc<OpenFile>, Errno> {
        let mut table = self.lock();
        let node = table.node_mut(ino)?;
        if let Some(file) = node.open_file().filter(|file| serves(file)) {
            return Ok(file);
        }
        let file = Arc::new(open());
        node.contents.get_or_insert_default().open = Arc::downgrade(&file);
        table.opened.insert(ino);
        Ok(file)
    }

    /// Separates `ino` from its open contents, which have lost it. Handles keep them.
    pub(in crate::vfs) fn close_file(&self, ino: Ino) {
        let mut table = self.lock();
        if let Some(node) = table.nodes.get_mut(&ino) {
            node.contents = None;
        }
        table.opened.remove(&ino);
    }

    /// Frees the memory of the contents of `ino` after its last close, unless something still uses
    /// them.
    pub(in crate::vfs) fn drop_closed(&self, ino: Ino) {
        let mut table = self.lock();
        let Some(node) = table.nodes.get_mut(&ino) else {
            return;
        };
        if let Some(contents) = &mut node.contents
            && contents.open.strong_count() == 0
        {
            contents.open = Weak::new();
            if contents.cached.is_none() && contents.read_end.is_none() {
                node.contents = None;
            }
            table.opened.remove(&ino);
        }
    }

    /// Records that the kernel's pages of `ino` have `version` from now on. Returns whether they
    /// already had.
    pub(in crate::vfs) fn set_cached(&self, ino: Ino, version: Option<Version>) -> bool {
        let mut table = self.lock();
        let Some(node) = table.nodes.get_mut(&ino) else {
            return false;
        };
        let before = node.cached();
        if before.is_none() && version.is_none() {
            return false;
        }
        let contents = node.contents.get_or_insert_default();
        contents.cached = version;
        let is_same = before
            .zip(version)
            .is_some_and(|(before, now)| before.agrees(&now));
        if !is_same {
            contents.read_end = None;
        }
        is_same
    }

    /// Records that the kernel got the end of the file `ino` in `version`.
    pub(in crate::vfs) fn set_read_end(&self, ino: Ino, version: Version, end: ReadEnd) {
        let mut table = self.lock();
        let node = table.nodes.get_mut(&ino);
        if let Some(contents) = node.and_then(|node| node.contents.as_mut())
            && contents
                .cached
                .is_some_and(|cached| cached.agrees(&version))
        {
            contents.read_end = Some(end);
        }
    }

    /// Returns the end of the file `ino` if it is in the kernel's pages.
    pub(in crate::vfs) fn read_end(&self, ino: Ino) -> Option<ReadEnd> {
        self.lock().nodes.get(&ino)?.contents.as_ref()?.read_end
    }

    /// Removes `name` in `parent`. Its inode lives on while the kernel holds it.
    pub(in crate::vfs) fn remove(&self, parent: Ino, name: &[u8]) {
        let _changing = self.change_numbers(|numbers| numbers.remove_name(parent.0, name));
        let mut table = self.lock();
        if let Ok(Some(ino)) = table.child(parent, name) {
            table.detach(ino);
        }
    }

    /// Removes the name of `ino`, which lives on while the kernel holds it.
    pub(in crate::vfs) fn detach(&self, ino: Ino) {
        let _changing = self.change_numbers(|numbers| numbers.remove(ino.0));
        self.lock().detach(ino);
    }

    /// Like [`Self::detach`], if `file` is what programs that open `ino` get. Returns whether it
    /// is.
    pub(in crate::vfs) fn detach_file(&self, ino: Ino, file: &Arc<OpenFile>) -> bool {
        let mut numbers = self.change_numbers(|_| {});
        let mut table = self.lock();
        let node = table.nodes.get(&ino);
        let contents = node.and_then(|node| node.contents.as_ref());
        let is_current = contents.is_some_and(|it| it.open.as_ptr() == Arc::as_ptr(file));
        if is_current {
            table.detach(ino);
        }
        drop(table);
        if let Some(numbers) = numbers.as_deref_mut().and_then(Option::as_mut)
            && is_current
        {
            numbers.remove(ino.0);
        }
        is_current
    }

    /// Renames `from` to `to`, and removes the previous `to`.
    pub(in crate::vfs) fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        let _changing =
            self.change_numbers(|numbers| numbers.rename((from.0.0, from.1), (to.0.0, to.1)));
        let mut table = self.lock();
        if let Ok(Some(replaced)) = table.child(to.0, to.1) {
            table.detach(replaced);
        }
        let Ok(Some(ino)) = table.child(from.0, from.1) else {
            return;
        };
        table.unlink_from_parent(ino);
        table.link_to_parent(ino, to.0, to.1);
        table.drop_unused(from.0);
    }

    fn lock(&self) -> MutexGuard<'_, InodeTable> {
        // Every change is made under one lock and cannot panic halfway.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InodeTable {
    fn node(&self, ino: Ino) -> Result<&Node, Errno> {
        self.nodes.get(&ino).map(Box::as_ref).ok_or(Errno::STALE)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, Errno> {
        self.nodes
            .get_mut(&ino)
            .map(Box::as_mut)
            .ok_or(Errno::STALE)
    }

    fn child(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Errno> {
        let Some(children) = &self.node(parent)?.children else {
            return Ok(None);
        };
        let is_it = |ino| self.name(ino).is_some_and(|it| **it == *name);
        Ok(children.find(self.hasher.hash_one(name), is_it))
    }

    fn name(&self, ino: Ino) -> Option<&Arc<[u8]>> {
        let (_, name) = self.nodes.get(&ino)?.place.as_ref()?;
        Some(name)
    }

    fn at(&self, path: &RemotePath) -> Option<Ino> {
        let names = path.below(self.root.as_ref()?)?.split(|byte| *byte == b'/');
        let names = names.filter(|name| !name.is_empty());
        let mut at = Ino::ROOT;
        for name in names {
            at = self.child(at, name).ok().flatten()?;
        }
        Some(at)
    }

    fn path(&self, ino: Ino) -> Result<RemotePath, Errno> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let (parent, name) = self.node(at)?.place.as_ref().ok_or(Errno::STALE)?;
            names.push(name);
            at = *parent;
        }
        let mut path = self.root.clone().ok_or(Errno::WOULD_BLOCK)?;
        for name in names.iter().rev() {
            path = path.join(name)?;
        }
        Ok(path)
    }

    /// Counts one lookup of `name` in `parent` and returns its inode, if one of this kind is known.
    fn lookup_known(
        &mut self,
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<Option<Ino>, Errno> {
        let Some(ino) = self.child(parent, name)? else {
            return Ok(None);
        };
        let node = self.node_mut(ino)?;
        if node.shape != shape {
            return Ok(None);
        }
        node.lookups += 1;
        Ok(Some(ino))
    }

    /// Adds a new inode with this number and generation.
    fn add(
        &mut self,
        (ino, generation): (Ino, u32),
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<&mut Node, Errno> {
        self.node(parent)?;
        self.nodes
            .insert(ino, Box::new(Node::new(shape, generation)));
        self.link_to_parent(ino, parent, name);
        self.node_mut(ino)
    }

    fn link_to_parent(&mut self, ino: Ino, parent: Ino, name: &[u8]) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.place = Some((parent, Arc::from(name)));
        }
        if let Some(directory) = self.nodes.get_mut(&parent) {
            let hash = self.hasher.hash_one(name);
            directory.children.get_or_insert_default().insert(ino, hash);
        }
    }

    /// Removes `ino` from its directory, which is returned.
    fn unlink_from_parent(&mut self, ino: Ino) -> Option<Ino> {
        let (parent, name) = self.nodes.get_mut(&ino)?.place.take()?;
        let directory = self.nodes.get_mut(&parent);
        if let Some(directory) = directory
            && let Some(children) = &mut directory.children
        {
            children.remove(ino, self.hasher.hash_one(&*name));
            if children.is_empty() {
                directory.children = None;
            }
        }
        Some(parent)
    }

    fn detach(&mut self, ino: Ino) {
        let parent = self.unlink_from_parent(ino);
        self.drop_unused(ino);
        if let Some(parent) = parent {
            self.drop_unused(parent);
        }
    }

    /// Drops `ino` if neither the kernel nor an inode below needs it, and then its directory
    /// likewise.
    fn drop_unused(&mut self, ino: Ino) {
        let mut at = Some(ino);
        while let Some(ino) = at {
            let unused = ino != Ino::ROOT
                && self
                    .nodes
                    .get(&ino)
                    .is_some_and(|node| node.lookups == 0 && node.children.is_none());
            if !unused {
                return;
            }
            at = self.unlink_from_parent(ino);
            self.nodes.remove(&ino);
            self.opened.remove(&ino);
            let needed = least_capacity(self.nodes.len());
            if self.nodes.capacity() > needed * 2 {
                self.nodes.shrink_to(needed);
            }
        }
    }
}

/// Returns the capacity that a table of `count` inodes keeps. It gives back the space of what was
/// removed once it has more than twice as much.
fn least_capacity(count: usize) -> usize {
    count.max(LEAST_CAPACITY) * 2
}

#[cfg(test)]
mod tests;

//! The files and directories that the server holds.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Changes a name the way a server does that does not preserve names.
pub(crate) type NameChange = fn(&str) -> String;

/// How the server changes the names it receives.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// `FOO` is the same file as `foo`.
    pub(super) is_case_blind: bool,
    /// Applied to each name of each path, in order.
    pub(super) changes: Vec<NameChange>,
}

/// A file or a directory.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// None for a directory.
    pub(crate) content: Option<Vec<u8>>,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) mode: u32,
}

impl Node {
    fn new(content: Option<Vec<u8>>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            mode: if content.is_some() { 0o644 } else { 0o755 },
            content,
            modified: now.as_secs() as i64,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.content.is_none()
    }

    pub(crate) fn size(&self) -> usize {
        self.content.as_ref().map_or(4096, Vec::len)
    }
}

/// The tree, keyed by absolute path without a trailing slash. An error is the text after the code.
#[derive(Debug)]
pub(crate) struct FileTree {
    nodes: BTreeMap<String, Node>,
    names: Names,
}

impl FileTree {
    pub(super) fn new(names: Names) -> Self {
        let root = ("/".to_owned(), Node::new(None));
        Self {
            nodes: BTreeMap::from([root]),
            names,
        }
    }

    /// Creates a file with exactly this name, and its parent directories.
    pub(crate) fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.directory(parent(path));
        let node = Node::new(Some(content.into()));
        self.nodes.insert(path.to_owned(), node);
    }

    /// Creates a directory with exactly this name, and its parent directories.
    pub(crate) fn directory(&mut self, path: &str) {
        if path != "/" {
            self.directory(parent(path));
        }
        let node = self.nodes.entry(path.to_owned());
        node.or_insert_with(|| Node::new(None));
    }

    /// Returns the node at exactly this path.
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Returns the node at exactly this path for modification.
    pub(crate) fn node_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Returns the content of the file at exactly this path.
    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.node(path)?.content.clone()
    }

    /// Returns the content of the file as text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let content = self.content(path)?;
        Some(String::from_utf8_lossy(&content).into_owned())
    }

    /// Returns the names in a directory, sorted.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        self.children(path)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Returns the entries of a directory.
    pub(crate) fn children(&self, path: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        self.nodes.iter().filter_map(move |(path, node)| {
            let name = path.strip_prefix(&prefix)?;
            (!name.is_empty() && !name.contains('/')).then_some((name, node))
        })
    }

    /// Returns the absolute path of a client's path, in the spelling of the existing entry.
    pub(crate) fn resolve(&self, directory: &str, path: &str) -> String {
        let mut names: Vec<String> = Vec::new();
        let start = if path.starts_with('/') { "" } else { directory };
        for name in start.split('/').chain(path.split('/')) {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                name => {
                    let changes = self.names.changes.iter();
                    let name = changes.fold(name.to_owned(), |name, change| change(&name));
                    let above = format!("/{}", names.join("/"));
                    names.push(self.spelling(&above, name));
                }
            }
        }
        format!("/{}", names.join("/"))
    }

    fn spelling(&self, directory: &str, name: String) -> String {
        if !self.names.is_case_blind {
            return name;
        }
        let folded = name.to_lowercase();
        let there = self
            .children(directory)
            .find(|(there, _)| there.to_lowercase() == folded);
        there.map_or(name, |(there, _)| there.to_owned())
    }

    /// Prepares a file for writing from an offset.
    pub(crate) fn open(&mut self, path: &str, from: u64) -> Result<(), &'static str> {
        self.check_parent(path)?;
        match self.nodes.get_mut(path) {
            Some(node) => {
                let content = node.content.as_mut().ok_or("Is a directory")?;
                content.resize(from as usize, 0);
            }
            None => self.file(path, vec![0; from as usize]),
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, path: &str, bytes: &[u8]) {
        // A file that was deleted or renamed in the meantime is open without a name.
        if let Some(node) = self.nodes.get_mut(path) {
            let mut content = node.content.take().unwrap_or_default();
            content.extend_from_slice(bytes);
            *node = Node {
                mode: node.mode,
                ..Node::new(Some(content))
            };
        }
    }

    pub(crate) fn delete(&mut self, path: &str) -> Result<(), &'static str> {
        match self.nodes.get(path) {
            None => Err("No such file or directory"),
            Some(node) if node.is_directory() => Err("Is a directory"),
            Some(_) => {
                self.nodes.remove(path);
                Ok(())
            }
        }
    }

    pub(crate) fn make_directory(&mut self, path: &str) -> Result<(), &'static str> {
        self.check_parent(path)?;
        if self.nodes.contains_key(path) {
            return Err("File exists");
        }
        self.directory(path);
        Ok(())
    }

    pub(crate) fn remove_directory(&mut self, path: &str) -> Result<(), &'static str> {
        match self.nodes.get(path) {
            None => return Err("No such file or directory"),
            Some(node) if !node.is_directory() => return Err("Not a directory"),
            Some(_) => {}
        }
        if self.children(path).next().is_some() {
            return Err("Directory not empty");
        }
        self.nodes.remove(path);
        Ok(())
    }

    /// Renames as rename(2) does.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), &'static str> {
        self.check_parent(to)?;
        let is_directory = self
            .nodes
            .get(from)
            .ok_or("No such file or directory")?
            .is_directory();
        let is_same =
            from == to || self.names.is_case_blind && from.to_lowercase() == to.to_lowercase();
        if !is_same && let Some(there) = self.nodes.get(to) {
            match (is_directory, there.is_directory()) {
                (false, true) => return Err("Is a directory"),
                (true, false) => return Err("Not a directory"),
                (true, true) if self.children(to).next().is_some() => {
                    return Err("Directory not empty");
                }
                _ => {}
            }
        }
        let below = format!("{from}/");
        let moved: Vec<String> = self
            .nodes
            .keys()
            .filter(|p| *p == from || p.starts_with(&below))
            .cloned()
            .collect();
        for old in moved {
            let node = self.nodes.remove(&old).unwrap();
            self.nodes.insert(old.replacen(from, to, 1), node);
        }
        Ok(())
    }

    fn check_parent(&self, path: &str) -> Result<(), &'static str> {
        match self.nodes.get(parent(path)) {
            Some(node) if node.is_directory() => Ok(()),
            _ => Err("No such file or directory"),
        }
    }
}

/// Returns the parent directory; the root is its own parent.
pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((above, _)) if !above.is_empty() => above,
        _ => "/",
    }
}

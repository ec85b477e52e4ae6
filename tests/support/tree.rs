//! Comparison of two files or two trees that must be equal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::run_with;

/// The content of one name in a tree.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    kind: char,
    size: u64,
    target: Option<PathBuf>,
    mode: Option<u32>,
    mtime: Option<i64>,
}

/// Returns the SHA-256 of a file's content in hexadecimal.
pub(crate) fn sha256(path: impl AsRef<Path>) -> String {
    let output = run_with("sha256sum", &["-z".as_ref(), path.as_ref().as_os_str()]);
    String::from_utf8_lossy(&output.stdout)
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// Asserts that both files hold the same bytes; reports the first difference otherwise.
pub(crate) fn assert_same_bytes(left: impl AsRef<Path>, right: impl AsRef<Path>) {
    let (left, right) = (left.as_ref(), right.as_ref());
    let open = |path: &Path| {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        BufReader::with_capacity(1 << 20, file)
    };
    let (mut first, mut second) = (open(left), open(right));
    let mut offset = 0;
    loop {
        let (a, b) = (chunk(&mut first), chunk(&mut second));
        if let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) {
            panic!(
                "{} and {} part at byte {}",
                left.display(),
                right.display(),
                offset + at
            );
        }
        offset += a.len().min(b.len());
        assert_eq!(
            a.len(),
            b.len(),
            "one of {left:?} and {right:?} ends at byte {offset}"
        );
        if a.is_empty() {
            return;
        }
    }
}

/// Asserts that both trees have the same names, kinds and contents.
pub(crate) fn assert_same_tree(left: impl AsRef<Path>, right: impl AsRef<Path>) {
    compare(left.as_ref(), right.as_ref(), false, false);
}

/// Asserts the same, and optionally equal permission bits and modification times (in seconds).
pub(crate) fn assert_same_tree_with(
    left: impl AsRef<Path>,
    right: impl AsRef<Path>,
    modes: bool,
    times: bool,
) {
    compare(left.as_ref(), right.as_ref(), modes, times);
}

fn compare(left: &Path, right: &Path, modes: bool, times: bool) {
    let (first, second) = (walk(left, modes, times), walk(right, modes, times));
    for (name, node) in &first {
        match second.get(name) {
            None => panic!(
                "{name:?} is in {} but not in {}",
                left.display(),
                right.display()
            ),
            Some(other) => assert_eq!(node, other, "{name:?} in {left:?} and in {right:?}"),
        }
    }
    if let Some(name) = second.keys().find(|name| !first.contains_key(*name)) {
        panic!(
            "{name:?} is in {} but not in {}",
            right.display(),
            left.display()
        );
    }
    for (name, _) in first.iter().filter(|(_, node)| node.kind == 'f') {
        assert_same_bytes(left.join(name), right.join(name));
    }
}

fn walk(root: &Path, modes: bool, times: bool) -> BTreeMap<OsString, Node> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let directory = root.join(&below);
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let entry = entry.unwrap();
            let name = below.join(entry.file_name());
            let attributes = fs::symlink_metadata(entry.path())
                .unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
            let is_file = attributes.is_file();
            if attributes.is_dir() {
                open.push(name.clone());
            }
            let node = Node {
                kind: kind(&attributes),
                size: if is_file { attributes.len() } else { 0 },
                target: fs::read_link(entry.path()).ok(),
                mode: (modes && !attributes.is_symlink())
                    .then(|| attributes.permissions().mode() & 0o777),
                mtime: (times && is_file).then(|| attributes.mtime()),
            };
            found.insert(name.into_os_string(), node);
        }
    }
    found
}

fn kind(attributes: &fs::Metadata) -> char {
    match attributes {
        _ if attributes.is_dir() => 'd',
        _ if attributes.is_symlink() => 'l',
        _ if attributes.is_file() => 'f',
        _ => '?',
    }
}

fn chunk(file: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes).unwrap();
    bytes
}

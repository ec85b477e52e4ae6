use std::cell::Cell;

use super::*;
use crate::ftp::Precision;

fn inodes() -> Inodes {
    Inodes::new(Some(RemotePath::new(b"/srv").unwrap()))
}

fn count(inodes: &Inodes) -> usize {
    inodes.lock().nodes.len()
}

fn path(inodes: &Inodes, ino: Ino) -> String {
    inodes.path(ino).unwrap().to_string()
}

#[test]
fn a_name_keeps_its_number() {
    let inodes = inodes();
    let first = inodes.lookup(Ino::ROOT, b"a", NodeKind::Leaf).unwrap();
    assert_eq!(inodes.lookup(Ino::ROOT, b"a", NodeKind::Leaf), Ok(first));
    inodes.forget(first, 1, || {});
    assert_eq!(inodes.known(Ino::ROOT, b"a"), Some(first));
    inodes.forget(first, 1, || {});
    assert_eq!(inodes.known(Ino::ROOT, b"a"), None);
    assert_eq!(inodes.lookup(Ino::ROOT, b"a", NodeKind::Leaf), Ok(first));
}

#[test]
fn a_directory_outlives_its_lookups_while_something_below_it_lives() {
    let inodes = inodes();
    let dir = inodes.lookup(Ino::ROOT, b"d", NodeKind::Directory).unwrap();
    let file = inodes.lookup(dir, b"f", NodeKind::Leaf).unwrap();
    inodes.forget(dir, 1, || {});
    assert_eq!(path(&inodes, file), "/srv/d/f");
    inodes.forget(file, 1, || {});
    assert_eq!(count(&inodes), 1);
}

#[test]
fn a_removed_name_leaves_an_inode_without_a_path() {
    let inodes = inodes();
    let file = inodes.lookup(Ino::ROOT, b"f", NodeKind::Leaf).unwrap();
    inodes.remove(Ino::ROOT, b"f");
    assert_eq!(inodes.path(file), Err(Errno::STALE));
    assert_eq!(inodes.parent_and_name(file), Err(Errno::STALE));
    assert_eq!(inodes.parent_and_name(Ino::ROOT), Ok(None));
    inodes.forget(file, 1, || {});
    assert_eq!(count(&inodes), 1);
}

#[test]
fn a_tree_is_what_the_kernel_knows_below_a_path() {
    let inodes = inodes();
    let dir = inodes.lookup(Ino::ROOT, b"d", NodeKind::Directory).unwrap();
    let file = inodes.lookup(dir, b"f", NodeKind::Leaf).unwrap();
    inodes.lookup(Ino::ROOT, b"de", NodeKind::Leaf).unwrap();
    let tree = inodes.tree(&RemotePath::new(b"/srv/d").unwrap());
    let found: Vec<_> = tree.iter().map(|node| node.ino).collect();
    assert_eq!(found, [dir, file]);
    assert_eq!(tree[0].unused_file, None);
    assert_eq!(tree[1].unused_file, Some((dir, Arc::from(b"f".as_slice()))));
    assert_eq!(inodes.tree(&RemotePath::new(b"/srv").unwrap()).len(), 4);
    assert!(inodes.tree(&RemotePath::new(b"/srv/x").unwrap()).is_empty());
    assert!(inodes.tree(&RemotePath::root()).is_empty());
}

#[test]
fn a_renamed_directory_moves_what_is_below_it() {
    let inodes = inodes();
    let dir = inodes.lookup(Ino::ROOT, b"d", NodeKind::Directory).unwrap();
    let file = inodes.lookup(dir, b"f", NodeKind::Leaf).unwrap();
    let other = inodes.lookup(Ino::ROOT, b"e", NodeKind::Directory).unwrap();
    inodes.rename((Ino::ROOT, b"d"), (other, b"x"));
    assert_eq!(path(&inodes, file), "/srv/e/x/f");
}

#[test]
fn a_rename_onto_a_name_takes_the_name_from_the_replaced_inode() {
    let inodes = inodes();
    let new = inodes.lookup(Ino::ROOT, b"new", NodeKind::Leaf).unwrap();
    let old = inodes.lookup(Ino::ROOT, b"old", NodeKind::Leaf).unwrap();
    inodes.rename((Ino::ROOT, b"new"), (Ino::ROOT, b"old"));
    assert_eq!(inodes.known(Ino::ROOT, b"old"), Some(new));
    assert_eq!(inodes.known(Ino::ROOT, b"new"), None);
    assert_eq!(inodes.path(old), Err(Errno::STALE));
}

#[test]
fn a_file_that_became_a_directory_is_another_inode() {
    let inodes = inodes();
    let file = inodes.lookup(Ino::ROOT, b"x", NodeKind::Leaf).unwrap();
    let dir = inodes.lookup(Ino::ROOT, b"x", NodeKind::Directory).unwrap();
    assert_ne!(file, dir);
    assert_eq!(inodes.path(file), Err(Errno::STALE));
}

#[test]
fn dropped_inodes_take_no_space() {
    let inodes = inodes();
    let names: Vec<_> = (0..20_000).map(|number| number.to_string()).collect();
    let lookup = |name: &String| inodes.lookup(Ino::ROOT, name.as_bytes(), NodeKind::Leaf);
    let inos: Vec<_> = names.iter().map(|name| lookup(name).unwrap()).collect();
    for ino in inos {
        inodes.forget(ino, 1, || {});
    }
    assert_eq!(count(&inodes), 1);
    let table = inodes.lock();
    assert!(table.nodes.capacity() < 4 * LEAST_CAPACITY);
    assert!(table.nodes[&Ino::ROOT].children.is_none());
}

#[test]
fn a_directory_gives_back_the_space_of_most_of_its_inodes() {
    let inodes = inodes();
    let lookup = |number: u64| {
        let name = number.to_string();
        inodes
            .lookup(Ino::ROOT, name.as_bytes(), NodeKind::Leaf)
            .unwrap()
    };
    let inos: Vec<_> = (0..20_000).map(lookup).collect();
    let (kept, dropped) = inos.split_at(300);
    for ino in dropped {
        inodes.forget(*ino, 1, || {});
    }
    for (number, ino) in (0_u64..).zip(kept) {
        let name = number.to_string();
        assert_eq!(inodes.known(Ino::ROOT, name.as_bytes()), Some(*ino));
    }
    let table = inodes.lock();
    let names = table.nodes[&Ino::ROOT]
        .children
        .as_ref()
        .unwrap()
        .capacity();
    assert!(names < 8 * LEAST_CAPACITY, "{names}");
}

#[test]
fn an_inode_that_was_only_looked_up_is_small() {
    assert!(size_of::<Node>() <= 64, "{}", size_of::<Node>());
}

#[test]
fn cached_pages_are_kept_only_for_the_version_they_are_of() {
    let inodes = inodes();
    let file = inodes.lookup(Ino::ROOT, b"f", NodeKind::Leaf).unwrap();
    let version = Some(Version {
        size: Some(1),
        modified: Some((2, Precision::Second)),
        unique: 0,
    });
    let changed = Some(Version {
        size: Some(1),
        modified: Some((3, Precision::Second)),
        unique: 0,
    });
    assert!(!inodes.set_cached(file, version));
    assert!(inodes.set_cached(file, version));
    assert!(!inodes.set_cached(file, changed));
    assert!(!inodes.set_cached(file, None));
    assert!(!inodes.set_cached(file, None));
}

#[test]
fn a_number_that_is_in_use_is_not_given_to_another_file_of_the_name() {
    let inodes = inodes();
    let lookup = || inodes.lookup(Ino::ROOT, b"f", NodeKind::Leaf).unwrap();
    let first = lookup();
    inodes.remove(Ino::ROOT, b"f");
    let second = lookup();
    inodes.rename((Ino::ROOT, b"f"), (Ino::ROOT, b"g"));
    let third = lookup();
    assert!(first != second && first != third && second != third);
    inodes.remove(Ino::ROOT, b"f");
    // Its upload may go on after the kernel has forgotten it.
    let claim = inodes.claim(first);
    inodes.forget(first, 1, || {});
    let fourth = lookup();
    assert!(![first, second, third].contains(&fourth));
    inodes.forget(fourth, 1, || {});
    drop(claim);
    assert_eq!(lookup(), first);
    assert_eq!(inodes.known(Ino::ROOT, b"g"), Some(second));
}

#[test]
fn many_files_that_had_the_same_name_are_found_quickly() {
    let inodes = inodes();
    let mut numbers = InoSet::default();
    for number in 0..20_000 {
        let ino = inodes.lookup(Ino::ROOT, b"new", NodeKind::Leaf).unwrap();
        let name = number.to_string();
        inodes.rename((Ino::ROOT, b"new"), (Ino::ROOT, name.as_bytes()));
        assert!(numbers.insert(ino));
    }
    assert_eq!(inodes.lock().attempts, 19_999, "one for each but the first");
}

#[test]
fn the_end_of_an_inode_is_announced_once() {
    let inodes = inodes();
    let file = inodes.lookup(Ino::ROOT, b"f", NodeKind::Leaf).unwrap();
    assert!(inodes.hold(file));
    let ends = Cell::new(0);
    for expected in [0, 1, 1] {
        inodes.forget(file, 1, || ends.set(ends.get() + 1));
        assert_eq!(ends.get(), expected);
    }
}

#[test]
fn every_mount_gives_a_name_the_same_number() {
    let numbers = |order: [&[u8]; 2]| {
        let inodes = inodes();
        let lookup = |name| {
            let dir = inodes.lookup(Ino::ROOT, name, NodeKind::Directory).unwrap();
            [dir, inodes.lookup(dir, b"f", NodeKind::Leaf).unwrap()]
        };
        order.map(lookup)
    };
    let [a, b] = numbers([b"a", b"b"]);
    assert_eq!(numbers([b"b", b"a"]), [b, a]);
}

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::*;
use crate::disk_cache::CachePlace;

fn directory(base: &Path) -> CacheDir {
    CachePlace::of(base, "anna", "h", 21).open().unwrap()
}

fn root() -> RemotePath {
    RemotePath::new(b"/srv").unwrap()
}

fn open(base: &Path) -> InodeNumbers {
    InodeNumbers::open(&directory(base), &root()).unwrap()
}

/// The files of records and of names.
fn files(base: &Path) -> (PathBuf, PathBuf) {
    let folder = directory(base).numbers();
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    assert_eq!(found.len(), 2);
    (found[0].clone(), found[1].clone())
}

fn name_of(numbers: &InodeNumbers, number: u64) -> Option<(u64, String)> {
    let found = numbers.read(number)?;
    Some((found.parent, String::from_utf8(found.name).unwrap()))
}

#[test]
fn numbers_are_the_same_after_a_remount() {
    let base = tempfile::tempdir().unwrap();
    let mut numbers = open(base.path());
    let directory = numbers.number_of(1, b"d", true);
    let file = numbers.number_of(directory.number, b"f", false);
    assert_eq!((directory.number, file.number), (2, 3));
    assert_ne!((directory.generation, file.generation), (0, 0));
    assert_eq!(numbers.number_of(1, b"d", true), directory);
    drop(numbers);
    let mut numbers = open(base.path());
    let read = numbers.read(3).unwrap();
    assert_eq!((read.parent, read.name.as_slice()), (2, b"f".as_slice()));
    assert_eq!(
        (read.is_directory, read.generation),
        (false, file.generation)
    );
    assert_eq!(numbers.number_of(2, b"f", false), file);
    assert_eq!(numbers.number_of(1, b"d", true), directory);
    assert_eq!(numbers.number_of(1, b"f", false).number, 4);
    assert_eq!(numbers.read(0), None);
    assert_eq!(numbers.read(1), None);
    assert_eq!(numbers.read(5), None);
    assert_eq!(numbers.read(u64::MAX), None);
}

#[test]
fn a_number_follows_a_rename_and_never_comes_back_after_a_removal() {
    let base = tempfile::tempdir().unwrap();
    let mut numbers = open(base.path());
    let [a, b, c] = [b"a", b"b", b"c"].map(|name| numbers.number_of(1, name, false).number);
    numbers.rename((1, b"a"), (1, b"b"));
    assert_eq!(name_of(&numbers, a), Some((1, "b".into())));
    assert_eq!(numbers.read(b), None);
    numbers.rename((1, b"b"), (1, b"b"));
    assert_eq!(name_of(&numbers, a), Some((1, "b".into())));
    numbers.rename((1, b"none"), (1, b"c"));
    assert_eq!(numbers.read(c), None);
    numbers.remove(a);
    assert_eq!(numbers.read(a), None);
    let new = numbers.number_of(1, b"b", false).number;
    assert!(![a, b, c].contains(&new));
    numbers.remove_name(1, b"b");
    assert_eq!(numbers.read(new), None);
    let directory = numbers.number_of(1, b"b", true).number;
    assert_ne!(directory, new);
    let file = numbers.number_of(1, b"b", false).number;
    assert_eq!(numbers.read(directory), None);
    drop(numbers);
    let mut numbers = open(base.path());
    for gone in [a, b, c, new, directory] {
        assert_eq!(numbers.read(gone), None);
    }
    assert_eq!(numbers.number_of(1, b"b", false).number, file);
    assert!(numbers.number_of(1, b"a", false).number > file);
}

#[test]
fn one_mount_at_a_time_uses_the_numbers_of_a_directory() {
    let base = tempfile::tempdir().unwrap();
    let numbers = open(base.path());
    let directory = directory(base.path());
    let second = InodeNumbers::open(&directory, &root());
    assert!(matches!(second, Err(NumbersError::InUse(_))));
    let elsewhere = RemotePath::new(b"/srv/d").unwrap();
    assert!(InodeNumbers::open(&directory, &elsewhere).is_ok());
    drop(numbers);
    assert!(InodeNumbers::open(&directory, &root()).is_ok());
}

/// A number and its generation stand for the file that they were given to, or for nothing.
fn assert_never_another(numbers: &InodeNumbers, given: &[(GivenNumber, &str)]) {
    for (given, name) in given {
        let found = numbers.read(given.number);
        if let Some(found) = found.filter(|found| found.generation == given.generation) {
            assert_eq!(found.name, name.as_bytes());
        }
    }
}

#[test]
fn a_flipped_bit_makes_a_handle_stale_and_never_anothers() {
    let base = tempfile::tempdir().unwrap();
    let mut numbers = open(base.path());
    let names = ["a", "bb", "a", "dir", "ccc"];
    let given: Vec<_> = names
        .iter()
        .zip([1, 1, 2, 1, 5])
        .map(|(name, parent)| {
            (
                numbers.number_of(parent, name.as_bytes(), *name == "dir"),
                *name,
            )
        })
        .collect();
    drop(numbers);
    let (records, names) = files(base.path());
    for (path, has_header) in [(&records, true), (&names, false)] {
        let whole = fs::read(path).unwrap();
        let other = if has_header { &names } else { &records };
        let other_bytes = fs::read(other).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, &damaged).unwrap();
            fs::write(other, &other_bytes).unwrap();
            let mut numbers = open(base.path());
            let stale = given
                .iter()
                .filter(|(given, _)| numbers.read(given.number).is_none())
                .count();
            let is_header = has_header && bit / 8 < RECORD;
            let is_unused = has_header && (RECORD..2 * RECORD).contains(&(bit / 8));
            let expected = match (is_header, is_unused) {
                (true, _) => given.len(),
                (false, true) => 0,
                (false, false) => 1,
            };
            assert_eq!(stale, expected, "bit {bit}");
            assert_never_another(&numbers, &given);
            // All names get numbers again, and the old ones do not change their meaning.
            for (parent, name) in [
                (1, "x"),
                (1, "a"),
                (1, "bb"),
                (2, "a"),
                (1, "dir"),
                (5, "ccc"),
            ] {
                numbers.number_of(parent, name.as_bytes(), name == "dir");
            }
            assert_never_another(&numbers, &given);
        }
        fs::write(path, &whole).unwrap();
        fs::write(other, &other_bytes).unwrap();
    }
}

#[test]
fn a_lost_end_makes_handles_stale_and_never_anothers() {
    let base = tempfile::tempdir().unwrap();
    let mut numbers = open(base.path());
    let names = ["first", "second", "third"];
    let given = names.map(|name| (numbers.number_of(1, name.as_bytes(), false), name));
    drop(numbers);
    let (records, names) = files(base.path());
    let (whole_records, whole_names) = (fs::read(&records).unwrap(), fs::read(&names).unwrap());
    let cut = |path: &Path, whole: &[u8], length: usize, zeros: bool| {
        fs::write(path, &whole[..length]).unwrap();
        if zeros {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(whole.len() as u64).unwrap();
        }
    };
    for zeros in [false, true] {
        for (is_records, length) in (0..whole_records.len())
            .map(|length| (true, length))
            .chain((0..whole_names.len()).map(|length| (false, length)))
        {
            fs::write(&records, &whole_records).unwrap();
            fs::write(&names, &whole_names).unwrap();
            if is_records {
                cut(&records, &whole_records, length, zeros);
            } else {
                cut(&names, &whole_names, length, zeros);
            }
            let is_damaged = fs::read(&records).unwrap() != whole_records
                || fs::read(&names).unwrap() != whole_names;
            let mut numbers = open(base.path());
            assert_eq!(numbers.read(given[2].0.number).is_none(), is_damaged);
            assert_never_another(&numbers, &given);
            for name in ["fourth", "fifth", "sixth", "second"] {
                numbers.number_of(1, name.as_bytes(), false);
            }
            assert_never_another(&numbers, &given);
        }
    }
}

#[test]
fn a_deleted_cache_makes_handles_stale() {
    let base = tempfile::tempdir().unwrap();
    let before = open(base.path()).number_of(1, b"a", false);
    fs::remove_dir_all(directory(base.path()).path()).unwrap();
    let mut numbers = open(base.path());
    assert_eq!(numbers.read(before.number), None);
    let other = numbers.number_of(1, b"b", false);
    assert_eq!(other.number, before.number);
    assert_ne!(other.generation, before.generation);
}

#[test]
fn numbers_of_another_root_are_not_used() {
    let base = tempfile::tempdir().unwrap();
    let given = open(base.path()).number_of(1, b"a", false);
    let (records, _) = files(base.path());
    let other = NumbersHeader::new(1, b"/other");
    let mut bytes = fs::read(&records).unwrap();
    bytes[..RECORD].copy_from_slice(&other.encode());
    fs::write(&records, bytes).unwrap();
    assert_eq!(open(base.path()).read(given.number), None);
}

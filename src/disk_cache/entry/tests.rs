use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::place::CachePlace;
use super::*;
use crate::ftp::Precision;

const SIZE: u64 = 3 * BLOCK + 77;

impl CachedFile {
    /// Sets the time of the last use.
    pub(in crate::disk_cache) fn used_at(&self, time: SystemTime) {
        self.slots.set_modified(time).unwrap();
    }
}

struct Fixture {
    _base: TempDir,
    directory: CacheDir,
    path: RemotePath,
}

impl Fixture {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let directory = CachePlace::of(base.path(), "a", "h", 1).open().unwrap();
        Self {
            _base: base,
            directory,
            path: RemotePath::new(b"/dir/file").unwrap(),
        }
    }

    fn header(&self, size: u64, time: i64) -> EntryHeader {
        EntryHeader::new(&self.path, &version(size, time), 0, new_nonce()).unwrap()
    }

    /// Creates an entry of a few blocks with all of them.
    fn large(&self) -> CachedFile {
        let entry = CachedFile::create(&self.directory, self.header(SIZE, 1)).unwrap();
        let bytes = sample(SIZE);
        let slots: Vec<_> = (0..block::count(SIZE))
            .map(|index| {
                let range = block::range_of(index, SIZE);
                let piece = &bytes[range.start as usize..range.end as usize];
                (index, entry.write(index, piece).unwrap())
            })
            .collect();
        entry.confirm(&slots).unwrap();
        entry
    }

    fn open(&self, size: u64, time: i64) -> Option<CachedFile> {
        CachedFile::open(&self.directory, &self.path, &version(size, time)).unwrap()
    }

    /// The files of all entries.
    fn stored(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.directory.files()).unwrap();
        let folders = folders.map(|folder| folder.unwrap().path());
        let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    fn slots_file(&self) -> PathBuf {
        EntryName::of(&self.directory, &self.path).slots()
    }

    fn data_file(&self) -> PathBuf {
        let is_slots = |path: &PathBuf| path.extension().is_some_and(|it| it == "m");
        self.stored().into_iter().find(|it| !is_slots(it)).unwrap()
    }
}

fn version(size: u64, time: i64) -> Version {
    Version {
        size: Some(size),
        modified: Some((time, Precision::Second)),
        unique: 0,
    }
}

fn only(range: Range<u64>) -> Vec<Range<u64>> {
    std::iter::once(range).collect()
}

fn sample(size: u64) -> Vec<u8> {
    (0..size).map(|at| (at * at / 97 % 253) as u8).collect()
}

/// Reads every byte that the entry says it has, and checks that none is wrong. Returns how many
/// there were.
fn check(entry: &CachedFile, bytes: &[u8]) -> u64 {
    let mut right = 0;
    for range in entry.present().unwrap() {
        let mut at = range.start;
        while at < range.end {
            let end = (at + BLOCK).min(range.end);
            let mut buffer = vec![0; (end - at) as usize];
            if entry.read(at, &mut buffer).is_ok() {
                assert!(buffer == bytes[at as usize..end as usize], "{at}");
                right += end - at;
            }
            at = end;
        }
    }
    right
}

#[test]
fn what_is_stored_is_read_at_any_offset() {
    let fixture = Fixture::new();
    drop(fixture.large());
    let bytes = sample(SIZE);
    let entry = fixture.open(SIZE, 1).unwrap();
    assert_eq!(entry.present().unwrap(), only(0..SIZE));
    for (offset, length) in [
        (0, SIZE),
        (1, 1),
        (BLOCK - 1, 2),
        (SIZE - 1, 1),
        (5, 2 * BLOCK),
    ] {
        let mut buffer = vec![0; length as usize];
        entry.read(offset, &mut buffer).unwrap();
        assert!(buffer == bytes[offset as usize..(offset + length) as usize]);
    }
    assert!(entry.read(SIZE, &mut [0]).is_err());
    let mode = fs::metadata(fixture.data_file()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn blocks_are_absent_until_they_are_confirmed() {
    let fixture = Fixture::new();
    let entry = CachedFile::create(&fixture.directory, fixture.header(SIZE, 1)).unwrap();
    let slot = entry.write(1, &sample(BLOCK)).unwrap();
    let last = entry.write(3, &sample(77)).unwrap();
    assert!(entry.present().unwrap().is_empty());
    entry.confirm(&[(1, slot), (3, last)]).unwrap();
    assert_eq!(
        entry.present().unwrap(),
        [BLOCK..2 * BLOCK, 3 * BLOCK..SIZE]
    );
    assert!(entry.has(1).unwrap() && !entry.has(0).unwrap());
    assert!(entry.read(BLOCK - 1, &mut [0; 2]).is_err());
}

#[test]
fn another_version_is_not_served_and_replaces_the_first() {
    let fixture = Fixture::new();
    let before = fixture.large();
    assert!(fixture.open(SIZE, 2).is_none() && fixture.open(SIZE + 1, 1).is_none());
    let header = fixture.header(SIZE, 2);
    drop(CachedFile::create(&fixture.directory, header).unwrap());
    assert_eq!(fixture.stored().len(), 2);
    assert!(fixture.open(SIZE, 1).is_none());
    assert_eq!(
        check(&before, &sample(SIZE)),
        SIZE,
        "who has it open keeps it"
    );
    let small = fixture.header(4, 3);
    CachedFile::create_whole(&fixture.directory, small, b"tiny").unwrap();
    assert_eq!(fixture.stored().len(), 1);
    let mut buffer = [0; 4];
    fixture.open(4, 3).unwrap().read(0, &mut buffer).unwrap();
    assert_eq!(&buffer, b"tiny");
    drop(fixture.large());
    assert_eq!(fixture.stored().len(), 2);
    EntryName::of(&fixture.directory, &fixture.path).remove();
    assert!(fixture.stored().is_empty());
}

#[test]
fn no_flipped_bit_of_a_small_entry_shows_a_wrong_byte() {
    let fixture = Fixture::new();
    let bytes = sample(300);
    let header = fixture.header(300, 1);
    CachedFile::create_whole(&fixture.directory, header, &bytes).unwrap();
    let [path] = fixture.stored().try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut detected = 0;
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        match fixture.open(300, 1) {
            Some(entry) => detected += usize::from(check(&entry, &bytes) == 0),
            None => detected += 1,
        }
    }
    assert!(
        detected > whole.len() * 8 - 64,
        "{detected}: only padding is not checked"
    );
}

#[test]
fn a_truncated_or_zeroed_tail_shows_no_wrong_byte() {
    let fixture = Fixture::new();
    let bytes = sample(SIZE);
    for of_data in [true, false] {
        for keep in [0, 1, 40, 70, BLOCK - 1, BLOCK + 5, 2 * BLOCK] {
            for zeroed in [true, false] {
                let length = fs::metadata({
                    drop(fixture.large());
                    let path = if of_data {
                        fixture.data_file()
                    } else {
                        fixture.slots_file()
                    };
                    let file = OpenOptions::new().write(true).open(&path).unwrap();
                    let length = file.metadata().unwrap().len();
                    file.set_len(keep.min(length)).unwrap();
                    if zeroed {
                        file.set_len(length).unwrap();
                    }
                    path
                })
                .unwrap()
                .len();
                let Some(entry) = fixture.open(SIZE, 1) else {
                    continue;
                };
                if let Ok(present) = entry.present() {
                    let _ = present;
                    check(&entry, &bytes);
                }
                assert!(
                    !of_data || zeroed,
                    "a data file of {length} bytes was opened"
                );
                EntryName::of(&fixture.directory, &fixture.path).remove();
            }
        }
    }
}

#[test]
fn a_damaged_block_counts_as_absent() {
    let fixture = Fixture::new();
    let entry = fixture.large();
    let data = OpenOptions::new()
        .write(true)
        .open(fixture.data_file())
        .unwrap();
    data.write_all_at(b"damage", BLOCK + 9).unwrap();
    let damaged = entry.read(0, &mut vec![0; SIZE as usize]).unwrap_err();
    assert_eq!(damaged.ranges, only(BLOCK..2 * BLOCK));
    assert_eq!(entry.present().unwrap(), [0..BLOCK, 2 * BLOCK..SIZE]);
    let range = BLOCK as usize..2 * BLOCK as usize;
    let slot = entry.write(1, &sample(SIZE)[range]).unwrap();
    entry.confirm(&[(1, slot)]).unwrap();
    assert_eq!(check(&entry, &sample(SIZE)), SIZE);
}

/// What one transfer adds while another reader discards the entry can be found by the next one.
#[test]
fn an_entry_that_is_discarded_can_be_added_to() {
    let fixture = Fixture::new();
    let entry = fixture.large();
    let other = fixture.open(SIZE, 1).unwrap();
    entry.discard();
    assert!(other.present().unwrap().is_empty());
    let slot = other.write(1, &sample(SIZE)[..BLOCK as usize]).unwrap();
    other.confirm(&[(1, slot)]).unwrap();
    let next = fixture.open(SIZE, 1).unwrap();
    assert_eq!(next.present().unwrap(), only(BLOCK..2 * BLOCK));
}

#[test]
fn an_entry_that_lacks_slots_is_replaced() {
    let fixture = Fixture::new();
    drop(fixture.large());
    let slots = OpenOptions::new().write(true).open(fixture.slots_file());
    let slots = slots.unwrap();
    let length = slots.metadata().unwrap().len();
    slots.set_len(length - 1).unwrap();
    assert!(fixture.open(SIZE, 1).is_none());
    fixture.large();
    let next = fixture.open(SIZE, 1).unwrap();
    assert_eq!(check(&next, &sample(SIZE)), SIZE);
}

#[test]
fn the_data_of_another_entry_is_not_taken_for_this_ones() {
    let fixture = Fixture::new();
    drop(fixture.large());
    let data = fixture.data_file();
    let mut bytes = fs::read(&data).unwrap();
    let (one, other) = bytes.split_at_mut(BLOCK as usize);
    one.swap_with_slice(&mut other[..BLOCK as usize]);
    fs::write(&data, &bytes).unwrap();
    let entry = fixture.open(SIZE, 1).unwrap();
    assert_eq!(check(&entry, &sample(SIZE)), SIZE - 2 * BLOCK);
}

#[test]
fn a_link_in_place_of_an_entry_is_not_followed() {
    let fixture = Fixture::new();
    drop(fixture.large());
    let path = fixture.slots_file();
    let elsewhere = fixture.directory.temporary().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(CachedFile::open(&fixture.directory, &fixture.path, &version(SIZE, 1)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_damage_shows_no_wrong_byte(
        of_data in any::<bool>(),
        bits in proptest::collection::vec(any::<u64>(), 1..9),
    ) {
        let fixture = Fixture::new();
        drop(fixture.large());
        let path = if of_data { fixture.data_file() } else { fixture.slots_file() };
        let mut bytes = fs::read(&path).unwrap();
        for bit in &bits {
            let bit = *bit as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&path, &bytes).unwrap();
        if let Some(entry) = fixture.open(SIZE, 1) {
            check(&entry, &sample(SIZE));
        }
    }
}

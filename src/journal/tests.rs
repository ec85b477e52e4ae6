//! The journal of a mount from creation to removal, and its state after a crash.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// A state directory with the journals of one server, and a spool directory elsewhere.
struct State {
    directory: TempDir,
}

impl State {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    fn place(&self) -> StateDir {
        StateDir::of(self.directory.path(), "anna", "host", 21)
    }

    fn open(&self) -> Journal {
        Journal::open(&self.place(), None).unwrap()
    }

    fn left(&self) -> Vec<AbandonedJournal> {
        AbandonedJournal::claim_all(&self.place()).unwrap()
    }

    fn journals(&self) -> Vec<PathBuf> {
        self.place().journals().unwrap()
    }

    /// Returns a copy of what would be on the disk if the process were killed now.
    fn as_if_killed_now(&self) -> Self {
        let killed = Self::new();
        let place = killed.place();
        drop(place.guard().unwrap());
        for page in self.journals() {
            let copy = place.directory().join(page.file_name().unwrap());
            fs::create_dir(&copy).unwrap();
            for entry in fs::read_dir(&page).unwrap() {
                let entry = entry.unwrap();
                if entry.path().is_dir() {
                    fs::create_dir(copy.join(entry.file_name())).unwrap();
                    continue;
                }
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        killed
    }
}

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn pending(target: &str) -> Pending {
    Pending {
        target: path(target),
        commit: CommitOptions {
            size: 3,
            modified: None,
            mode: Some(0o644),
        },
        base: None,
        appended_from: None,
        unproven: Vec::new(),
    }
}

fn spool(journal: &Journal, target: &str) -> SpoolFile {
    let mut spool = journal.spool_file(&path(target)).unwrap();
    spool.file.write_all(b"abc").unwrap();
    spool
}

#[test]
fn a_mount_that_ends_well_leaves_nothing() {
    let state = State::new();
    let journal = state.open();
    journal.part(&path("/d/.part"));
    let spool = spool(&journal, "/d/f");
    spool.pending(&pending("/d/f"));
    spool.done();
    journal.clear(&path("/d/.part"));
    drop(spool);
    journal.end();
    assert!(state.journals().is_empty());
}

#[test]
fn what_was_under_way_at_a_crash_is_found_once() {
    let state = State::new();
    let journal = state.open();
    journal.part(&path("/d/one.part"));
    journal.part(&path("/d/two.part"));
    journal.clear(&path("/d/one.part"));
    journal.aside(&path("/d/old"), &path("/d/f"), None);
    journal.in_place(&path("/d/g"));
    let (closed, open, done) = (
        spool(&journal, "/d/f"),
        spool(&journal, "/d/half\tway "),
        spool(&journal, "/d/done"),
    );
    closed.pending(&pending("/d/f"));
    done.pending(&pending("/d/done"));
    done.done();
    drop(done);

    let killed = state.as_if_killed_now();
    let mut left = killed.left();
    let [page] = left.as_mut_slice() else {
        panic!("one page is left: {left:?}");
    };
    assert_eq!(page.parts(), [path("/d/two.part")]);
    assert_eq!(page.asides(), [(path("/d/old"), path("/d/f"), None)]);
    assert_eq!(page.in_place(), [path("/d/g")]);
    assert_eq!(page.unfinished(), [path("/d/half\tway ")]);
    let waiting = page.waiting();
    let [file] = waiting.as_slice() else {
        panic!("one file waits: {waiting:?}");
    };
    assert_eq!(file.pending, pending("/d/f"));
    assert_eq!(fs::read(&file.file).unwrap(), b"abc");

    assert!(
        killed.left().is_empty(),
        "nobody else claims a claimed page"
    );
    page.clear(&path("/d/two.part"));
    let continued = left.pop().unwrap().into_journal();
    assert!(killed.left().is_empty());
    continued.waiting_spool(file).unwrap().done();
    assert!(!file.file.exists());
    continued.end();
    drop(continued);
    let mut left = killed.left();
    assert!(
        left[0].waiting().is_empty(),
        "what was done is not done again"
    );
    for place in ["/d/old", "/d/g"] {
        left[0].clear(&path(place));
    }
    for left in left {
        left.into_journal().end();
    }
    assert!(killed.journals().is_empty());
    drop((closed, open));
}

#[test]
fn a_mount_that_runs_is_nobody_elses() {
    let state = State::new();
    let journal = state.open();
    journal.part(&path("/part"));
    assert!(state.left().is_empty());
    let other = state.open();
    assert_ne!(journal.mount(), other.mount());
    drop(journal);
    assert_eq!(state.left().len(), 1, "the lock ends with its mount");
}

#[test]
fn a_file_whose_storing_failed_was_told_and_one_at_the_end_waits() {
    let state = State::new();
    let journal = state.open();
    let reported = spool(&journal, "/told");
    reported.pending(&pending("/told"));
    reported.abandon();
    journal.ending();
    let late = spool(&journal, "/late");
    late.pending(&pending("/late"));
    late.abandon();
    assert_eq!(journal.waiting(), [path("/late")]);
    drop((reported, late));
    journal.end();
    drop(journal);
    let left = state.left();
    let waiting = left[0].waiting();
    assert_eq!(waiting.len(), 1);
    assert_eq!(fs::read(&waiting[0].file).unwrap(), b"abc");
}

#[test]
fn what_cannot_be_stored_is_kept_for_its_user() {
    let state = State::new();
    let elsewhere = TempDir::new().unwrap();
    let journal = Journal::open(&state.place(), Some(elsewhere.path())).unwrap();
    journal.ending();
    let file = spool(&journal, "/d/report");
    file.pending(&pending("/d/report"));
    file.abandon();
    drop(file);
    drop(journal);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    let left = state.left().pop().unwrap();
    let waiting = left.waiting().pop().unwrap();
    let left = left.into_journal();
    let record = left.waiting_spool(&waiting).unwrap();
    let kept = record.recover(b"report", &state.place()).unwrap();
    drop(record);
    assert_eq!(fs::read(&kept).unwrap(), b"abc");
    assert!(
        kept.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("report.")
    );
    assert!(left.waiting().is_empty());
    left.end();
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(state.journals().is_empty());
}

#[test]
fn nobody_else_reads_what_is_kept() {
    let state = State::new();
    let journal = state.open();
    let _file = spool(&journal, "/f");
    for page in state.journals() {
        assert_eq!(mode(&page), 0o700);
        for entry in fs::read_dir(page).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }
}

#[test]
fn a_log_that_was_cut_or_spoilt_tells_the_rest() {
    let state = State::new();
    let journal = state.open();
    journal.part(&path("/one"));
    journal.part(&path("/two"));
    let killed = state.as_if_killed_now();
    let log = killed.journals()[0].join("log");
    let mut bytes = fs::read(&log).unwrap();
    bytes.truncate(bytes.len() - 3);
    bytes.splice(0..0, b"\xff\xfe\t\0garbage\n".iter().copied());
    fs::write(&log, bytes).unwrap();
    let mut left = killed.left().pop().unwrap();
    assert_eq!(left.parts(), [path("/one")]);
    left.clear(&path("/one"));
    drop(left);
    assert!(killed.left()[0].parts().is_empty());
}

#[test]
fn a_log_does_not_grow_with_the_work() {
    let state = State::new();
    let journal = state.open();
    journal.part(&path("/stays"));
    for number in 0..20_000 {
        let part = path(&format!("/part-{number}"));
        journal.part(&part);
        journal.clear(&part);
        if number % 1_000 == 0 {
            journal.tidy();
        }
    }
    let log = state.journals()[0].join("log");
    assert!(fs::metadata(&log).unwrap().len() < 256 << 10);
    let killed = state.as_if_killed_now();
    assert_eq!(killed.left()[0].parts(), [path("/stays")]);
}

#[test]
fn nothing_is_noted_later_because_the_log_is_synced_or_written_anew() {
    let state = State::new();
    let journal = state.open();
    let JournalMode::Enabled { turns, .. } = &journal.shared.mode else {
        panic!("it is kept");
    };
    let syncing = turns.turn();
    journal.part(&path("/part"));
    let file = spool(&journal, "/f");
    file.pending(&pending("/f"));
    file.done();
    drop(file);
    drop(syncing);
}

#[test]
fn what_was_kept_is_on_the_disk_after_the_log_was_written_anew() {
    let state = State::new();
    let journal = state.open();
    let file = spool(&journal, "/f");
    for _ in 0..4_000 {
        journal.part(&path("/part"));
        journal.clear(&path("/part"));
    }
    file.persist(&pending("/f")).unwrap();
    journal.tidy();
    let again = spool(&journal, "/g");
    again.persist(&pending("/g")).unwrap();
    let log = state.journals()[0].join("log");
    assert!(fs::metadata(log).unwrap().len() < 1 << 10);
    let waiting = state.as_if_killed_now().left()[0].waiting();
    let targets: Vec<_> = waiting.iter().map(|it| &it.pending.target).collect();
    assert_eq!(targets, [&path("/f"), &path("/g")]);
}

#[test]
fn without_a_state_directory_files_are_spooled_all_the_same() {
    let directory = TempDir::new().unwrap();
    let journal = Journal::disabled(Some(directory.path().to_owned()));
    let file = spool(&journal, "/f");
    file.pending(&pending("/f"));
    assert!(journal.waiting().is_empty());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(file.file.metadata().unwrap().len(), 3);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_state_directory_that_others_can_write_to_is_not_used() {
    let state = State::new();
    drop(state.open());
    for (directory, open_to_others) in [
        (state.directory.path(), 0o777),
        (state.place().directory(), 0o720),
    ] {
        fs::set_permissions(directory, fs::Permissions::from_mode(open_to_others)).unwrap();
        let error = Journal::open(&state.place(), None).unwrap_err();
        assert!(
            error.to_string().contains("others can write to it"),
            "{error}"
        );
        assert!(AbandonedJournal::claim_all(&state.place()).is_err());
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
    drop(state.open());
}

#[test]
fn a_link_in_a_file_s_place_is_not_followed() {
    let state = State::new();
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("target");
    drop(state.open());
    let lock = state.place().directory().join("lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&target, &lock).unwrap();
    assert!(Journal::open(&state.place(), None).is_err());
    assert!(!target.exists());
}

#[test]
fn a_spool_that_others_could_fill_is_not_believed() {
    let state = State::new();
    let elsewhere = TempDir::new().unwrap();
    let journal = Journal::open(&state.place(), Some(elsewhere.path())).unwrap();
    let file = spool(&journal, "/f");
    file.pending(&pending("/f"));
    let killed = state.as_if_killed_now();
    let spool = fs::read_dir(elsewhere.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::set_permissions(spool.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(killed.left().is_empty());
    fs::set_permissions(spool.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(killed.left()[0].waiting().len(), 1);
}

#[test]
fn no_directory_but_its_own_is_removed_with_a_page() {
    let elsewhere = TempDir::new().unwrap();
    let home = elsewhere.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.join("1.data"), "precious").unwrap();
    let link_to_home = |own: &str| {
        let link = elsewhere.path().join(own);
        std::os::unix::fs::symlink(&home, &link).unwrap();
        link
    };
    let spools: [&dyn Fn(&str) -> PathBuf; 4] = [
        &|_| home.clone(),
        &|own| home.join("..").join(own).join("..").join("home"),
        &|own| PathBuf::from(own),
        &link_to_home,
    ];
    for spool in spools {
        let state = State::new();
        drop(state.open());
        let killed = state.as_if_killed_now();
        let page = killed.journals().remove(0);
        let name = page.file_name().unwrap().to_str().unwrap();
        let spool = spool(&format!("ftpfs-{name}"));
        fs::write(page.join("spool"), spool.as_os_str().as_encoded_bytes()).unwrap();
        killed
            .left()
            .into_iter()
            .for_each(|left| left.into_journal().end());
        let kept = fs::read(home.join("1.data")).unwrap();
        assert_eq!(kept, b"precious", "{}", spool.display());
    }
}

#[test]
fn files_that_ftpfs_did_not_make_stay() {
    let state = State::new();
    let elsewhere = TempDir::new().unwrap();
    let journal = Journal::open(&state.place(), Some(elsewhere.path())).unwrap();
    let killed = state.as_if_killed_now();
    let spool = fs::read_dir(elsewhere.path()).unwrap().next().unwrap();
    let spool = spool.unwrap().path();
    fs::write(spool.join("7.data"), "left").unwrap();
    fs::write(spool.join("letter"), "precious").unwrap();
    drop(journal);
    killed
        .left()
        .into_iter()
        .for_each(|left| left.into_journal().end());
    assert_eq!(fs::read(spool.join("letter")).unwrap(), b"precious");
    assert!(!spool.join("7.data").exists());
    assert!(killed.journals().is_empty());
}

#[test]
fn a_pending_file_that_is_let_go_waits_for_the_next_mount() {
    let state = State::new();
    let journal = state.open();
    let file = spool(&journal, "/f");
    file.persist(&pending("/f")).unwrap();
    drop(file);
    drop(journal);
    let waiting = state.left()[0].waiting();
    assert_eq!(fs::read(&waiting[0].file).unwrap(), b"abc");
}

fn removal(target: &str) -> NameChange {
    NameChange {
        action: NameAction::Unlink,
        path: path(target),
        base: NameBase::Absent,
    }
}

fn removed(left: &AbandonedJournal) -> Vec<(String, bool)> {
    let changes = left.changes().into_iter();
    let changes = changes.map(|left| (left.change.path.to_string(), left.is_begun));
    changes.collect()
}

#[test]
fn changes_of_names_that_were_not_made_are_left_in_their_order() {
    let state = State::new();
    let journal = state.open();
    journal.keep_order();
    let made = ["/a", "/b", "/c", "/d"].map(|name| {
        journal
            .record_change(&removal(name), &Domains::new())
            .unwrap()
    });
    RecordedChange::begin(&made[1..2], &removal("/b"), &Domains::new());
    RecordedChange::begin(&made[2..3], &removal("/c"), &Domains::new());
    RecordedChange::undo(&made[2..3]);
    RecordedChange::end(&made[3..]);
    let killed = state.as_if_killed_now();
    let left = killed.left().remove(0);
    let expected = [("/a", false), ("/b", true), ("/c", false)];
    assert_eq!(
        removed(&left),
        expected.map(|(name, begun)| (name.to_owned(), begun))
    );
    RecordedChange::end(&made[..3]);
    journal.end();
    assert_eq!(state.journals(), [""; 0].map(PathBuf::from));
}

#[test]
fn what_follows_a_damaged_record_counts_for_nothing() {
    let state = State::new();
    let journal = state.open();
    journal.keep_order();
    for name in ["/a", "/b", "/c"] {
        journal
            .record_change(&removal(name), &Domains::new())
            .unwrap();
    }
    let killed = state.as_if_killed_now();
    let log = killed.journals().remove(0).join("ordered");
    let damaged = fs::read_to_string(&log).unwrap().replace("/b", "/x");
    fs::write(&log, damaged).unwrap();
    let left = killed.left().remove(0);
    assert_eq!(removed(&left), [("/a".to_owned(), false)]);
}

#[test]
fn a_spool_file_goes_when_the_record_that_frees_it_is_on_the_disk() {
    let state = State::new();
    let journal = state.open();
    journal.keep_order();
    let spool = journal.spool_file(&path("/f")).unwrap();
    spool.persist(&pending("/f")).unwrap();
    spool.record_order(&removal("/f"), &Domains::new()).unwrap();
    let spools = || {
        let entries = fs::read_dir(&state.journals()[0]).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().ends_with(".data"))
            .count()
    };
    spool.done();
    drop(spool);
    assert_eq!(spools(), 1);
    journal.sync().unwrap();
    assert_eq!(spools(), 0);
    let killed = state.as_if_killed_now();
    assert!(killed.left().iter().all(|left| left.changes().is_empty()));
}

fn another_attempt_does_not_make_a_version_the_last_one_and_a_rename_does(keeps_order: bool) {
    let state = State::new();
    let journal = state.open();
    if keeps_order {
        journal.keep_order();
    }
    let (first, second) = (spool(&journal, "/f"), spool(&journal, "/f"));
    let third = spool(&journal, "/tmp");
    third.pending(&pending("/tmp"));
    first.pending(&pending("/f"));
    second.pending(&pending("/f"));
    first.pending(&pending("/f"));
    let order = || {
        let left = state.as_if_killed_now().left().remove(0);
        let numbers: Vec<_> = left.waiting().iter().map(|it| it.number).collect();
        numbers
    };
    assert_eq!(order(), [3, 1, 2]);
    third.pending(&pending("/f"));
    assert_eq!(order(), [1, 2, 3]);
}

#[test]
fn another_attempt_does_not_make_a_version_the_last_one_and_a_rename_does_with_names() {
    another_attempt_does_not_make_a_version_the_last_one_and_a_rename_does(true);
}

#[test]
fn another_attempt_does_not_make_a_version_the_last_one_and_a_rename_does_with_data() {
    another_attempt_does_not_make_a_version_the_last_one_and_a_rename_does(false);
}

#[test]
fn an_older_version_does_not_read_changes_of_names_and_keeps_them() {
    let state = State::new();
    let journal = state.open();
    journal.keep_order();
    let spool = spool(&journal, "/f");
    spool.persist(&pending("/f")).unwrap();
    spool.record_order(&removal("/f"), &Domains::new()).unwrap();
    let page = state.journals().remove(0);
    // It opens the log like this.
    let mut old = fs::OpenOptions::new();
    let old = old.append(true).create(true).open(page.join("log"));
    assert!(old.is_err());

    let killed = state.as_if_killed_now();
    let mut left = killed.left();
    assert_eq!(left[0].waiting().len(), 1);
    assert_eq!(left[0].changes().len(), 1);
    let waiting = left[0].waiting().remove(0);
    let continued = left.remove(0).into_journal();
    continued.waiting_spool(&waiting).unwrap().done();
    continued.sync().unwrap();
    continued.end();
    assert!(killed.journals().is_empty());
}

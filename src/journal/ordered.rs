//! The records of changes of names (`-o writeback=names`).
//!
//! A change is recorded without a sync when the program makes it, so a killed process loses none.
//! [`Journal::sync`] follows before the change is sent, and soon after it is made: after a power
//! failure, the changes up to some moment are known. For the same reason, each line has a checksum,
//! what follows a damaged one counts for nothing, and a spool file is removed only when the record
//! that frees it is on the disk.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::change::{Domains, NameAction, NameChange};
use super::log::sync_directory;
use super::record::Record;
use super::{AbandonedJournal, Journal, JournalMode, SpoolFile, lock};

/// A change that a journal contains.
#[derive(Debug, Clone)]
pub(crate) struct RecordedChange {
    journal: Journal,
    number: u64,
}

/// A change that a killed mount left.
#[derive(Debug)]
pub(crate) struct LeftChange {
    /// The numbers that it stands for, in increasing order.
    pub(crate) numbers: Vec<u64>,
    /// The domains that it took over.
    pub(crate) domains: Domains,
    /// The change. The contents of a [`NameAction::Store`] are those of a spool file.
    pub(crate) change: NameChange,
    /// Whether it may have been sent.
    pub(crate) is_begun: bool,
}

impl Journal {
    /// Makes the order of the records matter from now on. Waits for the local disk if it did not.
    pub(crate) fn keep_order(&self) {
        let JournalMode::Enabled {
            journal_dir,
            log,
            turns,
            ..
        } = &self.shared.mode
        else {
            return;
        };
        let _turn = turns.turn();
        let Some(rewrite) = lock(log).begin_order() else {
            return;
        };
        let written = rewrite.write();
        let finished = lock(log).finish_rewrite(&rewrite, written);
        let hidden = finished.and_then(|()| journal_dir.hide_plain_log());
        match hidden.and_then(|()| sync_directory(&journal_dir.log())) {
            Ok(()) => lock(log).name_is_synced(),
            Err(error) => {
                ::log::warn!(
                    "cannot rewrite {}, which older versions of ftpfs may remove: {error}",
                    journal_dir.log().display()
                );
                lock(log).append(&Record::Ordered);
            }
        }
    }

    /// Gives the changes of `other`, which a killed mount left, and of this journal, in which the
    /// order matters from now on, numbers in one order. `other` stays readable for the version that
    /// wrote it.
    pub(crate) fn share_order(&self, other: &Self) {
        self.keep_order();
        if let JournalMode::Enabled { log, .. } = &self.shared.mode
            && let JournalMode::Enabled { log: others, .. } = &other.shared.mode
        {
            let numbers = lock(log).numbers();
            lock(others).share_numbers(numbers);
        }
    }

    /// Records that a program made `change`, which took over `domains`.
    ///
    /// # Errors
    /// It is not recorded.
    pub(crate) fn record_change(
        &self,
        change: &NameChange,
        domains: &Domains,
    ) -> io::Result<RecordedChange> {
        let JournalMode::Enabled { log, .. } = &self.shared.mode else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut log = lock(log);
        let number = log.next_number();
        let record = Record::Change(number, change.clone(), domains.clone());
        if let Err(error) = log.try_append(&record) {
            log.append(&Record::Ended(vec![number]));
            return Err(error);
        }
        drop(log);
        Ok(self.recorded(number))
    }

    /// Returns the change with this number.
    pub(crate) fn recorded(&self, number: u64) -> RecordedChange {
        RecordedChange {
            journal: self.clone(),
            number,
        }
    }

    /// Returns when all records so far are on the disk, and removes the spool files that they free.
    ///
    /// # Errors
    /// Some records may not be on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let JournalMode::Enabled { log, turns, .. } = &self.shared.mode else {
            return Ok(());
        };
        let records = lock(log).records();
        turns.wait_for(records, || {
            let unsynced = lock(log).unsynced();
            unsynced.sync()
        })?;
        let garbage = lock(log).take_garbage(records);
        for obsolete in garbage {
            if let Err(error) = std::fs::remove_file(&obsolete)
                && error.kind() != io::ErrorKind::NotFound
            {
                ::log::warn!("cannot remove {}: {error}", obsolete.display());
            }
        }
        Ok(())
    }

    /// Whether all records so far are on the disk.
    #[cfg(test)]
    pub(crate) fn is_synced(&self) -> bool {
        let JournalMode::Enabled { log, turns, .. } = &self.shared.mode else {
            return true;
        };
        let records = lock(log).records();
        turns.synced() >= records
    }

    /// Whether spool files are removed at the next sync.
    pub(crate) fn has_garbage(&self) -> bool {
        let JournalMode::Enabled { log, .. } = &self.shared.mode else {
            return false;
        };
        lock(log).has_garbage()
    }

    /// Removes a spool file after the next sync if the order of the records matters. Otherwise
    /// returns false.
    pub(super) fn remove_later(&self, number: u64, path: &Path) -> bool {
        let JournalMode::Enabled { log, .. } = &self.shared.mode else {
            return false;
        };
        let mut log = lock(log);
        let is_ordered = log.live().is_ordered();
        if is_ordered {
            log.append(&Record::Closed(number));
            log.remove_later(path.to_owned());
        }
        is_ordered
    }
}

impl RecordedChange {
    /// Records that `change`, which stands for all of `records` and is in the order of `domains`,
    /// is about to be sent.
    pub(crate) fn begin(records: &[Self], change: &NameChange, domains: &Domains) {
        for (journal, numbers) in by_journal(records) {
            journal.append(&Record::Begun(numbers, change.clone(), domains.clone()));
        }
    }

    /// Records that the change that [began](Self::begin) was not made, and will be sent again.
    pub(crate) fn undo(records: &[Self]) {
        for (journal, numbers) in by_journal(records) {
            journal.append(&Record::Undone(numbers));
        }
    }

    /// Records that the changes were made, or are given up.
    pub(crate) fn end(records: &[Self]) {
        for (journal, numbers) in by_journal(records) {
            journal.append(&Record::Ended(numbers));
        }
    }
}

impl SpoolFile {
    /// Records that the contents get the name `path` in their turn, behind all changes so far.
    ///
    /// # Errors
    /// It is not recorded.
    pub(crate) fn record_order(
        &self,
        change: &NameChange,
        domains: &Domains,
    ) -> io::Result<RecordedChange> {
        let Some(journaled) = &self.journaled else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let id = journaled.number;
        let action = NameAction::Store { id };
        let change = NameChange {
            action,
            ..change.clone()
        };
        journaled.journal.record_change(&change, domains)
    }
}

impl AbandonedJournal {
    /// Whether the order of the records matters.
    pub(crate) fn is_ordered(&self) -> bool {
        self.log.live().is_ordered()
    }

    /// The changes of names that the server may not have, in their order.
    pub(crate) fn changes(&self) -> Vec<LeftChange> {
        let live = self.log.live();
        let begun = live.begun.values();
        let mut changes: Vec<_> = begun
            .map(|(numbers, change, domains)| LeftChange {
                numbers: numbers.clone(),
                domains: domains.clone(),
                change: change.clone(),
                is_begun: true,
            })
            .collect();
        let begun = live.begun.values().flat_map(|(numbers, ..)| numbers);
        let begun: HashSet<_> = begun.collect();
        let others = live.changes.iter();
        let others = others.filter(|(number, _)| !begun.contains(number));
        changes.extend(others.map(|(number, (change, domains))| LeftChange {
            numbers: vec![*number],
            domains: domains.clone(),
            change: change.clone(),
            is_begun: false,
        }));
        changes.sort_by_key(|left| left.numbers.last().copied());
        changes
    }
}

/// Returns the numbers in each journal.
fn by_journal(records: &[RecordedChange]) -> Vec<(&Journal, Vec<u64>)> {
    let mut journals: Vec<(&Journal, Vec<u64>)> = Vec::new();
    for RecordedChange { journal, number } in records {
        let is_it = |it: &&mut (&Journal, Vec<u64>)| it.0.mount() == journal.mount();
        match journals.iter_mut().find(is_it) {
            Some((_, numbers)) => numbers.push(*number),
            None => journals.push((journal, vec![*number])),
        }
    }
    journals
}

//! Changes that are given up while programs make changes that may depend on them.

use std::collections::{BTreeMap, BTreeSet};

use super::Names;
use super::relation::concerns;
use crate::ftp::RemotePath;
use crate::journal::{Domains, NameChange};
use crate::vfs::errno::Errno;

/// The changes that were given up while programs watched, the oldest first.
#[derive(Debug, Default)]
pub(super) struct RefusedMeanwhile {
    /// Number of refusals so far.
    last: u64,
    /// Number of programs that watch, by the number of refusals before.
    watching: BTreeMap<u64, usize>,
    changes: Vec<RefusedChange>,
}

/// A change that was given up.
#[derive(Debug)]
struct RefusedChange {
    /// The number of its refusal.
    number: u64,
    place: u64,
    change: NameChange,
    /// The domains in whose order it stands by its paths.
    domains: Domains,
    /// The reason.
    errno: Errno,
    /// Whether the server refused to add a name, so that nothing is removed or replaced behind it.
    is_add: bool,
}

/// Remembers what is given up, from the beginning of a change to its end.
#[derive(Debug)]
pub(in crate::vfs) struct RefusalWatch<'a> {
    names: &'a Names,
    /// Number of refusals before.
    since: u64,
}

impl RefusedMeanwhile {
    /// Whether a program watches.
    pub(super) fn is_watched(&self) -> bool {
        !self.watching.is_empty()
    }

    /// Records that `changes` were given up because of `errno`. The server refused to add a name if
    /// it `is_add`.
    pub(super) fn add(
        &mut self,
        changes: impl Iterator<Item = (u64, NameChange, Domains)>,
        (errno, is_add): (Errno, bool),
    ) {
        self.last += 1;
        let number = self.last;
        let changes = changes.map(|(place, change, domains)| RefusedChange {
            number,
            place,
            change,
            domains,
            errno,
            is_add,
        });
        self.changes.extend(changes);
    }

    fn begin(&mut self) -> u64 {
        *self.watching.entry(self.last).or_default() += 1;
        self.last
    }

    fn end(&mut self, since: u64) {
        if let Some(watching) = self.watching.get_mut(&since) {
            *watching -= 1;
            if *watching == 0 {
                self.watching.remove(&since);
            }
        }
        match self.watching.keys().next() {
            Some(oldest) => self.changes.retain(|it| it.number > *oldest),
            None => self.changes.clear(),
        }
    }
}

impl Names {
    /// Remembers what is given up from now on, as long as the result exists.
    pub(in crate::vfs) fn watch_refusals(&self) -> RefusalWatch<'_> {
        let since = self.lock().refused.begin();
        RefusalWatch { names: self, since }
    }
}

impl RefusalWatch<'_> {
    /// Returns the reason of a change that was given up meanwhile and that a change of `paths`
    /// stands behind: it depends on that, also if it waits for changes at the `needed` places. Or
    /// it `destroys` something, and that was to add a name in its order, which is also that of the
    /// changes at these `places`.
    pub(in crate::vfs) fn before(
        &self,
        (paths, destroys): (&[&RemotePath], bool),
        needed: &BTreeSet<u64>,
        places: &BTreeSet<u64>,
    ) -> Option<Errno> {
        let state = self.names.lock();
        let domains: Domains = paths
            .iter()
            .flat_map(|path| state.log.domains_at(path))
            .collect();
        let is_before = |it: &&RefusedChange| {
            let is_needed =
                needed.contains(&it.place) || paths.iter().any(|path| concerns(&it.change, path));
            let is_in_order = places.contains(&it.place) || !it.domains.is_disjoint(&domains);
            it.number > self.since && (is_needed || destroys && it.is_add && is_in_order)
        };
        let refused = state.refused.changes.iter().find(is_before);
        refused.map(|it| it.errno)
    }
}

impl Drop for RefusalWatch<'_> {
    fn drop(&mut self) {
        self.names.lock().refused.end(self.since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{NameAction, NameBase};
    use crate::vfs::write::names::testing::{absent, names, path, record};

    fn rename(from: &str, to: &str) -> NameChange {
        NameChange {
            action: NameAction::Rename {
                to: path(to),
                replaced: NameBase::Absent,
            },
            ..absent(from)
        }
    }

    fn refuse(names: &Names, place: u64) {
        names.refuse(place, (Errno::ACCES, "denied"), |_| ());
    }

    fn before(watch: &RefusalWatch<'_>, paths: &[&str], destroys: bool) -> Option<Errno> {
        let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
        let paths: Vec<_> = paths.iter().collect();
        watch.before((&paths, destroys), &BTreeSet::new(), &BTreeSet::new())
    }

    #[test]
    fn a_change_depends_on_both_paths_of_a_rename_that_is_refused_before_it_waits() {
        let (_directory, names) = names();
        let place = record(&names, rename("/d/log", "/d/log.1"));
        let watch = names.watch_refusals();
        refuse(&names, place);
        for (changed, expected) in [
            ("/d/log.1", Some(Errno::ACCES)),
            ("/d/log", Some(Errno::ACCES)),
            ("/d", Some(Errno::ACCES)),
            ("/d/log.2", None),
        ] {
            assert_eq!(
                before(&watch, &["/x/y", changed], false),
                expected,
                "{changed}"
            );
        }
        // Who begins later has nothing to do with it.
        let later = names.watch_refusals();
        assert_eq!(before(&later, &["/d/log"], true), None);
        drop(watch);
        assert_eq!(before(&later, &["/d/log"], true), None);
        assert!(names.lock().refused.changes.is_empty());
    }

    #[test]
    fn nothing_is_destroyed_behind_an_add_that_is_refused_before_the_wait() {
        let (_directory, names) = names();
        let place = record(
            &names,
            NameChange {
                action: NameAction::MakeDirectory { mode: None },
                ..absent("/d/new")
            },
        );
        let watch = names.watch_refusals();
        refuse(&names, place);
        assert_eq!(before(&watch, &["/d/old"], true), Some(Errno::ACCES));
        assert_eq!(before(&watch, &["/d/old"], false), None);
        assert_eq!(before(&watch, &["/e/old"], true), None);
    }
}

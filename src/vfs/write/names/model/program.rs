//! What programs do, and what the file system records of it.

use super::super::log::{Effect, NewChange, Step};
use super::tree::{ModelNode, Tree, apply, base, below, files, path, text};
use super::{Broken, Noted, World};
use crate::ftp::Version;
use crate::journal::{Domains, NameAction, NameBase, NameChange};

impl World {
    /// A program changes something.
    pub(super) fn program(&mut self) -> Result<(), Broken> {
        let names: Vec<_> = self.local.keys().cloned().collect();
        let directories: Vec<_> = names
            .iter()
            .filter(|name| self.local[*name] == ModelNode::Directory)
            .filter(|name| name.matches('/').count() < 3)
            .cloned()
            .collect();
        let directory = self.random.pick(&directories);
        let new = format!(
            "{directory}/{}",
            self.random.pick(&["x", "y", "d", "f", "g"])
        );
        let old = self.random.pick(&names);
        let (action, name) = match self.random.below(8) {
            0 => (NameAction::MakeDirectory { mode: None }, new),
            1..=3 => {
                let id = self.number();
                let name = if self.random.chance(70) { new } else { old };
                (NameAction::Store { id }, name)
            }
            4 => (NameAction::Unlink, old),
            5 if old.contains('/') => (NameAction::RemoveDirectory, old),
            5 => return Ok(()),
            _ => {
                let waiting = self.log.iter().filter(|(_, entry)| entry.change.is_store());
                let waiting: Vec<_> = waiting.map(|(_, it)| text(&it.change.path)).collect();
                // What waits is where it gets interesting.
                let old = if !waiting.is_empty() && self.random.chance(50) {
                    self.random.pick(&waiting)
                } else {
                    old
                };
                let replaced = base(self.local.get(&new).copied());
                let to = path(&new);
                (NameAction::Rename { to, replaced }, old)
            }
        };
        let change = NameChange {
            base: base(self.local.get(&name).copied()),
            path: path(&name),
            action,
        };
        let before = self.local.clone();
        let mut after = before.clone();
        if !apply(&mut after, &change) || self.must_wait(&before, &change) {
            return Ok(());
        }
        self.local = after;
        self.meant
            .extend(files(&before).difference(&files(&self.local)));
        let (seen, written) = (change.path.clone(), change.action.clone());
        if let NameAction::Store { id } = written {
            self.all.insert(id);
            self.spool.insert(id);
            let name = text(&seen);
            let domain = name.split('/').next().unwrap_or_default().to_owned();
            let known = self.local.iter().filter_map(|(other, node)| match node {
                ModelNode::File(known) if *other != name && below(other, &domain) => {
                    Some((other.clone(), *known))
                }
                _ => None,
            });
            let known: Vec<_> = known.collect();
            if !known.is_empty() && self.random.chance(50) {
                let reference = self.random.pick(&known);
                self.refs.insert(id, reference);
            }
        }
        let start = self.journal.len();
        self.record(change);
        let end = self.journal.len();
        self.history.push((start, end, self.local.clone()));
        if let NameAction::Store { .. } = written {
            self.sync();
        }
        let local = &self.local;
        let changed = self
            .refs
            .iter()
            .filter(|(_, (name, id))| local.get(name) != Some(&ModelNode::File(*id)));
        self.free.extend(changed.map(|(id, _)| *id));
        if self.is_old && self.mode.has_others {
            self.rebuild()?;
        }
        if self.random.chance(5) {
            self.sync();
        }
        Ok(())
    }

    /// Whether the program has to wait: the change is about contents that are being given their
    /// name, or moves contents that replace what the server has.
    pub(super) fn must_wait(&self, before: &Tree, change: &NameChange) -> bool {
        let moves = matches!(change.action, NameAction::Rename { .. });
        change.paths().any(|path| match before.get(&text(path)) {
            Some(ModelNode::File(id)) => {
                let place = self.log.store_at(*id);
                let entry = place.and_then(|place| self.log.get(place));
                entry.is_some_and(|it| {
                    let is_moved = moves && *path == change.path;
                    it.step == Step::Begun || is_moved && it.change.base != NameBase::Absent
                })
            }
            Some(ModelNode::Directory) | None => false,
        })
    }

    /// Puts a change into the journal and the log as the file system does: contents that wait
    /// follow their name.
    pub(super) fn record(&mut self, change: NameChange) {
        let number = self.number();
        let mut domains = Domains::new();
        let mut needs_look = false;
        let mut ended = Vec::new();
        let mut change = change;
        // What is replaced or removed need not be stored.
        let target = change.paths().last().cloned().unwrap();
        let waiting = |world: &Self, base: &NameBase| match base {
            NameBase::File(Version { size: Some(id), .. }) => world.log.store_at(*id).map(|_| *id),
            _ => None,
        };
        let replaced = match &change.action {
            NameAction::Rename { replaced, .. } => *replaced,
            _ => change.base,
        };
        let mut new_base = None;
        if let Some(id) = waiting(self, &replaced)
            && let Some(old) = self.log.take_store(id)
        {
            domains.extend(old.domains);
            needs_look |= old.needs_look;
            new_base = Some(old.change.base);
            ended.push((old.records, old.change.clone()));
        }
        let moved = match &change.action {
            NameAction::Rename { .. } => waiting(self, &change.base),
            _ => None,
        };
        let moved = moved.and_then(|id| self.log.take_store(id));
        if let Some(base) = new_base {
            match &mut change.action {
                NameAction::Rename { replaced, .. } => *replaced = base,
                _ => change.base = base,
            }
        }
        if let Some(old) = moved {
            domains.extend(old.domains);
            needs_look |= old.needs_look;
            let NameAction::Rename { replaced, .. } = change.action else {
                unreachable!()
            };
            let store = NameChange {
                action: old.change.action.clone(),
                path: target,
                base: replaced,
            };
            self.put(number, store, (domains, needs_look));
            self.journal.push(Noted::Ended(old.records));
        } else if change.action == NameAction::Unlink && change.base == NameBase::Absent {
            // It was never there.
        } else {
            self.put(number, change, (domains, needs_look));
        }
        for (records, change) in ended {
            self.end(records, &change);
        }
    }

    pub(super) fn put(
        &mut self,
        number: u64,
        change: NameChange,
        (domains, needs_look): (Domains, bool),
    ) {
        let noted = Noted::Change(number, change.clone(), domains.clone());
        self.journal.push(noted);
        let effects = self.log.append(NewChange {
            change,
            records: vec![number],
            domains,
            needs_look,
        });
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect<u64>>) {
        for effect in effects {
            if let Effect::Ended(records) = effect {
                self.journal.push(Noted::Ended(records));
            }
        }
    }
}

//! Kills and power cuts, and what others do meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::super::judge::ChangeVerdict;
use super::super::log::{NamesLog, NewChange};
use super::super::relation::related;
use super::tree::{ModelNode, Tree};
use super::{Broken, Noted, World};
use crate::ftp::RemotePath;
use crate::journal::{Domains, NameAction, NameChange};

impl World {
    /// The process is killed, or the power is cut; another mount follows.
    pub(super) fn crash(&mut self) -> Result<(), Broken> {
        if self.random.chance(70) {
            self.send(true, None)?;
        }
        self.garbage.clear();
        if self.mode.cuts_power {
            let left = self.synced + self.random.below(self.journal.len() - self.synced + 1);
            // The records of a change that are not all there are those of a call that did not
            // return.
            let is_inside = |(start, end, _): &&(usize, usize, Tree)| *start < left && left < *end;
            let left = self.history.iter().find(is_inside).map_or(left, |it| it.0);
            self.journal.truncate(left);
            self.history.retain(|(_, end, _)| *end <= left);
        }
        if self.mode.has_others {
            for _ in 0..self.random.below(4) {
                self.other();
            }
        }
        let mut changes = BTreeMap::new();
        let mut begun = BTreeMap::new();
        let mut ended = BTreeSet::new();
        for noted in self.journal.clone() {
            match noted {
                Noted::Change(number, change, domains) => {
                    changes.insert(number, (change, domains));
                }
                Noted::Begun(records, change, domains) => {
                    begun.insert(records, (change, domains));
                }
                Noted::Undone(records) => {
                    begun.remove(&records);
                }
                Noted::Ended(records) => ended.extend(records),
            }
        }
        let last = changes.keys().max().copied().unwrap_or(0);
        let is_alone = !self.mode.refuses && !self.mode.has_others;
        if self.mode.cuts_power && is_alone && last < self.floor {
            return Err("a record that was on the disk is gone".to_owned());
        }
        self.is_old = true;
        self.log = NamesLog::new(RemotePath::root(), self.rules.log);
        // What may have been sent is judged before anything is combined with it.
        let mut todo: Vec<(Vec<u64>, NameChange, Domains)> = Vec::new();
        let mut first: Vec<_> = begun.into_iter().collect();
        first.retain(|(records, _)| !records.iter().any(|it| ended.contains(it)));
        first.sort_by_key(|(records, _)| records.last().copied());
        let mut undone: Vec<NameChange> = Vec::new();
        for (records, (change, domains)) in first {
            ended.extend(records.clone());
            let is_behind = undone.iter().any(|it| related(it, &change));
            if !is_behind && self.judge(&change) == ChangeVerdict::Done {
                self.end(records, &change);
            } else {
                self.journal.push(Noted::Undone(records.clone()));
                undone.push(change.clone());
                todo.push((records, change, domains));
            }
        }
        let others = changes
            .into_iter()
            .filter(|(number, _)| !ended.contains(number));
        todo.extend(others.map(|(number, (change, domains))| (vec![number], change, domains)));
        todo.sort_by_key(|(records, ..)| records.last().copied());
        for (records, change, mut domains) in todo {
            if !self.rules.domains {
                domains.clear();
            }
            if let NameAction::Store { id } = change.action
                && !self.spool.contains(&id)
            {
                return Err(format!("the contents of {change:?} are gone"));
            }
            let effects = self.log.append(NewChange {
                change,
                records,
                domains,
                needs_look: true,
            });
            self.carry_out(effects);
        }
        self.rebuild()
    }

    pub(super) fn other(&mut self) {
        let names: Vec<_> = self
            .server
            .keys()
            .filter(|it| it.contains('/'))
            .cloned()
            .collect();
        let mut name = if names.is_empty() {
            "A".to_owned()
        } else {
            self.random.pick(&names)
        };
        if self.server.get(&name) == Some(&ModelNode::Directory) {
            name.push_str("/z");
        }
        let Some(ModelNode::File(old)) = self.server.get(&name).copied() else {
            if !self.server.contains_key(&name) {
                let id = self.number();
                self.all.insert(id);
                self.server.insert(name, ModelNode::File(id));
            }
            return;
        };
        self.meant.insert(old);
        if self.random.chance(30) {
            self.server.remove(&name);
        } else {
            let id = self.number();
            self.all.insert(id);
            self.server.insert(name, ModelNode::File(id));
        }
    }
}

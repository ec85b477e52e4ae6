//! Random lives of a log, compared with a POSIX file system: kills, power cuts, lost replies,
//! refusals, changes by others, and programs that wait. Each rule switched off breaks something.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::prelude::*;

use super::judge::{ChangeVerdict, Seen, judge};
use super::log::{Effect, LogEntry, NamesLog, NewChange, Step};
use super::rules::Rules;
use crate::ftp::{RemotePath, Version};
use crate::journal::{NameAction, NameBase, NameChange};

/// A file with these contents, or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(u64),
}

type Tree = BTreeMap<String, Node>;

/// The dangers of a life.
#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    refuses: bool,
    has_others: bool,
    cuts_power: bool,
}

/// The rules, including those of the journal and of the shell around the log.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each can be switched off alone")]
struct AllRules {
    log: Rules,
    /// The journal is on the disk before a flight is sent.
    write_ahead: bool,
    /// After a restart, a change is compared with the server before it is sent.
    verify: bool,
    /// Contents go only when the record that frees them is on the disk.
    spool: bool,
}

const ALL: AllRules = AllRules {
    log: Rules::ALL,
    write_ahead: true,
    verify: true,
    spool: true,
};

#[derive(Debug, Clone)]
enum Noted {
    Change(u64, NameChange),
    Begun(Vec<u64>, NameChange),
    Undone(Vec<u64>),
    Ended(Vec<u64>),
}

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

struct World {
    random: Random,
    rules: AllRules,
    mode: Mode,
    log: NamesLog<u64>,
    server: Tree,
    /// What programs see.
    local: Tree,
    journal: Vec<Noted>,
    synced: usize,
    /// Numbers of the records that are certainly on the disk.
    floor: u64,
    spool: BTreeSet<u64>,
    garbage: Vec<(usize, u64)>,
    next: u64,
    /// The tree of the programs after each change, and the lengths of the journal before and after
    /// its records.
    history: Vec<(usize, usize, Tree)>,
    /// Contents that a program removed or replaced.
    meant: BTreeSet<u64>,
    all: BTreeSet<u64>,
    parked: BTreeSet<u64>,
    /// Contents that were written after the program saw another file: its path and contents.
    refs: BTreeMap<u64, (String, u64)>,
    /// Contents that owe no order any more.
    free: BTreeSet<u64>,
    bad: BTreeSet<String>,
    /// Domains, last number and moment of the adds that failed.
    failed: Vec<(BTreeSet<Box<[u8]>>, u64, u64)>,
    is_old: bool,
}

type Broken = String;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn text(path: &RemotePath) -> String {
    String::from_utf8(path.as_bytes()[1..].to_vec()).unwrap()
}

fn below(one: &str, other: &str) -> bool {
    one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

fn version(id: u64) -> Version {
    Version {
        size: Some(id),
        ..Version::default()
    }
}

fn base(node: Option<Node>) -> NameBase {
    match node {
        None => NameBase::Absent,
        Some(Node::Directory) => NameBase::Directory,
        Some(Node::File(id)) => NameBase::File(version(id)),
    }
}

fn files(tree: &Tree) -> BTreeSet<u64> {
    let files = tree.values().filter_map(|node| match node {
        Node::File(id) => Some(*id),
        Node::Directory => None,
    });
    files.collect()
}

fn inside(tree: &Tree, directory: &str) -> Vec<String> {
    let names = tree.keys().filter(|name| below(name, directory));
    names.cloned().collect()
}

/// Makes the change as a POSIX file system or an FTP server does. Returns whether it succeeded.
fn apply(tree: &mut Tree, change: &NameChange) -> bool {
    let from = text(&change.path);
    let there = tree.get(&from).copied();
    let last = change.paths().last().map(text).unwrap_or_default();
    if let Some((parent, _)) = last.rsplit_once('/')
        && tree.get(parent) != Some(&Node::Directory)
    {
        return false;
    }
    match &change.action {
        NameAction::MakeDirectory { .. } => {
            if there.is_some() {
                return false;
            }
            tree.insert(from, Node::Directory);
        }
        NameAction::Store { id } => {
            if there == Some(Node::Directory) {
                return false;
            }
            tree.insert(from, Node::File(*id));
        }
        NameAction::Unlink => {
            if !matches!(there, Some(Node::File(_))) {
                return false;
            }
            tree.remove(&from);
        }
        NameAction::RemoveDirectory => {
            if there != Some(Node::Directory) || !inside(tree, &from).is_empty() {
                return false;
            }
            tree.remove(&from);
        }
        NameAction::Rename { to, .. } => {
            let to = text(to);
            let Some(Node::File(id)) = there else {
                return false;
            };
            if from == to || tree.get(&to) == Some(&Node::Directory) {
                return false;
            }
            tree.remove(&from);
            tree.insert(to, Node::File(id));
        }
        NameAction::SetAttributes { .. } => return there.is_some(),
    }
    true
}

fn look(tree: &Tree, path: &RemotePath) -> Seen {
    let name = text(path);
    match tree.get(&name) {
        None => Seen::Absent,
        Some(Node::Directory) => Seen::Directory {
            is_filled: !inside(tree, &name).is_empty(),
        },
        Some(Node::File(id)) => Seen::File(version(*id)),
    }
}

impl World {
    fn new(seed: u64, rules: AllRules, mode: Mode) -> Self {
        let mut random = Random(seed | 1);
        for _ in 0..4 {
            random.next();
        }
        let files = [("A/f", 1), ("A/d/g", 2), ("B/f", 3), ("A/h", 4)];
        let mut server: Tree = ["A", "B", "A/d"].map(|it| (it.to_owned(), Node::Directory)).into();
        server.extend(files.map(|(name, id)| (name.to_owned(), Node::File(id))));
        let candidates = ["A/d", "A/f", "A/x", "A/d/x", "B/x", "B/f", "A/y", "B/d"];
        let bad = candidates.iter().filter(|_| mode.refuses && random.chance(30));
        let bad = bad.map(ToString::to_string).collect();
        Self {
            random,
            rules,
            mode,
            log: NamesLog::new(RemotePath::root(), rules.log),
            local: server.clone(),
            history: vec![(0, 0, server.clone())],
            server,
            journal: Vec::new(),
            synced: 0,
            floor: 0,
            spool: BTreeSet::new(),
            garbage: Vec::new(),
            next: 10,
            meant: BTreeSet::new(),
            all: (1..5).collect(),
            parked: BTreeSet::new(),
            refs: BTreeMap::new(),
            free: BTreeSet::new(),
            bad,
            failed: Vec::new(),
            is_old: false,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn sync(&mut self) {
        self.synced = self.journal.len();
        let changes = self.journal.iter().filter_map(|it| match it {
            Noted::Change(number, _) => Some(*number),
            _ => None,
        });
        self.floor = self.floor.max(changes.max().unwrap_or(0));
        let synced = self.synced;
        let (gone, left) = self.garbage.drain(..).partition(|(at, _)| *at < synced);
        self.garbage = left;
        let gone: Vec<(usize, u64)> = gone;
        for (_, id) in gone {
            self.spool.remove(&id);
        }
    }

    fn drop_contents(&mut self, id: u64) {
        if self.rules.spool {
            self.garbage.push((self.journal.len() - 1, id));
        } else {
            self.spool.remove(&id);
        }
    }

    fn end(&mut self, records: Vec<u64>, change: &NameChange) {
        self.journal.push(Noted::Ended(records));
        if let NameAction::Store { id } = change.action {
            self.drop_contents(id);
        }
    }

    /// A program changes something.
    fn program(&mut self) -> Result<(), Broken> {
        let names: Vec<_> = self.local.keys().cloned().collect();
        let directories: Vec<_> = names
            .iter()
            .filter(|name| self.local[*name] == Node::Directory)
            .filter(|name| name.matches('/').count() < 3)
            .cloned()
            .collect();
        let directory = self.random.pick(&directories);
        let new = format!("{directory}/{}", self.random.pick(&["x", "y", "d", "f", "g"]));
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
        self.meant.extend(files(&before).difference(&files(&self.local)));
        let (seen, written) = (change.path.clone(), change.action.clone());
        if let NameAction::Store { id } = written {
            self.all.insert(id);
            self.spool.insert(id);
            let name = text(&seen);
            let domain = name.split('/').next().unwrap_or_default().to_owned();
            let known = self.local.iter().filter_map(|(other, node)| match node {
                Node::File(known) if *other != name && below(other, &domain) => {
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
        let changed = self.refs.iter().filter(|(_, (name, id))| {
            local.get(name) != Some(&Node::File(*id))
        });
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
    fn must_wait(&self, before: &Tree, change: &NameChange) -> bool {
        let moves = matches!(change.action, NameAction::Rename { .. });
        change.paths().any(|path| match before.get(&text(path)) {
            Some(Node::File(id)) => {
                let place = self.log.store_at(*id);
                let entry = place.and_then(|place| self.log.get(place));
                entry.is_some_and(|it| {
                    let is_moved = moves && *path == change.path;
                    it.step == Step::Begun || is_moved && it.change.base != NameBase::Absent
                })
            }
            Some(Node::Directory) | None => false,
        })
    }

    /// Puts a change into the journal and the log as the file system does: contents that wait
    /// follow their name.
    fn record(&mut self, change: NameChange) {
        let number = self.number();
        let mut domains = BTreeSet::new();
        let mut needs_look = false;
        let mut ended = Vec::new();
        let mut change = change;
        // What is replaced or removed need not be stored.
        let target = change.paths().last().cloned().unwrap();
        let waiting = |world: &Self, base: &NameBase| match base {
            NameBase::File(Version { size: Some(id), .. }) => {
                world.log.store_at(*id).map(|_| *id)
            }
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

    fn put(
        &mut self,
        number: u64,
        change: NameChange,
        (domains, needs_look): (BTreeSet<Box<[u8]>>, bool),
    ) {
        self.journal.push(Noted::Change(number, change.clone()));
        let effects = self.log.append(NewChange {
            change,
            records: vec![number],
            domains,
            needs_look,
        });
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect<u64>>) {
        for effect in effects {
            if let Effect::Ended(records) = effect {
                self.journal.push(Noted::Ended(records));
            }
        }
    }

    fn judge(&self, change: &NameChange) -> ChangeVerdict {
        if let NameAction::Store { id } = change.action {
            let found = look(&self.server, &change.path);
            return match found {
                Seen::File(found) if found.size == Some(id) => ChangeVerdict::Done,
                found => {
                    let is_base = match (found, change.base) {
                        (Seen::Absent, NameBase::Absent) => true,
                        (Seen::File(found), NameBase::File(base)) => found.size == base.size,
                        _ => false,
                    };
                    if is_base { ChangeVerdict::Send } else { ChangeVerdict::Conflict }
                }
            };
        }
        let Ok(verdict) = judge(change, |path| Ok::<_, Infallible>(look(&self.server, path)));
        verdict
    }

    fn execute(&mut self, entry: &LogEntry<u64>) -> Result<bool, Broken> {
        let change = &entry.change;
        if change.paths().any(|path| self.bad.contains(&text(path))) {
            return Ok(false);
        }
        let was = files(&self.server);
        let is_done = apply(&mut self.server, change);
        let lost: BTreeSet<_> = was.difference(&files(&self.server)).copied().collect();
        if let Some(id) = lost.difference(&self.meant).next() {
            return Err(format!("{change:?} destroyed {id}, which no program removed"));
        }
        let number = entry.records.last().copied().unwrap_or(0);
        let is_behind = |(domains, failed, at): &(BTreeSet<Box<[u8]>>, u64, u64)| {
            !domains.is_disjoint(&entry.domains) && *failed < number && number <= *at
        };
        if change.destroys() && !lost.is_empty() && self.failed.iter().any(is_behind) {
            return Err(format!("{change:?} destroyed {lost:?} though an add failed"));
        }
        if let NameAction::Store { id } = change.action
            && is_done
            && !self.spool.contains(&id)
        {
            return Err(format!("the contents of {change:?} are gone"));
        }
        Ok(is_done)
    }

    /// Sends a flight, or a store whose turn it is. With `kill`, the process ends meanwhile.
    fn send(&mut self, kill: bool, only: Option<&BTreeSet<u64>>) -> Result<(), Broken> {
        let mut flight = self.log.next_flight(6, only);
        let stores = self.log.iter().filter_map(|(place, entry)| {
            let is_store = matches!(entry.change.action, NameAction::Store { .. });
            let is_asked = only.is_none_or(|only| only.contains(&place));
            let is_waiting = entry.step == Step::Waiting;
            (is_store && is_asked && is_waiting && self.log.may_store(place, only.is_some()))
                .then_some(place)
        });
        let stores: Vec<_> = stores.collect();
        if let Some(store) = stores.first()
            && (flight.is_empty() || self.random.chance(50))
        {
            let ready: BTreeSet<_> = self
                .log
                .iter()
                .map(|(place, _)| place)
                .filter(|_| self.random.chance(70))
                .collect();
            flight = match only {
                Some(_) => vec![*store],
                None => self.log.stores_from(*store, 6, &|it| ready.contains(&it)),
            };
        }
        let flight: Vec<_> = flight
            .iter()
            .filter_map(|place| Some((*place, self.log.get(*place)?.clone())))
            .collect();
        if flight.is_empty() {
            return Ok(());
        }
        for (place, entry) in &flight {
            self.log.set_step(*place, Step::Begun);
            self.journal.push(Noted::Begun(entry.records.clone(), entry.change.clone()));
        }
        if self.rules.write_ahead {
            self.sync();
        }
        let is_cut = kill || self.random.chance(20);
        let sent = if is_cut { self.random.below(flight.len() + 1) } else { flight.len() };
        let loses = sent < flight.len() || self.random.chance(10);
        let answered = if loses { self.random.below(sent + 1) } else { sent };
        if self.random.chance(if self.rules.log.frozen { 30 } else { 60 }) {
            self.program()?;
        }
        let mut verdicts = Vec::new();
        for (_, entry) in flight.iter().take(sent) {
            if entry.needs_look && self.rules.verify {
                let verdict = self.judge(&entry.change);
                if verdict != ChangeVerdict::Send {
                    verdicts.push(verdict);
                    continue;
                }
            }
            let is_done = self.execute(entry)?;
            verdicts.push(if is_done { ChangeVerdict::Done } else { ChangeVerdict::Conflict });
            self.check_order()?;
        }
        if kill {
            return Ok(());
        }
        let mut undone: Vec<NameChange> = Vec::new();
        for (index, (place, entry)) in flight.iter().enumerate() {
            if self.log.get(*place).is_none_or(|it| it.step != Step::Begun) {
                continue;
            }
            let is_behind = undone.iter().any(|it| super::log::related(it, &entry.change));
            let verdict = match verdicts.get(index).filter(|_| index < answered) {
                Some(verdict) => *verdict,
                None if is_behind => ChangeVerdict::Send,
                None => self.judge(&entry.change),
            };
            match verdict {
                ChangeVerdict::Send => {
                    self.journal.push(Noted::Undone(entry.records.clone()));
                    self.log.set_step(*place, Step::Waiting);
                    undone.push(entry.change.clone());
                }
                ChangeVerdict::Done => {
                    self.log.remove(*place);
                    self.end(entry.records.clone(), &entry.change);
                }
                ChangeVerdict::Conflict => self.refused(*place)?,
            }
        }
        Ok(())
    }

    fn refused(&mut self, place: u64) -> Result<(), Broken> {
        let Some(entry) = self.log.get(place).cloned() else {
            return Ok(());
        };
        if !self.mode.refuses && !self.mode.has_others {
            return Err(format!("{:?} refused though nobody disturbed it", entry.change));
        }
        self.note_failed(&entry);
        let refusal = self.log.refuse(place);
        for entry in refusal.dropped {
            self.journal.push(Noted::Ended(entry.records));
        }
        self.give_up_parked();
        self.rebuild()
    }

    fn note_failed(&mut self, entry: &LogEntry<u64>) {
        if entry.change.is_add() {
            let number = entry.records.last().copied().unwrap_or(0);
            self.failed.push((entry.domains.clone(), number, self.next));
        }
    }

    /// Contents that cannot be stored are kept elsewhere; here, for ever.
    fn give_up_parked(&mut self) {
        let parked = self.log.iter().filter(|(_, entry)| entry.step == Step::Parked);
        let parked: Vec<_> = parked.map(|(place, _)| place).collect();
        for place in parked {
            let Some(entry) = self.log.remove(place) else {
                continue;
            };
            self.journal.push(Noted::Ended(entry.records));
            if let NameAction::Store { id } = entry.change.action {
                self.parked.insert(id);
            }
        }
    }

    /// The programs see what the server has, and the changes on top.
    fn rebuild(&mut self) -> Result<(), Broken> {
        loop {
            let mut tree = self.server.clone();
            let mut failed = None;
            for (place, entry) in self.log.iter() {
                if !apply(&mut tree, &entry.change)
                    && self.judge(&entry.change) != ChangeVerdict::Done
                {
                    failed = Some(place);
                    break;
                }
            }
            let Some(place) = failed else {
                self.local = tree;
                return Ok(());
            };
            let entry = self.log.get(place).cloned();
            if !self.mode.refuses && !self.mode.has_others {
                return Err(format!("{entry:?} cannot be shown"));
            }
            if let Some(entry) = entry {
                self.note_failed(&entry);
            }
            for entry in self.log.refuse(place).dropped {
                self.journal.push(Noted::Ended(entry.records));
            }
            self.give_up_parked();
        }
    }

    /// Others see no file before one that the program knew when it wrote it.
    fn check_order(&self) -> Result<(), Broken> {
        if self.mode.refuses || self.mode.has_others {
            return Ok(());
        }
        for id in files(&self.server) {
            if let Some((name, known)) = self.refs.get(&id)
                && !self.free.contains(&id)
                && self.server.get(name) != Some(&Node::File(*known))
                && self.local.get(name) == Some(&Node::File(*known))
            {
                return Err(format!("{id} is seen before {name}"));
            }
        }
        Ok(())
    }

    /// The process is killed, or the power is cut; another mount follows.
    fn crash(&mut self) -> Result<(), Broken> {
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
                Noted::Change(number, change) => {
                    changes.insert(number, change);
                }
                Noted::Begun(records, change) => {
                    begun.insert(records, change);
                }
                Noted::Undone(records) => {
                    begun.remove(&records);
                }
                Noted::Ended(records) => ended.extend(records),
            }
        }
        let last = changes.keys().max().copied().unwrap_or(0);
        if self.mode.cuts_power && !self.mode.refuses && !self.mode.has_others {
            if last < self.floor {
                return Err("a record that was on the disk is gone".to_owned());
            }
        }
        self.is_old = true;
        self.log = NamesLog::new(RemotePath::root(), self.rules.log);
        // What may have been sent is judged before anything is combined with it.
        let mut todo: Vec<(Vec<u64>, NameChange)> = Vec::new();
        let mut first: Vec<_> = begun.into_iter().collect();
        first.retain(|(records, _)| !records.iter().any(|it| ended.contains(it)));
        first.sort_by_key(|(records, _)| records.last().copied());
        let mut undone: Vec<NameChange> = Vec::new();
        for (records, change) in first {
            ended.extend(records.clone());
            let is_behind = undone.iter().any(|it| super::log::related(it, &change));
            if !is_behind && self.judge(&change) == ChangeVerdict::Done {
                self.end(records, &change);
            } else {
                self.journal.push(Noted::Undone(records.clone()));
                undone.push(change.clone());
                todo.push((records, change));
            }
        }
        let others = changes.into_iter().filter(|(number, _)| !ended.contains(number));
        todo.extend(others.map(|(number, change)| (vec![number], change)));
        todo.sort_by_key(|(records, _)| records.last().copied());
        for (records, change) in todo {
            if let NameAction::Store { id } = change.action
                && !self.spool.contains(&id)
            {
                return Err(format!("the contents of {change:?} are gone"));
            }
            let effects = self.log.append(NewChange {
                change,
                records,
                domains: BTreeSet::new(),
                needs_look: true,
            });
            self.carry_out(effects);
        }
        self.rebuild()
    }

    fn other(&mut self) {
        let names: Vec<_> = self.server.keys().filter(|it| it.contains('/')).cloned().collect();
        let mut name = if names.is_empty() { "A".to_owned() } else { self.random.pick(&names) };
        if self.server.get(&name) == Some(&Node::Directory) {
            name.push_str("/z");
        }
        let Some(Node::File(old)) = self.server.get(&name).copied() else {
            if !self.server.contains_key(&name) {
                let id = self.number();
                self.all.insert(id);
                self.server.insert(name, Node::File(id));
            }
            return;
        };
        self.meant.insert(old);
        if self.random.chance(30) {
            self.server.remove(&name);
        } else {
            let id = self.number();
            self.all.insert(id);
            self.server.insert(name, Node::File(id));
        }
    }

    fn live(&mut self) -> Result<(), Broken> {
        for _ in 0..5 + self.random.below(55) {
            match self.random.below(100) {
                0..62 => self.program()?,
                62..92 => self.send(false, None)?,
                92..96 => {
                    let places: Vec<_> = self.log.iter().map(|(place, _)| place).collect();
                    if !places.is_empty() {
                        let place = self.random.pick(&places);
                        let change = self.log.get(place).map(|it| it.change.clone());
                        let closure: BTreeSet<_> = change
                            .iter()
                            .flat_map(|change| change.paths().cloned().collect::<Vec<_>>())
                            .flat_map(|path| self.log.closure(&path))
                            .collect();
                        let stores = closure.iter().filter_map(|place| {
                            match self.log.get(*place)?.change.action {
                                NameAction::Store { id } => Some(id),
                                _ => None,
                            }
                        });
                        let stores: Vec<_> = stores.collect();
                        self.free.extend(stores);
                        self.send(false, Some(&closure))?;
                    }
                }
                _ => self.crash()?,
            }
        }
        for _ in 0..500 {
            if self.log.len() == 0 {
                break;
            }
            self.send(false, None)?;
        }
        self.check_end()
    }

    fn check_end(&self) -> Result<(), Broken> {
        let is_alone = !self.mode.refuses && !self.mode.has_others;
        if self.log.len() > 0 {
            return Err(format!("it never ends: {:?}", self.log));
        }
        let expected = &self.history.last().unwrap().2;
        if is_alone && self.server != *expected {
            return Err(format!("{:?} is not {expected:?}", self.server));
        }
        let mut kept = self.all.clone();
        kept.retain(|id| !self.meant.contains(id) && !self.parked.contains(id));
        kept.retain(|id| !files(&self.server).contains(id));
        if self.mode.cuts_power && is_alone {
            kept.retain(|id| files(expected).contains(id));
        }
        if !kept.is_empty() && (is_alone || !self.mode.cuts_power) {
            return Err(format!("lost {kept:?}"));
        }
        if self.local != self.server {
            return Err(format!("programs see {:?}, not {:?}", self.local, self.server));
        }
        Ok(())
    }
}

const MODES: [Mode; 5] = [
    Mode { refuses: false, has_others: false, cuts_power: false },
    Mode { refuses: false, has_others: false, cuts_power: true },
    Mode { refuses: true, has_others: false, cuts_power: false },
    Mode { refuses: false, has_others: true, cuts_power: false },
    Mode { refuses: true, has_others: true, cuts_power: false },
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_server_becomes_what_the_programs_made(seed in any::<u64>(), mode in 0..MODES.len()) {
        let lived = World::new(seed, ALL, MODES[mode]).live();
        prop_assert_eq!(lived, Ok(()), "{:?}", MODES[mode]);
    }
}

#[test]
fn each_rule_is_needed() {
    let off: [(&str, fn(&mut AllRules)); 9] = [
        ("frozen", |rules| rules.log.frozen = false),
        ("between", |rules| rules.log.between = false),
        ("flight", |rules| rules.log.flight = false),
        ("order", |rules| rules.log.order = false),
        ("cascade", |rules| rules.log.cascade = false),
        ("tail", |rules| rules.log.tail = false),
        ("write ahead", |rules| rules.write_ahead = false),
        ("verify", |rules| rules.verify = false),
        ("spool", |rules| rules.spool = false),
    ];
    let life = |seed: u64, rules| {
        let mode = MODES[(seed % 5) as usize];
        World::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), rules, mode).live()
    };
    for (name, switch_off) in off {
        let mut rules = ALL;
        switch_off(&mut rules);
        let broken = (1..20_000).find(|seed| life(*seed, rules).is_err());
        let Some(seed) = broken else {
            panic!("nothing breaks without the rule: {name}");
        };
        assert_eq!(life(seed, ALL), Ok(()), "{name} is not what breaks it");
    }
}

//! Random lives of a log, compared with a POSIX file system: kills, power cuts, lost replies,
//! refusals, changes by others, and programs that wait. Each rule switched off breaks something.

mod crash;
mod program;
mod random;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::prelude::*;

use super::judge::{ChangeVerdict, ServerNode, judge};
use super::log::{LogEntry, NamesLog, Step};
use super::relation::related;
use super::rules::LogRules;
use crate::ftp::RemotePath;
use crate::journal::{Domains, NameAction, NameBase, NameChange};
use random::Random;
use tree::{ModelNode, Tree, apply, files, look, text};

/// The dangers of a life.
#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    refuses: bool,
    has_others: bool,
    cuts_power: bool,
}

/// The rules, including those of the journal and of the shell around the log.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each rule can be switched off alone"
)]
struct AllRules {
    log: LogRules,
    /// The journal is on the disk before a flight is sent.
    write_ahead: bool,
    /// After a restart, a change is compared with the server before it is sent.
    verify: bool,
    /// The journal has the domains that a change took over.
    domains: bool,
    /// Contents go only when the record that frees them is on the disk.
    spool: bool,
}

const ALL: AllRules = AllRules {
    log: LogRules::ALL,
    write_ahead: true,
    verify: true,
    domains: true,
    spool: true,
};

#[derive(Debug, Clone)]
enum Noted {
    Change(u64, NameChange, Domains),
    Begun(Vec<u64>, NameChange, Domains),
    Undone(Vec<u64>),
    Ended(Vec<u64>),
}

/// Domains and last number of an add that failed, and the last number at that moment.
type FailedAdd = (Domains, u64, u64);

/// Switches a rule off.
type SwitchOff = fn(&mut AllRules);

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
    failed: Vec<FailedAdd>,
    is_old: bool,
}

type Broken = String;

impl World {
    fn new(seed: u64, rules: AllRules, mode: Mode) -> Self {
        let mut random = Random(seed | 1);
        for _ in 0..4 {
            random.next();
        }
        let files = [("A/f", 1), ("A/d/g", 2), ("B/f", 3), ("A/h", 4)];
        let mut server: Tree = ["A", "B", "A/d"]
            .map(|it| (it.to_owned(), ModelNode::Directory))
            .into();
        server.extend(files.map(|(name, id)| (name.to_owned(), ModelNode::File(id))));
        let candidates = ["A/d", "A/f", "A/x", "A/d/x", "B/x", "B/f", "A/y", "B/d"];
        let bad = candidates
            .iter()
            .filter(|_| mode.refuses && random.chance(30));
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
            Noted::Change(number, ..) => Some(*number),
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

    fn judge(&self, change: &NameChange) -> ChangeVerdict {
        if let NameAction::Store { id } = change.action {
            let found = look(&self.server, &change.path);
            return match found {
                ServerNode::File(found) if found.size == Some(id) => ChangeVerdict::Done,
                found => {
                    let is_base = match (found, change.base) {
                        (ServerNode::Absent, NameBase::Absent) => true,
                        (ServerNode::File(found), NameBase::File(base)) => found.size == base.size,
                        _ => false,
                    };
                    if is_base {
                        ChangeVerdict::Send
                    } else {
                        ChangeVerdict::Conflict
                    }
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
            return Err(format!(
                "{change:?} destroyed {id}, which no program removed"
            ));
        }
        let number = entry.records.last().copied().unwrap_or(0);
        let is_behind = |(domains, failed, at): &FailedAdd| {
            !domains.is_disjoint(&entry.domains) && *failed < number && number <= *at
        };
        if change.destroys() && !lost.is_empty() && self.failed.iter().any(is_behind) {
            return Err(format!(
                "{change:?} destroyed {lost:?} though an add failed"
            ));
        }
        if let NameAction::Store { id } = change.action
            && is_done
            && !self.spool.contains(&id)
        {
            return Err(format!("the contents of {change:?} are gone"));
        }
        Ok(is_done)
    }

    /// Chooses changes to send together, or stores whose turn it is.
    fn choose_flight(&mut self, only: Option<&BTreeSet<u64>>) -> Vec<(u64, LogEntry<u64>)> {
        let mut flight = self.log.next_flight(6, only);
        let stores = self.log.iter().filter_map(|(place, entry)| {
            let is_store = matches!(entry.change.action, NameAction::Store { .. });
            let is_asked = only.is_none_or(|only| only.contains(&place));
            let is_waiting = entry.step == Step::Waiting;
            (is_store && is_asked && is_waiting && self.log.may_store(place, only.is_some()))
                .then_some(place)
        });
        let stores: Vec<_> = stores.collect();
        if !stores.is_empty() && (flight.is_empty() || self.random.chance(50)) {
            // Uploads are complete in any order.
            let store = self.random.pick(&stores);
            let ready: BTreeSet<_> = self
                .log
                .iter()
                .map(|(place, _)| place)
                .filter(|_| self.random.chance(70))
                .collect();
            flight = match only {
                Some(_) => vec![store],
                None => self.log.stores_from(store, 6, &|it| ready.contains(&it)),
            };
        }
        flight
            .iter()
            .filter_map(|place| Some((*place, self.log.get(*place)?.clone())))
            .collect()
    }

    /// Sends a flight, or a store whose turn it is. With `kill`, the process ends meanwhile.
    fn send(&mut self, kill: bool, only: Option<&BTreeSet<u64>>) -> Result<(), Broken> {
        let flight = self.choose_flight(only);
        if flight.is_empty() {
            return Ok(());
        }
        for (place, entry) in &flight {
            self.log.set_step(*place, Step::Begun);
            let (records, entry) = (entry.records.clone(), entry.clone());
            let begun = Noted::Begun(records, entry.change, entry.domains);
            self.journal.push(begun);
        }
        if self.rules.write_ahead {
            self.sync();
        }
        let is_cut = kill || self.random.chance(20);
        let sent = if is_cut {
            self.random.below(flight.len() + 1)
        } else {
            flight.len()
        };
        let loses = sent < flight.len() || self.random.chance(10);
        let answered = if loses {
            self.random.below(sent + 1)
        } else {
            sent
        };
        if self
            .random
            .chance(if self.rules.log.frozen { 30 } else { 60 })
        {
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
            verdicts.push(if is_done {
                ChangeVerdict::Done
            } else {
                ChangeVerdict::Conflict
            });
            self.check_order()?;
        }
        if kill {
            return Ok(());
        }
        let mut undone: Vec<NameChange> = Vec::new();
        // The server cannot be asked what became of the changes without an answer.
        let cannot_ask = self.random.chance(30);
        for (index, (place, entry)) in flight.iter().enumerate() {
            if self.log.get(*place).is_none_or(|it| it.step != Step::Begun) {
                continue;
            }
            let is_behind = undone.iter().any(|it| related(it, &entry.change));
            let verdict = match verdicts.get(index).filter(|_| index < answered) {
                Some(verdict) => *verdict,
                None if cannot_ask && !entry.change.is_store() => {
                    self.log.is_unsure(*place);
                    continue;
                }
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
            return Err(format!(
                "{:?} refused though nobody disturbed it",
                entry.change
            ));
        }
        self.note_failed(&entry);
        let refusal = self.log.refuse(place);
        for entry in refusal.dropped {
            self.journal.push(Noted::Ended(entry.records));
        }
        self.give_up_parked()?;
        self.rebuild()
    }

    fn note_failed(&mut self, entry: &LogEntry<u64>) {
        if entry.change.is_add() {
            let number = entry.records.last().copied().unwrap_or(0);
            self.failed.push((entry.domains.clone(), number, self.next));
        }
    }

    /// Contents that cannot be stored are kept elsewhere; here, for ever.
    fn give_up_parked(&mut self) -> Result<(), Broken> {
        let parked = self.log.iter().filter(|(_, entry)| entry.step.is_parked());
        let parked: Vec<_> = parked.map(|(place, _)| place).collect();
        for place in parked {
            let step = self.log.get(place).map(|entry| entry.step);
            let Some(entry) = self.log.get(place).cloned() else {
                continue;
            };
            // The upload is complete, or becomes so.
            if step == Some(Step::Behind)
                && entry.change.is_store()
                && self.log.may_store(place, false)
            {
                self.execute(&entry)?;
            }
            self.log.remove(place);
            self.journal.push(Noted::Ended(entry.records));
            if let NameAction::Store { id } = entry.change.action {
                self.parked.insert(id);
            }
        }
        Ok(())
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
            self.give_up_parked()?;
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
                && self.server.get(name) != Some(&ModelNode::File(*known))
                && self.local.get(name) == Some(&ModelNode::File(*known))
            {
                return Err(format!("{id} is seen before {name}"));
            }
        }
        Ok(())
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
            return Err(format!(
                "programs see {:?}, not {:?}",
                self.local, self.server
            ));
        }
        Ok(())
    }
}

const MODES: [Mode; 5] = [
    Mode {
        refuses: false,
        has_others: false,
        cuts_power: false,
    },
    Mode {
        refuses: false,
        has_others: false,
        cuts_power: true,
    },
    Mode {
        refuses: true,
        has_others: false,
        cuts_power: false,
    },
    Mode {
        refuses: false,
        has_others: true,
        cuts_power: false,
    },
    Mode {
        refuses: true,
        has_others: true,
        cuts_power: false,
    },
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
    let off: [(&str, SwitchOff); 11] = [
        ("frozen", |rules| rules.log.frozen = false),
        ("between", |rules| rules.log.between = false),
        ("flight", |rules| rules.log.flight = false),
        ("order", |rules| rules.log.order = false),
        ("cascade", |rules| rules.log.cascade = false),
        ("tail", |rules| rules.log.tail = false),
        ("asks", |rules| rules.log.asks = false),
        ("write ahead", |rules| rules.write_ahead = false),
        ("verify", |rules| rules.verify = false),
        ("domains", |rules| rules.domains = false),
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

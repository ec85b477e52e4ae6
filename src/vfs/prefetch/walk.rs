//! Which directories a program that goes through a tree will open next. Pure bookkeeping: no
//! thread, no network.
//!
//! Programs open a directory, then those in it, one after the other (find, ls -R, du, rsync,
//! grep -r). So when a directory is opened whose parent was opened lately, what lies in it, and
//! beside it behind it, is listed ahead, in the order in which a depth-first walk comes to it; and
//! what lies in those, as far as the window goes. The window grows as what was listed ahead is
//! opened, so that somebody who looks around costs little.
//!
//! Other programs look names up without opening the directory (rsync at its target, git). A name
//! looked up in a directory after names in the one before it begins a walk, too. So does a name
//! looked up in a directory whose parent was listed because a program looked up one name there
//! after the other, and a name looked up in one of a few directories that lie side by side after
//! names in another one (git: `.git/refs`, `.git/info`). Where names are spread over directories by
//! their digests (objects of git), programs look into them in no order: after a few of them, all
//! are listed ahead.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::ftp::RemotePath;

/// Directories listed and not opened yet when a walk begins.
const FIRST_WINDOW: usize = 16;
/// Most directories listed and not opened yet.
const LARGEST_WINDOW: usize = 512;
/// Most directories remembered that are still to be listed.
const MOST_PENDING: usize = 16_384;
/// Most directories remembered that were opened.
const MOST_OPENED: usize = 64;
/// A directory opened longer ago is not where a program that opens one in it comes from.
const LATELY: Duration = Duration::from_secs(10);
/// Most directories remembered in which names were looked up. A program looks a few names up
/// elsewhere on its way.
const MOST_LOOKED: usize = 16;
/// Number of directories below one in which a program looked names up, after which it will do so
/// again when it looks names up in that one again.
const SEVERAL_BELOW: usize = 2;
/// Most directories that it is taken to look into again.
const MOST_AGAIN: usize = 16;
/// Most directories remembered that were listed because several names were looked up in them.
const MOST_COMBED: usize = 8;
/// A program that looks names up may have no use for directories that lie beside so many others
/// (.git/objects). They are listed ahead once it looks into one of them.
pub(super) const MOST_BESIDE: usize = 32;
/// A program that looked into two of so few directories side by side most likely looks into others
/// of them.
pub(super) const FEW_BESIDE: usize = 8;
/// Number of siblings among them that were looked into in no order, after which others will be.
const SCATTERED: usize = 4;
/// Length of the names of directories over which names are spread by their digests: so many
/// hexadecimal digits.
const DIGITS: usize = 2;
/// Directories listed and not opened yet of those that are looked into in no order.
const SCATTERED_WINDOW: usize = 1 << (4 * DIGITS);
/// A walk that opens nothing for so long has ended.
const LIVES: Duration = Duration::from_secs(3);

/// A path in the order of a depth-first walk: a directory, then what is below it, then what comes
/// after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InOrder(pub(super) RemotePath);

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        let is_slash = |byte: &u8| *byte == b'/';
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        one.split(is_slash).cmp(other.split(is_slash))
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The walks through the mount.
#[derive(Debug)]
pub(super) struct TreeWalk {
    /// To be listed.
    pending: BTreeSet<InOrder>,
    /// Being listed, with the number of turns before that.
    under_way: HashMap<RemotePath, u64>,
    /// Listed and not opened yet.
    ahead: HashMap<RemotePath, AheadListing>,
    ahead_bytes: usize,
    /// Number of those that were listed for a way that the walk has left.
    left: usize,
    /// Number of times that the walk took another way.
    turns: u64,
    most_bytes: usize,
    /// Opened lately, the last one at the back.
    opened: VecDeque<(RemotePath, Instant)>,
    /// The directories in which names that are not cached were looked up, the last one at the back.
    looked: VecDeque<(RemotePath, Instant)>,
    /// The directories that were listed because names in them were looked up one after the other,
    /// the last one at the back.
    combed: VecDeque<(RemotePath, Instant)>,
    /// The directory that was last listed because the one above it was, for a program on its way
    /// along a path.
    along: Option<(RemotePath, Instant)>,
    /// Whether the walk looks names up and opens no directories.
    is_by_names: bool,
    position: InOrder,
    window: usize,
    /// When a step was last made.
    moved: Instant,
}

/// A listing that no program has opened yet.
#[derive(Debug, Clone, Copy)]
struct AheadListing {
    bytes: usize,
    /// Number of turns of the walk before it was requested.
    turns: u64,
}

/// What an opened directory means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkStep {
    /// Nothing.
    Stray,
    /// A walk continues as expected. The caller [adds](TreeWalk::add) the directories below.
    Expected,
    /// A walk begins or took another way. The caller adds the directories below and beside it.
    Unexpected,
    /// Siblings are looked into in no order. The caller
    /// [adds](TreeWalk::add_scattered) those with names as long.
    Scattered,
}

impl TreeWalk {
    /// Creates a walk with at most `most_bytes` of listings that no program has opened yet.
    pub(super) fn new(most_bytes: usize, now: Instant) -> Self {
        Self {
            pending: BTreeSet::new(),
            under_way: HashMap::new(),
            ahead: HashMap::new(),
            ahead_bytes: 0,
            left: 0,
            turns: 0,
            most_bytes,
            opened: VecDeque::new(),
            looked: VecDeque::new(),
            combed: VecDeque::new(),
            along: None,
            is_by_names: false,
            position: InOrder(RemotePath::root()),
            window: FIRST_WINDOW,
            moved: now,
        }
    }

    /// A program opened `directory`.
    pub(super) fn opened(&mut self, directory: &RemotePath, now: Instant) -> WalkStep {
        let is_expected = self.reaches(directory, now);
        let comes_from = directory.parent().is_some_and(|parent| {
            let lately = |at: &Instant| now.saturating_duration_since(*at) < LATELY;
            self.opened
                .iter()
                .any(|(path, at)| *path == parent && lately(at))
        });
        self.remember(directory, now);
        if is_expected || comes_from {
            self.is_by_names = false;
        }
        if is_expected {
            return WalkStep::Expected;
        }
        if !comes_from {
            return WalkStep::Stray;
        }
        self.turn_to(directory, now);
        WalkStep::Unexpected
    }

    /// Whether a program looked up a name in `directory` a moment ago.
    pub(super) fn has_looked(&self, directory: &RemotePath, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LIVES;
        let mut looked = self.looked.iter();
        looked.any(|(path, at)| path == directory && lately(at))
    }

    /// Whether a program that looks up a name in `directory` is on its way along a path: it looked
    /// up a name in the one above a moment ago.
    pub(super) fn is_along_path(&self, directory: &RemotePath, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LIVES;
        let comes_along = |from: &RemotePath| {
            let mut along = self.along.iter();
            along.any(|(path, at)| path == from && lately(at))
        };
        let from = directory.parent();
        from.is_some_and(|from| self.has_looked(&from, now) || comes_along(&from))
    }

    /// Records that `directory` is listed together with the one above it, for a program that looks
    /// up a name there next.
    pub(super) fn goes_along(&mut self, directory: &RemotePath, now: Instant) {
        self.along = Some((directory.clone(), now));
        self.remember_looked(directory, now);
    }

    /// Records that `child`, to which a program [was thought to go](Self::goes_along), is no
    /// directory.
    pub(super) fn does_not_go_along(&mut self, child: &RemotePath) {
        self.along.take_if(|(path, _)| path == child);
        self.looked.retain(|(path, _)| path != child);
    }

    /// Whether a program looked up a name in a directory beside `directory` a moment ago.
    pub(super) fn has_looked_beside(&self, directory: &RemotePath, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LIVES;
        let parent = directory.parent();
        let mut looked = self.looked.iter();
        looked.any(|(path, at)| path != directory && path.parent() == parent && lately(at))
    }

    /// Returns the directories below `directory` into which a program looked lately, and those that
    /// were listed ahead for it, and the one above if it looked into that, too; none unless it
    /// looked into several below.
    pub(super) fn looked_below(&self, directory: &RemotePath, now: Instant) -> Vec<RemotePath> {
        let is_below = |path: &&RemotePath| path.below(directory).is_some_and(|it| !it.is_empty());
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LATELY;
        let looked = self.looked.iter().rev().filter(|(_, at)| lately(at));
        let mut below: Vec<_> = looked.map(|(path, _)| path).filter(is_below).collect();
        if below.len() < SEVERAL_BELOW {
            return Vec::new();
        }
        let mut ahead: Vec<_> = self.ahead.keys().filter(is_below).collect();
        ahead.retain(|path| !below.contains(path));
        let parent = directory.parent();
        let mut looked = self.looked.iter().filter(|(_, at)| lately(at));
        below.extend(looked.find_map(|(path, _)| (Some(path) == parent.as_ref()).then_some(path)));
        below.extend(ahead);
        below.into_iter().take(MOST_AGAIN).cloned().collect()
    }

    /// Records that `directory` was listed because a program looked up one name there after the
    /// other. Returns whether that was not the case a moment ago.
    pub(super) fn combed(&mut self, directory: &RemotePath, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LIVES;
        let mut combed = self.combed.iter();
        let is_new = !combed.any(|(path, at)| path == directory && lately(at));
        self.combed.retain(|(path, _)| path != directory);
        self.combed.push_back((directory.clone(), now));
        if self.combed.len() > MOST_COMBED {
            self.combed.pop_front();
        }
        is_new
    }

    /// Whether the parent of `directory` [was combed](Self::combed) a moment ago.
    pub(super) fn is_parent_combed(&self, directory: &RemotePath, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LIVES;
        directory.parent().is_some_and(|parent| {
            let mut combed = self.combed.iter();
            combed.any(|(path, at)| *path == parent && lately(at))
        })
    }

    /// A program looks up a name in `directory` that is not cached. `follows` tells whether the
    /// directory before it in their parent [was looked into](Self::has_looked), or their parent
    /// [was combed](Self::combed) and has few directories, or very few and one of them
    /// [was looked into](Self::has_looked_beside).
    pub(super) fn looked_up(
        &mut self,
        directory: &RemotePath,
        follows: bool,
        now: Instant,
    ) -> WalkStep {
        self.remember_looked(directory, now);
        if self.reaches(directory, now) {
            return WalkStep::Expected;
        }
        if !follows {
            let is_lately = |at: &Instant| now.saturating_duration_since(*at) < LIVES;
            let parent = directory.parent();
            let is_sibling = |(path, at): &&(RemotePath, Instant)| {
                is_lately(at) && path.parent() == parent && is_spread(path)
            };
            let siblings: Vec<_> = self.looked.iter().filter(is_sibling).collect();
            // Directories with numbers are days, hours and the like.
            let is_number = |path: &RemotePath| path.name().iter().all(u8::is_ascii_digit);
            let are_numbers = siblings.iter().all(|(path, _)| is_number(path));
            if !is_spread(directory) || siblings.len() < SCATTERED || are_numbers {
                return WalkStep::Stray;
            }
            self.moved = now;
            return WalkStep::Scattered;
        }
        self.is_by_names = true;
        self.turn_to(directory, now);
        WalkStep::Unexpected
    }

    /// Takes another way, from `directory` on.
    fn turn_to(&mut self, directory: &RemotePath, now: Instant) {
        self.position = InOrder(directory.clone());
        self.moved = now;
        self.turns += 1;
        self.left = self.ahead.len();
    }

    /// Whether the walk looks names up and opens no directories.
    pub(super) fn is_by_names(&self) -> bool {
        self.is_by_names
    }

    /// Whether nothing is listed ahead, and nothing is to be.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.ahead.is_empty() && self.under_way.is_empty()
    }

    /// Moves the walk to `directory` if it leads there. Returns whether it does.
    pub(super) fn reaches(&mut self, directory: &RemotePath, now: Instant) -> bool {
        self.end_if_old(now);
        let was_ahead = self.remove_ahead(directory);
        let place = InOrder(directory.clone());
        let was_pending = self.pending.remove(&place);
        if was_ahead {
            self.window = (self.window * 2).min(LARGEST_WINDOW);
        } else if !was_pending && !self.under_way.contains_key(directory) {
            return false;
        }
        self.position = place;
        self.moved = now;
        true
    }

    /// Whether the program goes through the directories beside `directory` one after the other: one
    /// that comes after it was or is being listed ahead, or the walk has come to one a moment ago
    /// (git looks at the attributes of all files before it reads the changed ones).
    pub(super) fn leads_on_from(&self, directory: &RemotePath, now: Instant) -> bool {
        let Some(parent) = directory.parent() else {
            return false;
        };
        let here = InOrder(directory.clone());
        let is_behind = |path: &RemotePath| {
            path.parent().as_ref() == Some(&parent) && InOrder(path.clone()) > here
        };
        let is_lately = now.saturating_duration_since(self.moved) < LIVES;
        is_lately && is_behind(&self.position.0)
            || self.ahead.keys().any(is_behind)
            || self.under_way.keys().any(is_behind)
    }

    /// A program is at work in a tree: a walk is not over because it opens no directories.
    pub(super) fn touch(&mut self, now: Instant) {
        self.end_if_old(now);
        self.moved = now;
    }

    /// Adds `directories` to list, if they come after the current place of the walk.
    pub(super) fn add(&mut self, directories: impl IntoIterator<Item = RemotePath>) {
        for directory in directories {
            if InOrder(directory.clone()) > self.position {
                self.add_pending(directory);
            }
        }
    }

    /// Adds `directories` to list, few that lie beside the one that the walk turned to. A program
    /// that looks names up goes through them in any order (git: `.git/info`, `.git/hooks`).
    pub(super) fn add_beside(&mut self, directories: Vec<RemotePath>) {
        if !self.is_by_names {
            return self.add(directories);
        }
        let here = self.position.0.clone();
        for directory in directories.into_iter().filter(|it| *it != here) {
            self.add_pending(directory);
        }
    }

    fn add_pending(&mut self, directory: RemotePath) {
        if self.ahead.contains_key(&directory) || self.under_way.contains_key(&directory) {
            return;
        }
        self.pending.insert(InOrder(directory));
        if self.pending.len() > MOST_PENDING {
            self.pending.pop_last();
        }
    }

    /// Adds `directories` to list, which may be looked into in any order.
    pub(super) fn add_scattered(&mut self, directories: impl IntoIterator<Item = RemotePath>) {
        self.window = self.window.max(SCATTERED_WINDOW);
        for directory in directories.into_iter().take(SCATTERED_WINDOW) {
            let place = InOrder(directory);
            if !self.ahead.contains_key(&place.0) && !self.under_way.contains_key(&place.0) {
                self.pending.insert(place);
            }
        }
    }

    /// How many directories may be listed now.
    pub(super) fn wanted(&mut self, now: Instant) -> usize {
        self.end_if_old(now);
        if self.ahead_bytes >= self.most_bytes {
            return 0;
        }
        let used = self.ahead.len() + self.under_way.len();
        // What lies on a way that was left does not stop the first steps on the new one.
        let is_on_way = |turns: &&u64| **turns == self.turns;
        let used_here =
            self.ahead.len() - self.left + self.under_way.values().filter(is_on_way).count();
        let room = self.window.saturating_sub(used);
        let room_here = FIRST_WINDOW.saturating_sub(used_here);
        room.max(room_here).min(self.pending.len())
    }

    /// Takes the next `most` directories to list. The caller reports each as
    /// [listed](Self::listed) or [given up](Self::given_up).
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Vec<RemotePath> {
        let most = most.min(self.wanted(now));
        let after = self.pending.range(&self.position..);
        let mut next: Vec<InOrder> = if self.is_by_names {
            // Among many with digests for names, the others are the first that are needed.
            let (spread, other): (Vec<_>, Vec<_>) = after.partition(|place| is_spread(&place.0));
            other
                .into_iter()
                .chain(spread)
                .take(most)
                .cloned()
                .collect()
        } else {
            after.take(most).cloned().collect()
        };
        let missing = most - next.len();
        // A walk in another order leaves some behind.
        next.extend(self.pending.iter().take(missing).cloned());
        for place in &next {
            self.pending.remove(place);
        }
        let next: Vec<_> = next.into_iter().map(|place| place.0).collect();
        let turns = self.turns;
        self.under_way
            .extend(next.iter().map(|path| (path.clone(), turns)));
        next
    }

    /// A directory that was taken is listed in `bytes`, `directories` in it.
    pub(super) fn listed(
        &mut self,
        directory: RemotePath,
        bytes: usize,
        directories: Vec<RemotePath>,
    ) {
        let turns = self.under_way.remove(&directory).unwrap_or(self.turns);
        let is_opened = self.opened.iter().any(|(path, _)| *path == directory);
        if !is_opened {
            self.remove_ahead(&directory);
            self.ahead_bytes += bytes;
            self.left += usize::from(turns != self.turns);
            self.ahead.insert(directory, AheadListing { bytes, turns });
        }
        self.add_below(directories);
    }

    /// Adds the directories that lie in one. Of many, a program that looks names up may need those
    /// whose names are no digests (`.git/objects/info`).
    fn add_below(&mut self, mut directories: Vec<RemotePath>) {
        if self.is_by_names && directories.len() > MOST_BESIDE {
            directories.retain(|directory| !is_spread(directory));
        }
        if !self.is_by_names || directories.len() <= MOST_BESIDE {
            self.add(directories);
        }
    }

    /// A directory that was taken is not being listed any more.
    pub(super) fn given_up(&mut self, directory: &RemotePath) {
        self.under_way.remove(directory);
    }

    /// Returns whether it was there.
    fn remove_ahead(&mut self, directory: &RemotePath) -> bool {
        let Some(listing) = self.ahead.remove(directory) else {
            return false;
        };
        self.ahead_bytes -= listing.bytes;
        self.left -= usize::from(listing.turns != self.turns);
        true
    }

    fn remember_looked(&mut self, directory: &RemotePath, now: Instant) {
        self.looked.retain(|(path, _)| path != directory);
        self.looked.push_back((directory.clone(), now));
        if self.looked.len() > MOST_LOOKED {
            self.looked.pop_front();
        }
    }

    fn remember(&mut self, directory: &RemotePath, now: Instant) {
        self.opened.retain(|(path, _)| path != directory);
        self.opened.push_back((directory.clone(), now));
        if self.opened.len() > MOST_OPENED {
            self.opened.pop_front();
        }
    }

    fn end_if_old(&mut self, now: Instant) {
        if now.saturating_duration_since(self.moved) < LIVES {
            return;
        }
        self.pending.clear();
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.left = 0;
        self.window = FIRST_WINDOW;
        self.is_by_names = false;
    }
}

/// Whether the name of `directory` is the beginning of a digest.
pub(super) fn is_spread(directory: &RemotePath) -> bool {
    let name = directory.name();
    name.len() == DIGITS && name.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests;

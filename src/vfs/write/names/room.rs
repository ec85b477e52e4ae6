//! Programs that wait until there is room for another change.

use super::{Names, State};
use crate::cancel::Cancel;
use crate::vfs::errno::Errno;

/// Maximum number of changes that wait. Further ones wait for room.
const MOST_CHANGES: usize = 65_536;

impl Names {
    /// Waits until there is room for another change.
    ///
    /// # Errors
    /// `INTR`, `NOSPC` if all changes wait until a program asks, or the errno of what keeps them
    /// from being made.
    pub(in crate::vfs) fn wait_for_room(&self, cancel: &Cancel) -> Result<(), Errno> {
        self.wait_below(MOST_CHANGES, cancel)
    }

    /// Waits until fewer than `most` changes wait.
    fn wait_below(&self, most: usize, cancel: &Cancel) -> Result<(), Errno> {
        if self.len() < most {
            return Ok(());
        }
        let troubles = self.troubles();
        self.wait_until(cancel, |state| {
            if state.log.len() < most {
                return Some(Ok(()));
            }
            state.no_room_because(troubles).map(Err)
        })
    }
}

impl State {
    /// Returns why no room will be made soon, since there were `before` failures that may be
    /// temporary. One of a single change does not keep the others from being made.
    fn no_room_because(&self, before: u64) -> Option<Errno> {
        let outage = self.outage.as_ref().filter(|it| it.number > before);
        if let Some(outage) = outage {
            return Some(outage.failure.errno);
        }
        if !self.log.has_open() {
            return Some(Errno::NOSPC);
        }
        if self
            .log
            .goes_on(|place| self.troubles_at.contains_key(&place))
        {
            return None;
        }
        let trouble = self.trouble_since(before, None)?;
        Some(trouble.failure.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::write::names::log::Step;
    use crate::vfs::write::names::testing::{absent, failure, names, record};

    const NEVER: &Cancel = &Cancel::never();

    #[test]
    fn who_waits_for_room_goes_on_waiting_while_other_changes_are_made() {
        let (_directory, names) = names();
        let [busy, other] = ["/a/x", "/b/x"].map(|path| record(&names, absent(path)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| names.wait_below(2, NEVER));
            let mut state = names.lock();
            names.note_trouble_at(&mut state, busy, &failure(Errno::BUSY));
            drop(state);
            // Longer than one look.
            std::thread::sleep(super::super::LOOK_UP * 4);
            assert!(!waiting.is_finished());
            names.done(other);
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn no_room_is_made_if_all_changes_wait_for_one_that_cannot_be_made() {
        let (_directory, names) = names();
        let [busy, _] = ["/a/x", "/a/y"].map(|path| record(&names, absent(path)));
        let mut state = names.lock();
        assert_eq!(state.no_room_because(0), None);
        names.note_trouble_at(&mut state, busy, &failure(Errno::BUSY));
        assert_eq!(state.no_room_because(0), Some(Errno::BUSY));
        // It is tried again.
        assert_eq!(state.no_room_because(1), None);
        state.log.set_step(1, Step::Parked);
        state.log.set_step(2, Step::Parked);
        assert_eq!(state.no_room_because(1), Some(Errno::NOSPC));
    }

    #[test]
    fn no_room_is_made_while_the_server_does_not_answer() {
        let (_directory, names) = names();
        for path in ["/a/x", "/b/x"] {
            record(&names, absent(path));
        }
        names.note_outage(&failure(Errno::NETUNREACH));
        assert_eq!(names.lock().no_room_because(0), Some(Errno::NETUNREACH));
    }
}

//! What is sent together.

use super::{NamesLog, Step};

impl<R: Clone> NamesLog<R> {
    /// Adds the new directories to `flight` that need not wait for anything else.
    pub(super) fn add_directories(&self, flight: &mut Vec<u64>, most: usize) {
        for place in &self.new_directories {
            if flight.len() >= most {
                break;
            }
            let entry = self.get(*place).filter(|it| it.step == Step::Waiting);
            if let Some(entry) = entry
                && !flight.contains(place)
                && self.fits(*place, entry, flight)
            {
                flight.push(*place);
            }
        }
        flight.sort_unstable();
    }
}

//! The read-ahead of a stream: small at first, and larger as its reader reads sequentially. Pure
//! arithmetic: no clock, no thread.

/// Initial size in bytes: what the TCP buffers would hold anyway.
pub(super) const FIRST_WINDOW: u64 = 256 << 10;

/// The bytes after the furthest requested one.
#[derive(Debug)]
pub(super) struct ReadWindow {
    /// End of the furthest read so far.
    furthest: u64,
    size: u64,
    largest: u64,
    /// `furthest` when the window last grew.
    grown_at: u64,
}

impl ReadWindow {
    /// Creates the window of a reader that starts at `position`. It grows to at most `largest`
    /// bytes.
    pub(super) fn new(position: u64, largest: u64) -> Self {
        Self {
            furthest: position,
            size: FIRST_WINDOW.min(largest),
            largest,
            grown_at: position,
        }
    }

    /// Records a request for bytes up to `end`. The window doubles when all of it was requested.
    pub(super) fn advance(&mut self, end: u64) {
        if end <= self.furthest {
            return;
        }
        self.furthest = end;
        if end - self.grown_at >= self.size {
            self.size = (self.size * 2).min(self.largest);
            self.grown_at = end;
        }
    }

    /// End of the furthest read so far.
    pub(super) fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Returns the offset up to which the stream may read.
    pub(super) fn end(&self) -> u64 {
        self.furthest + self.size
    }

    /// Whether a stream at `position` may continue.
    pub(super) fn is_open(&self, position: u64) -> bool {
        position < self.end()
    }

    /// Whether at least half of the window is free before a stream at `position`.
    pub(super) fn is_half_open(&self, position: u64) -> bool {
        self.end().saturating_sub(position) >= (self.size / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1 << 10;
    const LARGEST: u64 = 4 << 20;

    #[test]
    fn the_window_grows_as_the_reader_proves_sequential() {
        let mut window = ReadWindow::new(0, LARGEST);
        window.advance(4 * K);
        assert_eq!(window.end(), 4 * K + FIRST_WINDOW);
        for read in 1..=128 {
            window.advance(read * 128 * K);
        }
        assert_eq!(window.end() - window.furthest(), LARGEST);
        window.advance(10);
        assert_eq!(window.furthest(), 128 * 128 * K, "never back");
    }

    #[test]
    fn a_stream_that_filled_the_window_has_room_again_when_half_of_it_is_free() {
        let mut window = ReadWindow::new(0, LARGEST);
        let position = window.end();
        assert!(!window.is_open(position) && !window.is_half_open(position));
        window.advance(1);
        assert!(window.is_open(position) && !window.is_half_open(position));
        window.advance(FIRST_WINDOW / 2);
        assert!(window.is_half_open(position));
        let mut nothing_ahead = ReadWindow::new(0, 0);
        assert!(!nothing_ahead.is_open(0) && !nothing_ahead.is_half_open(0));
        nothing_ahead.advance(1);
        assert!(nothing_ahead.is_half_open(0));
    }
}

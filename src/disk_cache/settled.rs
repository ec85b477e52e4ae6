//! Which versions are settled. Pure: the clock is an argument.
//!
//! A server shows times to the second, the minute or the day. A file that is changed twice within
//! that time, with the same size, looks the same. Bytes that were fetched between the two changes
//! must not be taken for the later ones. So contents are kept only if the time that the server
//! shows was over when the fetch began: every later change has another time.

use crate::ftp::{Precision, Version};

/// How far the server's clock may be behind this one, in seconds.
const CLOCKS: i64 = 10 * 60;

/// How far the times of a listing may be wrong, in seconds: LIST does not say the time zone, and
/// zones are up to 14 hours from UTC, with an hour of summer time.
const ZONES: i64 = 16 * 3600;

/// Whether a change of the file after `now` (in seconds since the epoch) would have another version
/// than `version`. False for a time that this machine's clock has not reached.
pub(super) fn is_settled(version: &Version, now: i64) -> bool {
    let Some((time, precision)) = version.modified else {
        return false;
    };
    let span = match precision {
        Precision::Second => 1 + CLOCKS,
        Precision::Minute => 60 + CLOCKS + ZONES,
        Precision::Day => 24 * 3600 + CLOCKS + ZONES,
    };
    time.saturating_add(span) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;
    const YEAR: i64 = 365 * 24 * 3600;

    fn settled(age: i64, precision: Precision, now: i64) -> bool {
        let version = Version {
            size: Some(1),
            modified: Some((NOW - age, precision)),
            unique: 0,
        };
        is_settled(&version, now)
    }

    #[test]
    fn what_was_changed_just_now_is_not_settled() {
        for (precision, span) in [
            (Precision::Second, 601),
            (Precision::Minute, 660 + ZONES),
            (Precision::Day, 24 * 3600 + 600 + ZONES),
        ] {
            assert!(!settled(0, precision, NOW));
            assert!(!settled(span - 1, precision, NOW));
            assert!(settled(span, precision, NOW));
        }
        assert!(!is_settled(&Version::default(), NOW));
    }

    #[test]
    fn a_clock_that_is_a_year_late_settles_nothing_new() {
        assert!(!settled(YEAR - 1, Precision::Second, NOW - YEAR));
        assert!(settled(2 * YEAR, Precision::Second, NOW - YEAR));
        assert!(settled(0, Precision::Second, NOW + YEAR));
    }
}

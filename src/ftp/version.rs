//! Versions: what distinguishes the contents of a file at different times, as far as FTP can: size,
//! modification time and the `unique` fact (RFC 3659 §7.5.2).

use super::listing::{Entry, Precision, unique_hash};

/// In seconds. LIST may show the times of one half of the year an hour off, because it does not say
/// whether they include summer time.
const SUMMER_TIME: i64 = 3600;

/// What the server reports about the contents of a file, as far as it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Modification time in UTC seconds since the epoch, and its precision.
    pub modified: Option<(i64, Precision)>,
    /// The `unique` fact as shortened by [`unique_hash`]; 0 if there is none.
    pub unique: u64,
}

impl Version {
    /// Whether nothing indicates that the two differ. Information that only one of them has is no
    /// difference, nor is a listing's time that is less precise than MDTM's.
    pub fn agrees(&self, other: &Self) -> bool {
        let same_size = match (self.size, other.size) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        let same_unique = self.unique == other.unique || self.unique == 0 || other.unique == 0;
        let same_time = match (self.modified, other.modified) {
            (Some(one), Some(other)) => may_be_one_moment(one, other),
            (None, _) | (_, None) => true,
        };
        same_size && same_unique && same_time
    }

    /// Whether this may be the version that `listed` shows, down to the moment: unlike
    /// [`Version::agrees`], a listing that is an hour off shows another one.
    pub fn refines(&self, listed: &Self) -> bool {
        let is_within = match (self.modified, listed.modified) {
            (Some(one), Some(other)) => overlap(one, other, 0),
            (None, _) | (_, None) => true,
        };
        is_within && self.agrees(listed)
    }

    /// Whether `found` is proven to have these contents: both sizes are known, and nothing
    /// indicates a difference.
    pub fn is_proven_by(&self, found: &Self) -> bool {
        self.size.is_some() && found.size.is_some() && self.agrees(found)
    }

    /// Whether this may be `before` with something appended: it is larger, not older, and no other
    /// file as far as the server says. Only the bytes can prove it.
    pub fn grew_from(&self, before: &Self) -> bool {
        let is_larger = matches!((self.size, before.size), (Some(now), Some(then)) if now > then);
        let is_same_file = self.unique == before.unique || self.unique == 0 || before.unique == 0;
        let is_older = match (self.modified, before.modified) {
            (Some(now), Some(then)) => now.0 < then.0 && !may_be_one_moment(now, then),
            (None, _) | (_, None) => false,
        };
        is_larger && is_same_file && !is_older
    }

    /// Combines what both know about the contents that they [agree](Self::agrees) on, taking the
    /// more precise value of each.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let exact = |modified: &(i64, Precision)| modified.1;
        Self {
            size: self.size.or(other.size),
            modified: self
                .modified
                .into_iter()
                .chain(other.modified)
                .min_by_key(exact),
            unique: if self.unique == 0 {
                other.unique
            } else {
                self.unique
            },
        }
    }
}

impl From<&Entry> for Version {
    /// Times in an unknown time zone are ignored.
    fn from(entry: &Entry) -> Self {
        let modified = entry.modified.filter(|modified| modified.utc);
        Self {
            size: entry.size,
            modified: modified.map(|it| (it.seconds, it.precision)),
            unique: entry.unique.as_deref().map_or(0, unique_hash),
        }
    }
}

/// Whether two times with these precisions, each the beginning of its second, minute or day, can be
/// the same moment.
fn may_be_one_moment(one: (i64, Precision), other: (i64, Precision)) -> bool {
    let is_exact = one.1 == other.1;
    overlap(one, other, 0)
        || !is_exact && (overlap(one, other, SUMMER_TIME) || overlap(one, other, -SUMMER_TIME))
}

/// Whether the spans of two times overlap after the first was moved by `shift` seconds.
fn overlap(one: (i64, Precision), other: (i64, Precision), shift: i64) -> bool {
    let span = |precision| match precision {
        Precision::Second => 1,
        Precision::Minute => 60,
        Precision::Day => 24 * 3600,
    };
    let start = one.0.saturating_add(shift);
    start < other.0.saturating_add(span(other.1)) && other.0 < start.saturating_add(span(one.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Kind;

    const NOON: i64 = 1_700_000_000 - 1_700_000_000 % 86_400 + 43_200;

    fn version(size: Option<u64>, modified: Option<(i64, Precision)>) -> Version {
        Version {
            size,
            modified,
            unique: 0,
        }
    }

    fn at(seconds: i64, precision: Precision) -> Version {
        version(None, Some((seconds, precision)))
    }

    #[test]
    fn what_only_one_of_two_knows_does_not_tell_them_apart() {
        let nothing = Version::default();
        let all = Version {
            size: Some(7),
            modified: Some((NOON, Precision::Second)),
            unique: 3,
        };
        assert!(nothing.agrees(&all) && all.agrees(&nothing) && all.agrees(&all));
        assert!(!all.agrees(&version(Some(8), None)));
        assert!(!all.agrees(&at(NOON + 1, Precision::Second)));
        assert!(!all.agrees(&Version {
            unique: 4,
            ..nothing
        }));
    }

    #[test]
    fn a_listed_time_agrees_with_every_exact_one_it_stands_for() {
        let minute = at(NOON, Precision::Minute);
        let day = at(NOON - 43_200, Precision::Day);
        for second in [0, 1, 59] {
            let exact = at(NOON + second, Precision::Second);
            assert!(minute.agrees(&exact) && exact.agrees(&minute));
            assert!(exact.refines(&minute));
            assert!(day.agrees(&exact) && exact.agrees(&day));
        }
        for second in [-1, 60, 7200] {
            assert!(!minute.agrees(&at(NOON + second, Precision::Second)));
        }
        assert!(minute.agrees(&day) && !day.agrees(&at(NOON + 86_400, Precision::Second)));
        assert!(!minute.agrees(&at(NOON + 60, Precision::Minute)));
    }

    #[test]
    fn a_file_that_grew_is_larger_not_older_and_the_same() {
        let file = |size, time: Option<(i64, Precision)>, unique| Version {
            size,
            modified: time,
            unique,
        };
        let second = |second| Some((NOON + second, Precision::Second));
        let minute = |minute: i64| Some((NOON + minute * 60, Precision::Minute));
        let before = file(Some(10), second(30), 5);
        for grown in [
            file(Some(11), second(30), 5),
            file(Some(11), second(90), 0),
            file(Some(11), None, 5),
            file(Some(11), minute(0), 5),
            file(Some(11), minute(1), 5),
        ] {
            assert!(grown.grew_from(&before), "{grown:?}");
        }
        for other in [
            file(Some(10), second(90), 5),
            file(Some(9), second(90), 5),
            file(None, second(90), 5),
            file(Some(11), second(90), 6),
            file(Some(11), second(29), 5),
            file(Some(11), minute(-1), 5),
        ] {
            assert!(!other.grew_from(&before), "{other:?}");
        }
        assert!(!before.grew_from(&Version::default()));
    }

    #[test]
    fn a_listing_may_be_an_hour_off_and_exact_times_may_not() {
        for hour in [-3600, 3600] {
            let exact = at(NOON + hour, Precision::Second);
            assert!(at(NOON, Precision::Minute).agrees(&exact));
            assert!(!exact.refines(&at(NOON, Precision::Minute)));
            assert!(!at(NOON, Precision::Second).agrees(&exact));
        }
        let extreme = at(i64::MAX, Precision::Day);
        assert!(!extreme.agrees(&at(i64::MIN, Precision::Second)));
    }

    #[test]
    fn two_that_agree_know_more_together() {
        let listed = version(Some(7), Some((NOON, Precision::Minute)));
        let asked = at(NOON + 7, Precision::Second);
        let both = version(Some(7), Some((NOON + 7, Precision::Second)));
        assert_eq!(listed.with(asked), both);
        assert_eq!(asked.with(listed), both);
        assert_eq!(
            Version::default().with(Version::default()),
            Version::default()
        );
    }

    #[test]
    fn a_time_of_an_unknown_zone_says_nothing() {
        let mut entry = Entry::new("f", Kind::File);
        entry.modified = Some(crate::ftp::Modified {
            seconds: NOON,
            precision: Precision::Minute,
            utc: false,
        });
        entry.unique = Some(b"801U1".as_slice().into());
        let version = Version::from(&entry);
        assert_eq!(version.modified, None);
        assert_eq!(version.unique, unique_hash(b"801U1"));
    }
}

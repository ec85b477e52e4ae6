//! Dates of three numbers, `05/03/19`. Their order depends on the server, and often only other
//! lines of the listing show it.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::words::number;
use super::{Modified, Precision, calendar};

/// Order of the three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    MonthDayYear,
    DayMonthYear,
    YearMonthDay,
}

const ALL: [Order; 3] = [
    Order::MonthDayYear,
    Order::DayMonthYear,
    Order::YearMonthDay,
];

/// A set of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orders(u8);

impl Orders {
    const NONE: Self = Self(0);
    const EVERY: Self = Self(0b111);
    const YEAR_LAST: Self = Self(0b011);

    fn of(order: Order) -> Self {
        Self(1 << order as u8)
    }

    fn contains(self, order: Order) -> bool {
        self.0 & Self::of(order).0 != 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn iter(self) -> impl Iterator<Item = Order> {
        ALL.into_iter().filter(move |order| self.contains(*order))
    }
}

impl FromIterator<Order> for Orders {
    fn from_iter<T: IntoIterator<Item = Order>>(orders: T) -> Self {
        let union = |set: Self, order| Self(set.0 | Self::of(order).0);
        orders.into_iter().fold(Self::NONE, union)
    }
}

/// Three numbers with the same separator between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumericDate {
    values: [i16; 3],
    /// Number of digits of each.
    digits: [u8; 3],
    separator: Separator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Dash,
    Slash,
    Dot,
}

impl NumericDate {
    /// Parses `05/03/19`, `05-03-2019`, `2019.03.05`. `None` if the word has another form.
    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        let byte = *word.iter().find(|byte| !byte.is_ascii_digit())?;
        let separator = match byte {
            b'-' => Separator::Dash,
            b'/' => Separator::Slash,
            b'.' => Separator::Dot,
            _ => return None,
        };
        let mut parts = word.split(|other| *other == byte);
        let parts = [
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next().unwrap_or_default(),
        ];
        let [first, second, third, b""] = parts else {
            return None;
        };
        if word.split(|other| *other == byte).count() != 3 {
            return None;
        }
        let lengths = [first, second, third].map(<[u8]>::len);
        let is_date = matches!(lengths, [1..=2, 1..=2, 2..=4] | [4, 1..=2, 1..=2]);
        is_date.then_some(())?;
        Some(Self {
            values: [number(first)?, number(second)?, number(third)?],
            digits: lengths.map(|length| length as u8),
            separator,
        })
    }

    fn date(self, order: Order) -> Option<Date> {
        let [first, second, third] = self.values;
        let [first_digits, _, third_digits] = self.digits;
        let (year, digits, month, day) = match order {
            Order::MonthDayYear => (third, third_digits, first, second),
            Order::DayMonthYear => (third, third_digits, second, first),
            Order::YearMonthDay => (first, first_digits, second, third),
        };
        let year = full_year(year, digits)?;
        Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    }

    /// Returns the orders in which this is a valid date. Excludes dates years in the future, unless
    /// all are.
    fn orders(self, now: i64) -> Orders {
        if self.separator == Separator::Dot && self.date(Order::DayMonthYear).is_some() {
            return Orders::of(Order::DayMonthYear);
        }
        let this_year =
            Timestamp::from_second(now).map_or(i16::MAX, |at| Offset::UTC.to_datetime(at).year());
        // The server's clock may be fast, but not by years.
        let last = this_year.saturating_add(1);
        let is_past = |order: &Order| self.date(*order).is_some_and(|date| date.year() <= last);
        match ALL.into_iter().filter(is_past).collect() {
            Orders::NONE => {
                let is_date = |order: &Order| self.date(*order).is_some();
                ALL.into_iter().filter(is_date).collect()
            }
            past => past,
        }
    }
}

/// Returns the year for a number of `digits` digits: two mean 1970 to 2069, three count from 1900.
pub(super) fn full_year(year: i16, digits: u8) -> Option<i16> {
    match digits {
        4 => Some(year),
        2 if year < 70 => Some(2000 + year),
        2 | 3 => Some(1900 + year),
        _ => None,
    }
}

/// A date of three numbers with its time of day, to be resolved by the rest of the listing.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumericTime {
    pub(super) date: NumericDate,
    pub(super) time: Time,
    pub(super) precision: Precision,
    /// Default order of the dialect.
    pub(super) default: Option<Order>,
}

impl NumericTime {
    /// Returns the time if `orders` leave only one date for it.
    fn at(&self, orders: Orders) -> Option<Modified> {
        let mut dates = orders.iter().filter_map(|order| self.date.date(order));
        let date = dates.next()?;
        if dates.any(|other| other != date) {
            return None;
        }
        Some(Modified {
            seconds: calendar::seconds(date, self.time)?,
            precision: self.precision,
            utc: false,
        })
    }

    fn orders(&self, now: i64) -> Orders {
        let orders = self.date.orders(now);
        // In a dialect with a default order, the position of the year is fixed, while day and month
        // may be swapped.
        let likely = match self.default {
            None => orders,
            Some(Order::YearMonthDay) => orders.and(Orders::of(Order::YearMonthDay)),
            Some(_) => orders.and(Orders::YEAR_LAST),
        };
        if likely == Orders::NONE {
            orders
        } else {
            likely
        }
    }
}

/// Whether a date is unambiguous by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DateEvidence {
    /// The date is unambiguous, or invalid in any order. No other line changes that.
    Resolved(Option<Modified>),
    /// Other lines may show the order.
    Ambiguous,
}

/// Orders of dates that are consistent with a listing, for each separator.
#[derive(Debug, Clone)]
pub(super) struct DateOrders {
    now: i64,
    possible: [Orders; 3],
}

impl DateOrders {
    /// Starts without knowledge. `now` is in seconds since the epoch.
    pub(super) fn new(now: i64) -> Self {
        Self {
            now,
            possible: [Orders::EVERY; 3],
        }
    }

    /// Learns from the date of one line.
    pub(super) fn learn(&mut self, time: &NumericTime) -> DateEvidence {
        let orders = time.orders(self.now);
        if let Some(possible) = self.possible.get_mut(time.date.separator as usize) {
            *possible = possible.and(orders);
        }
        let alone = time.at(orders);
        if orders == Orders::NONE || alone.is_some() {
            DateEvidence::Resolved(alone)
        } else {
            DateEvidence::Ambiguous
        }
    }

    /// Returns the time according to the complete listing. `None` if it is ambiguous.
    pub(super) fn resolve(&self, time: &NumericTime) -> Option<Modified> {
        let orders = time.orders(self.now);
        let possible = self.possible.get(time.date.separator as usize);
        let shown = possible.map_or(orders, |possible| orders.and(*possible));
        time.at(shown).or_else(|| time.at(orders)).or_else(|| {
            let default = time.default.filter(|default| orders.contains(*default))?;
            time.at(Orders::of(default))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::{parse_timestamp, timestamp};

    use super::*;

    fn time(word: &str, default: Option<Order>) -> NumericTime {
        NumericTime {
            date: NumericDate::parse(word.as_bytes()).unwrap(),
            time: Time::midnight(),
            precision: Precision::Day,
            default,
        }
    }

    /// Resolves the dates of one listing.
    fn resolved(words: &[&str], default: Option<Order>) -> Vec<Option<String>> {
        let now = parse_timestamp(b"20261123120000").unwrap();
        let mut orders = DateOrders::new(now);
        let times = words.iter().map(|word| time(word, default));
        let times: Vec<_> = times.collect();
        for time in &times {
            orders.learn(time);
        }
        let day = |time| timestamp(orders.resolve(time)?.seconds).map(|it| it[..8].to_owned());
        times.iter().map(day).collect()
    }

    fn days(words: &[&str]) -> Vec<Option<String>> {
        words.iter().map(|word| Some((*word).to_owned())).collect()
    }

    #[test]
    fn one_line_settles_the_order_of_all() {
        assert_eq!(resolved(&["04/05/06"], None), [None]);
        assert_eq!(resolved(&["05/05/05"], None), days(&["20050505"]));
        assert_eq!(
            resolved(&["04/05/06", "04/13/06"], None),
            days(&["20060405", "20060413"])
        );
        assert_eq!(
            resolved(&["04/05/06", "31/12/20"], None),
            days(&["20060504", "20201231"])
        );
        assert_eq!(
            resolved(&["04/05/06", "98/11/30"], None),
            days(&["20040506", "19981130"])
        );
        assert_eq!(
            resolved(&["05-03-2019", "27-03-2019"], None),
            days(&["20190305", "20190327"])
        );
        assert_eq!(resolved(&["04.05.06"], None), days(&["20060504"]));
    }

    #[test]
    fn lines_that_contradict_each_other_settle_nothing_but_themselves() {
        assert_eq!(
            resolved(&["04/05/06", "31/12/20", "12/31/20"], None),
            [None, Some("20201231".into()), Some("20201231".into())]
        );
        let default = Some(Order::MonthDayYear);
        assert_eq!(
            resolved(&["04/05/06", "31/12/20", "12/31/20"], default),
            days(&["20060405", "20201231", "20201231"])
        );
    }

    #[test]
    fn a_default_gives_way_to_what_the_listing_shows() {
        let default = Some(Order::MonthDayYear);
        assert_eq!(resolved(&["04/05/06"], default), days(&["20060405"]));
        assert_eq!(
            resolved(&["04/05/06", "25/03/18"], default),
            days(&["20060504", "20180325"])
        );
        // Another separator belongs to another column or another server.
        assert_eq!(
            resolved(&["04/05/06", "25-03-18"], default),
            days(&["20060405", "20180325"])
        );
        assert_eq!(resolved(&["98-11-30"], default), days(&["19981130"]));
    }

    #[test]
    fn a_clock_that_is_ahead_changes_no_order() {
        let default = Some(Order::MonthDayYear);
        assert_eq!(
            resolved(&["12-05-26", "04-05-26"], default),
            days(&["20261205", "20260405"])
        );
    }

    #[test]
    fn other_words_are_no_numeric_date() {
        for word in [
            "",
            "1",
            "1-2",
            "1-2-3",
            "1-2-3-4",
            "1-2-2019-",
            "a-b-c",
            "1/2-2019",
            "123-1-1",
        ] {
            assert_eq!(NumericDate::parse(word.as_bytes()), None, "{word}");
        }
        assert_eq!(resolved(&["45/45/2019"], None), [None]);
    }
}

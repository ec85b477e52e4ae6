//! Entries in the format of `ls -l`, for LIST and STAT. Times are in UTC.

use rustix::fs::{FileType, Stat, major, minor};

use super::place::Entry;
use super::time::civil;

/// Age up to which a time is shown with the hour instead of the year, as in ls(1): half an average
/// year.
const RECENT_SECONDS: i64 = 31_556_952 / 2;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Formats one line with CR LF. `now` is the time in seconds since the epoch that decides between
/// hour and year.
pub(super) fn line(entry: &Entry, now: i64) -> Vec<u8> {
    let stat = &entry.stat;
    let mut line = format!(
        "{} {:>4} {:<8} {:<8} {:>12} {} ",
        mode(stat),
        stat.st_nlink,
        stat.st_uid,
        stat.st_gid,
        size(stat),
        date(stat.st_mtime, now),
    )
    .into_bytes();
    line.extend_from_slice(&entry.name);
    let fits = |target: &&Vec<u8>| !target.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    if let Some(target) = entry.target.as_ref().filter(fits) {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line.extend_from_slice(b"\r\n");
    line
}

fn size(stat: &Stat) -> String {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => {
            format!("{}, {}", major(stat.st_rdev), minor(stat.st_rdev))
        }
        _ => stat.st_size.to_string(),
    }
}

fn mode(stat: &Stat) -> String {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::RegularFile | FileType::Unknown => '-',
    };
    let bits = stat.st_mode;
    let bit = |mask, letter| if bits & mask != 0 { letter } else { '-' };
    // The execute letter also shows set-uid, set-gid and sticky.
    let execute = |mask, special, both, alone| match (bits & mask != 0, bits & special != 0) {
        (true, true) => both,
        (false, true) => alone,
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't', 'T'),
    ]
    .into_iter()
    .collect()
}

fn date(modified: i64, now: i64) -> String {
    let time = civil(modified).unwrap_or(jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let month = usize::from(time.month().unsigned_abs()).saturating_sub(1);
    let month = MONTHS.get(month).copied().unwrap_or("Jan");
    let recent = modified <= now && now.saturating_sub(modified) < RECENT_SECONDS;
    if recent {
        format!(
            "{month} {:>2} {:02}:{:02}",
            time.day(),
            time.hour(),
            time.minute()
        )
    } else {
        format!("{month} {:>2} {:>5}", time.day(), time.year())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    #[test]
    fn recent_times_show_the_hour_and_others_the_year() {
        assert_eq!(date(NOW, NOW), "Nov 14 22:13");
        assert_eq!(date(NOW - 86_400 * 6, NOW), "Nov  8 22:13");
        assert_eq!(date(NOW - RECENT_SECONDS, NOW), "May 16  2023");
        assert_eq!(date(NOW + 60, NOW), "Nov 14  2023");
        assert_eq!(date(i64::MAX, NOW), "Jan  1  1970");
    }
}

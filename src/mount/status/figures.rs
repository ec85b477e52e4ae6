//! Figures for people: sizes, times, shares and progress bars.

use std::time::Duration;

/// Maximum width of a progress bar in characters.
const MAX_BAR: usize = 50;

/// Returns a size in bytes with its unit.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in UNITS.into_iter().skip(1) {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    format!("{amount:.1} {unit}")
}

/// Returns a time in its two largest units.
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Returns `part` of `whole` in percent, 100 at most.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(share).map_or(100, |share| share.min(100))
}

/// Returns a progress bar for a terminal with `columns` columns.
pub(super) fn bar(percent: u64, columns: usize) -> String {
    // The indentation, the brackets and the percentage take the rest.
    let width = columns.saturating_sub(24).min(MAX_BAR);
    let done = usize::try_from(percent).unwrap_or(0).min(100) * width / 100;
    format!("[{}{}]", "#".repeat(done), "-".repeat(width - done))
}

/// Makes text from others safe for a terminal.
pub(in crate::mount) fn shown(text: &str) -> String {
    let fit = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    text.chars().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(time(Duration::from_secs(59)), "59 s");
        assert_eq!(time(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(time(Duration::from_secs(7_260)), "2 h 1 min");
        assert_eq!(time(Duration::from_secs(90_000)), "1 d 1 h");
        assert_eq!(shown("a\x1b[2Jb"), "a?[2Jb");
    }

    #[test]
    fn a_bar_fits_its_terminal() {
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(u64::MAX, 3), 100);
        assert_eq!(percent(0, 0), 0);
        assert_eq!(bar(50, 34), "[#####-----]");
        assert_eq!(bar(100, 34), "[##########]");
        assert_eq!(bar(50, 3), "[]");
        assert_eq!(bar(0, 1000).len(), MAX_BAR + 2);
    }
}

//! Listings as honest servers write them: `ls -l`, facts (RFC 3659 §7.2) and plain names.

use jiff::Timestamp;

use super::file_tree::{FileTree, Node};

/// Half a year: for older times, `ls` prints the year instead of the time of day.
const RECENT: i64 = 180 * 86_400;

/// Returns the facts of an entry, with the trailing blank.
pub(crate) fn facts(node: &Node) -> String {
    let modify = utc(node.modified);
    let (mode, size) = (node.mode, node.size());
    if node.is_directory() {
        format!("type=dir;modify={modify};perm=cdeflmp;UNIX.mode=0{mode:o}; ")
    } else {
        format!("type=file;size={size};modify={modify};perm=adfrw;UNIX.mode=0{mode:o}; ")
    }
}

/// Formats a time as used in facts, MDTM and MFMT (RFC 3659 §2.3).
pub(crate) fn utc(seconds: i64) -> String {
    format_time(seconds, "%Y%m%d%H%M%S")
}

/// Parses a time in that format.
pub(crate) fn parse_utc(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

/// Returns the line of `ls -l`, without its line end.
pub(crate) fn unix_line(name: &str, node: &Node) -> String {
    let letters = ["---", "--x", "-w-", "-wx", "r--", "r-x", "rw-", "rwx"];
    let mode: String = [6, 3, 0]
        .map(|shift| letters[(node.mode >> shift & 7) as usize])
        .concat();
    let kind = if node.is_directory() { 'd' } else { '-' };
    let is_recent = Timestamp::now().as_second() - node.modified < RECENT;
    let time = format_time(
        node.modified,
        if is_recent {
            "%b %e %H:%M"
        } else {
            "%b %e  %Y"
        },
    );
    format!(
        "{kind}{mode}    1 ftp      ftp      {:>12} {time} {name}",
        node.size()
    )
}

/// Returns the lines of `ls -l` or `ls -la` for a directory or a file; None if it does not exist.
pub(crate) fn unix(tree: &FileTree, path: &str, with_dots: bool) -> Option<String> {
    let node = tree.node(path)?;
    if !node.is_directory() {
        return Some(unix_line(path, node) + "\r\n");
    }
    let mut lines = Vec::new();
    if with_dots {
        lines.push(unix_line(".", node));
        lines.push(unix_line("..", node));
    }
    lines.extend(
        tree.children(path)
            .map(|(name, node)| unix_line(name, node)),
    );
    Some(lines.iter().map(|line| format!("{line}\r\n")).collect())
}

/// Returns the lines of MLSD; None if the path is not a directory.
pub(crate) fn machine(tree: &FileTree, path: &str) -> Option<String> {
    let node = tree.node(path).filter(|node| node.is_directory())?;
    let own = facts(node).replace("type=dir", "type=cdir");
    let entries = tree
        .children(path)
        .map(|(name, node)| format!("{}{name}\r\n", facts(node)));
    Some(format!("{own}.\r\n") + &entries.collect::<String>())
}

/// Returns the lines of NLST.
pub(crate) fn names(tree: &FileTree, path: &str) -> Option<String> {
    tree.node(path).filter(|node| node.is_directory())?;
    Some(
        tree.names(path)
            .iter()
            .map(|name| format!("{name}\r\n"))
            .collect(),
    )
}

fn format_time(seconds: i64, format: &str) -> String {
    let time = Timestamp::from_second(seconds).unwrap();
    time.strftime(format).to_string()
}

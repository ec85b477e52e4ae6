//! Whole lines of real servers and dialects, and hostile ones.

use std::fmt::Write as _;

use jiff::tz::Offset;
use proptest::prelude::*;

use super::*;

/// 2026-11-23T12:00 UTC, the moment for which the fixtures' dates are given.
const NOW: i64 = 1_795_435_200;

/// `format`, the raw line (`\t` is a tab, `\xNN` a byte), and what it means:
/// `name|kind|size|time|mode|owner|group|target`, separated by tabs.
const FIXTURES: [(&str, &str); 5] = [
    (
        "dialects",
        include_str!("../../../tests/fixtures/listing/dialects.txt"),
    ),
    (
        "vsftpd",
        include_str!("../../../tests/fixtures/listing/vsftpd.txt"),
    ),
    (
        "proftpd",
        include_str!("../../../tests/fixtures/listing/proftpd.txt"),
    ),
    (
        "pure-ftpd",
        include_str!("../../../tests/fixtures/listing/pure-ftpd.txt"),
    ),
    (
        "pyftpdlib",
        include_str!("../../../tests/fixtures/listing/pyftpdlib.txt"),
    ),
];

/// Dialect, line and a shorter meaning: `name|kind|size|time|target`.
const SAMPLES: &str = include_str!("../../../tests/fixtures/listing/samples.txt");

/// Dialect, line and a shorter meaning; the lines of a dialect are one listing.
const SYSTEMS: &str = include_str!("../../../tests/fixtures/listing/systems.txt");

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', b't', rest @ ..] => {
                bytes.push(b'\t');
                rest
            }
            [b'\\', b'r', rest @ ..] => {
                bytes.push(b'\r');
                rest
            }
            [b'\\', b'0', rest @ ..] => {
                bytes.push(0);
                rest
            }
            [b'\\', b'x', high, low, rest @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

fn shown(bytes: Option<&Vec<u8>>) -> String {
    let mut text = String::new();
    for chunk in bytes.map_or(b"-".as_slice(), Vec::as_slice).utf8_chunks() {
        text.push_str(&chunk.valid().replace('\t', "\\t"));
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").unwrap();
        }
    }
    text
}

fn described(line: &Line) -> String {
    let entry = match line {
        Line::Entry(entry) => entry,
        Line::Itself | Line::Skip => return "skip".to_owned(),
        Line::Dropped(_) => return "drop".to_owned(),
        Line::Unparsable => return "unparsable".to_owned(),
        Line::Held(_) => return "held".to_owned(),
    };
    let time = entry.modified.map_or("-".to_owned(), |modified| {
        let timestamp = jiff::Timestamp::from_second(modified.seconds).unwrap();
        let form = match modified.precision {
            Precision::Second => "%Y-%m-%dT%H:%M:%S",
            Precision::Minute => "%Y-%m-%dT%H:%M",
            Precision::Day => "%Y-%m-%d",
        };
        let zone = if modified.utc { "Z" } else { "" };
        format!(
            "{}{zone}",
            Offset::UTC.to_datetime(timestamp).strftime(form)
        )
    });
    let kind = match entry.kind {
        Kind::File => "file",
        Kind::Directory => "dir",
        Kind::Symlink => "link",
        Kind::Special => "special",
        Kind::Unknown => "unknown",
    };
    [
        shown(Some(&entry.name)),
        kind.to_owned(),
        entry.size.map_or("-".to_owned(), |size| size.to_string()),
        time,
        entry
            .mode
            .map_or("-".to_owned(), |mode| format!("{mode:o}")),
        shown(entry.owner.as_ref()),
        shown(entry.group.as_ref()),
        shown(entry.target.as_ref()),
    ]
    .join("|")
}

#[test]
fn every_recorded_line_means_what_the_fixtures_say() {
    for (file, table) in FIXTURES {
        let mut lines = 0;
        for row in table.lines().filter(|row| !row.starts_with('#')) {
            let [format, line, meaning] = *row.split('\t').collect::<Vec<_>>() else {
                panic!("{file}: not three columns: {row}");
            };
            let format = match format {
                "mlsd" => Format::Mlsd,
                "list" => Format::List,
                other => panic!("{file}: no such format: {other}"),
            };
            let parsed = parse_line(&unescaped(line), format, NOW);
            assert_eq!(described(&parsed), meaning, "{file}: {line}");
            lines += 1;
        }
        assert!(lines > 20, "{file} has only {lines} lines");
    }
}

#[test]
fn every_sample_means_what_it_says() {
    let mut lines = 0;
    for row in SAMPLES.lines().filter(|row| !row.starts_with('#')) {
        let [dialect, line, meaning] = *row.split('\t').collect::<Vec<_>>() else {
            panic!("not three columns: {row}");
        };
        let format = match dialect {
            "mlsd" => Format::Mlsd,
            _ => Format::List,
        };
        let parsed = parse_line(&unescaped(line), format, NOW);
        assert_eq!(briefly(&parsed), meaning, "{line}");
        lines += 1;
    }
    assert!(lines > 60, "only {lines} samples were read");
}

/// What a line means, without what most dialects do not tell.
fn briefly(line: &Line) -> String {
    let long = described(line);
    match *long.split('|').collect::<Vec<_>>() {
        [name, kind, size, time, _, _, _, target] => {
            [name, kind, size, time.trim_end_matches('Z'), target].join("|")
        }
        _ => format!("-|{long}|-|-|-"),
    }
}

/// What came of each line of a listing, entries first, in no order.
fn listed(lines: &[Vec<u8>], format: Format) -> Vec<String> {
    let mut reader = ListingReader::new(format, NOW);
    let read: Vec<_> = lines.iter().map(|line| reader.line(line)).collect();
    let shown = read
        .into_iter()
        .filter(|line| !matches!(line, Line::Held(_)));
    let mut all: Vec<_> = shown
        .chain(reader.finish())
        .map(|line| briefly(&line))
        .collect();
    all.retain(|meaning| meaning != "-|skip|-|-|-");
    all.sort();
    all
}

#[test]
fn every_listing_of_another_system_means_what_it_says() {
    let rows = SYSTEMS.lines().filter(|row| !row.starts_with('#'));
    let rows: Vec<_> = rows
        .map(|row| row.split('\t').collect::<Vec<_>>())
        .collect();
    assert!(rows.len() > 120, "only {} lines were read", rows.len());
    let same = |one: &Vec<&str>, other: &Vec<&str>| one[0] == other[0];
    for listing in rows.chunk_by(same) {
        let format = match listing[0][0] {
            "mlsd" => Format::Mlsd,
            _ => Format::List,
        };
        let lines: Vec<_> = listing.iter().map(|row| unescaped(row[1])).collect();
        let mut expected: Vec<_> = listing.iter().map(|row| row[2].to_owned()).collect();
        expected.retain(|meaning| meaning != "-|skip|-|-|-");
        expected.sort();
        assert_eq!(listed(&lines, format), expected, "{}", listing[0][0]);
    }
}

/// Variants of what the fixtures hold: a listing, and the meanings of its lines that give an entry.
const VARIANTS: &[(&[&str], &[&str])] = &[
    // Unix: other languages, widths, owners and sizes.
    (
        &["-rw-r--r--   1 u g  640 26. Juli, 20:10 a"],
        &["a|file|640|2026-07-26T20:10|-"],
    ),
    (
        &["-rw-r--r--   1 u g  640 Oct 08, 2002 09:47 a b"],
        &["a b|file|640|2002-10-08T09:47|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 24-04-2003 17:12 a",
            "-rw-r--r--   1 u g  640 05-04-2003 17:12 b",
        ],
        &[
            "a|file|640|2003-04-24T17:12|-",
            "b|file|640|2003-04-05T17:12|-",
        ],
    ),
    (
        &[
            "-rw-r--r--   1 u g  1.2M Jun 11  2019 a",
            "-rw-r--r--   1 u g  1.2 MB Jun 11  2019 b",
        ],
        &["a|file|-|2019-06-11|-", "b|file|-|2019-06-11|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 Jan 32  2019 a",
            "-rw-r--r--   1 u g  640 32 Jan 12:00 b",
        ],
        &["a|file|640|-|-", "b|file|640|-|-"],
    ),
    (
        &[
            "drwxr-xr-x   1 u g  - 3 févr. 2018 07:08 a/",
            "-rw-r--r-- 1 u g 7 12 дек. 2019 23:59 b",
        ],
        &["a|dir|-|2018-02-03T07:08|-", "b|file|7|2019-12-12T23:59|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 2019年12月31日 23:59 a",
            "-rw-r--r-- 1 u g 7 2019년 1월 2일 b",
        ],
        &["a|file|640|2019-12-31T23:59|-", "b|file|7|2019-01-02|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 2019-03-07T22:14:05-0330 a",
            "-rw-r--r-- 1 u g 7 20190307221405 b",
        ],
        &[
            "a|file|640|2019-03-08T01:44:05|-",
            "b|file|7|2019-03-07T22:14:05|-",
        ],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 lör feb 29 06:07:08 2020 a",
            "-rw-r--r-- 1 u g 7 Tue Mar  3 06:07:08 UTC 2020 b",
        ],
        &[
            "a|file|640|2020-02-29T06:07:08|-",
            "b|file|7|2020-03-03T06:07:08|-",
        ],
    ),
    // A name may begin with what looks like a time.
    (
        &[
            "-rw-r--r--   1 u g  640 May  4  2018 09:41 talk",
            "-rw-r--r--   1 u g  640 Jan 29 03:26 am report",
        ],
        &[
            "09:41 talk|file|640|2018-05-04|-",
            "am report|file|640|2026-01-29T03:26|-",
        ],
    ),
    (
        &["99 4 drwxr-xr-x   2 u g  64 Jan 29 03:26 a"],
        &["a|dir|-|2026-01-29T03:26|-"],
    ),
    (
        &["-rw-r--r--   1 u g  640 Jan 29 03:26 a\\r\\r"],
        &["a|file|640|2026-01-29T03:26|-"],
    ),
    // `ls -F` needs every directory to have its slash.
    (
        &[
            "drwxr-xr-x 2 u g 4 Jan 12  2019 d/",
            "drwxr-xr-x 2 u g 4 Jan 12  2019 e",
            "-rwxr-xr-x 1 u g 8 Jan 12  2019 run*",
        ],
        &[
            "d|dir|-|2019-01-12|-",
            "e|dir|-|2019-01-12|-",
            "run*|file|8|2019-01-12|-",
        ],
    ),
    (
        &[
            "-rwxr-xr-x 1 u g 8 Jan 12  2019 run*",
            "-rw-r--r-- 1 u g 8 Jan 12  2019 b*",
            "drwxr-xr-x 2 u g 4 Jan 12  2019 ./",
        ],
        &["run|file|8|2019-01-12|-", "b*|file|8|2019-01-12|-"],
    ),
    (
        &["-rwxr-xr-x 1 u g 8 Jan 12  2019 run*"],
        &["run*|file|8|2019-01-12|-"],
    ),
    // VMS: the newest version, wherever it stands; a name without columns.
    (
        &[
            "Directory DISK$A:<PUB>",
            "A.TXT;2 4/6 9-MAY-2011 08:30",
            "B.C;1",
            "A.TXT;10 4/6 9-JUN-2012 08:30",
            "Total of 3 files, 8/12 blocks.",
        ],
        &["A.TXT|file|-|2012-06-09T08:30|-", "B.C|file|-|-|-"],
    ),
    (
        &[
            "A_VERY_LONG_NAME_OF_SOMETHING.TXT;1",
            "      %RMS-E-PRV, insufficient privilege",
            "X.DIR;1 1 2-SEP-2011 08:15:00",
        ],
        &[
            "A_VERY_LONG_NAME_OF_SOMETHING.TXT|file|-|-|-",
            "X|dir|-|2011-09-02T08:15:00|-",
        ],
    ),
    // Dates of numbers, settled by another line.
    (
        &[
            "ANNE 640 04/05/06 10:11:12 *STMF a",
            "ANNE 640 30/05/06 10:11:12 *STMF b",
        ],
        &[
            "a|file|640|2006-05-04T10:11:12|-",
            "b|file|640|2006-05-30T10:11:12|-",
        ],
    ),
    (
        &[
            "25/03/2018  09:41    <DIR>          a",
            "05/04/2018  09:41                 7 b",
        ],
        &["a|dir|-|2018-03-25T09:41|-", "b|file|7|2018-04-05T09:41|-"],
    ),
    (
        &[
            "  77   DIR   09-14-99   06:05  A",
            "  0  RASH  01-02-119  19:45  b c",
        ],
        &[
            "A|dir|-|1999-09-14T06:05|-",
            "b c|file|0|2019-01-02T19:45|-",
        ],
    ),
    // Dialects mixed in one listing.
    (
        &[
            "total 3",
            "-rw-r--r-- 1 u g 5 Jan 29 03:26 a",
            "04-27-00  09:09PM       <DIR>          b",
            "type=file;size=3; c",
            "+r,s1,\\td",
        ],
        &[
            "a|file|5|2026-01-29T03:26|-",
            "b|dir|-|2000-04-27T21:09|-",
            "c|file|3|-|-",
            "d|file|1|-|-",
        ],
    ),
    // Only the first line is a sum without saying so: others may be names with sizes.
    (
        &[
            "gesamt 48",
            "-rw-r--r-- 1 u g 5 Jan 29 03:26 a",
            "README 531",
            " 1234 name 5",
        ],
        &[
            "a|file|5|2026-01-29T03:26|-",
            "-|unparsable|-|-|-",
            "-|unparsable|-|-|-",
        ],
    ),
    // Below a heading as without it, Unix's lines are Unix's.
    (
        &[
            " Name      VV.MM   Created       Changed       Size  Init   Mod   Id",
            "-rw-r--r-- 1 u g 5 Jan 29 03:26 a",
            "MEMBER",
        ],
        &["a|file|5|2026-01-29T03:26|-", "-|unparsable|-|-|-"],
    ),
];

#[test]
fn variants_of_the_recorded_forms_are_read_alike() {
    for (lines, meanings) in VARIANTS {
        let lines: Vec<_> = lines.iter().map(|line| unescaped(line)).collect();
        let mut expected: Vec<_> = meanings.iter().map(|it| (*it).to_owned()).collect();
        expected.sort();
        assert_eq!(listed(&lines, Format::List), expected);
    }
}

#[test]
fn mlst_names_the_last_component_of_the_path_it_shows() {
    let name = |line: &str| parse_mlst(line.as_bytes()).map(|entry| entry.name);
    assert_eq!(name(" type=file;size=1; /a/b c"), Some(b"b c".to_vec()));
    assert_eq!(name("type=file;size=1; b"), Some(b"b".to_vec()));
    assert_eq!(name(" type=dir; /"), Some(Vec::new()));
    assert_eq!(name(" type=cdir; ."), Some(Vec::new()));
    assert_eq!(name("250 End"), None);
}

#[test]
fn what_a_server_made_too_long_is_not_kept() {
    let line = format!("type=OS.unix=slink:{}; x", "t".repeat(TARGET_MAX + 1));
    let Line::Entry(entry) = parse_line(line.as_bytes(), Format::Mlsd, NOW) else {
        panic!("a link is an entry");
    };
    assert_eq!(entry.target, None);
    let long = format!("type=file; {}", "n".repeat(256));
    let dropped = parse_line(long.as_bytes(), Format::Mlsd, NOW);
    assert_eq!(dropped, Line::Dropped("its name is longer than 255 bytes"));
}

/// Lines made of the pieces that the grammars look for, so that random ones reach deep.
fn hostile_line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "-rw-r--r--",
            "drwxr-xr-x",
            "lrwxrwxrwx",
            "crw-------",
            "d [R----F--]",
            " ",
            "  ",
            "\t",
            "1",
            "0",
            "512",
            "1,",
            "99999999999999999999",
            "Jan",
            "d\u{e9}c.",
            "11月",
            "29",
            "31",
            "03:26",
            "24:61",
            "2024",
            "9999",
            "0000-00-00",
            "2024-05-06",
            "07:08:09.000",
            "+0200",
            "+9999",
            " -> ",
            "->",
            "/",
            "..",
            ".",
            "\0",
            "\r",
            "\n",
            "04-27-00",
            "09:09PM",
            "<DIR>",
            "<JUNCTION>",
            "[c:\\x]",
            "+",
            "i1,",
            "m1,",
            "s1,",
            "r,",
            "type=",
            "file",
            "dir",
            "cdir",
            "OS.unix=slink:",
            "size=",
            "modify=",
            "20230102030405",
            "unique=",
            "UNIX.mode=",
            ";",
            "; ",
            "=",
            "total",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_line_is_a_panic_or_an_unsafe_name(line in hostile_line(), now in any::<i64>()) {
        for format in [Format::Mlsd, Format::List] {
            if let Line::Entry(entry) = parse_line(&line, format, now) {
                prop_assert_eq!(check_name(&entry.name), Ok(()));
                prop_assert!(entry.mode.is_none_or(|mode| mode <= 0o7777));
                prop_assert!(entry.target.is_none_or(|target| target.len() <= TARGET_MAX));
            }
        }
        if let Some(entry) = parse_mlst(&line) {
            prop_assert!(entry.name.is_empty() || check_name(&entry.name).is_ok());
        }
    }

    #[test]
    fn any_name_that_can_be_sent_survives_both_formats(
        name in prop::collection::vec(any::<u8>(), 1..=255)
            .prop_filter("a name", |name| check_name(name).is_ok()),
    ) {
        let lines = [
            (Format::Mlsd, [b"type=file;size=1; ".as_slice(), &name].concat()),
            (Format::List, [b"-rw-r--r-- 1 u g 1 Jan 29 03:26 ".as_slice(), &name].concat()),
            (Format::List, [b"-rw-r--r-- 1 u g 1 Jan 29  2021 ".as_slice(), &name].concat()),
            (Format::List, [b"04-27-00  09:09PM      1 ".as_slice(), &name].concat()),
            (Format::List, [b"+r,s1,\t".as_slice(), &name].concat()),
        ];
        for (format, line) in lines {
            match parse_line(&line, format, NOW) {
                Line::Entry(entry) => prop_assert_eq!(&entry.name, &name),
                other => prop_assert!(false, "{:?}: {:?}", line, other),
            }
        }
    }
}

//! Complete lines of real servers and dialects, and hostile ones.

mod variants;

use std::fmt::Write as _;

use jiff::tz::Offset;
use proptest::prelude::*;

use super::*;

/// 2026-11-23T12:00 UTC, the time to which the dates in the fixtures refer.
const NOW: i64 = 1_795_435_200;

/// Fixtures: `format`, the raw line (`\t` is a tab, `\xNN` a byte), and its meaning:
/// `name|kind|size|time|mode|owner|group|target`, separated by tabs.
const FIXTURES: [(&str, &str); 5] = [
    (
        "dialects",
        include_str!("../../../../tests/fixtures/listing/dialects.txt"),
    ),
    (
        "vsftpd",
        include_str!("../../../../tests/fixtures/listing/vsftpd.txt"),
    ),
    (
        "proftpd",
        include_str!("../../../../tests/fixtures/listing/proftpd.txt"),
    ),
    (
        "pure-ftpd",
        include_str!("../../../../tests/fixtures/listing/pure-ftpd.txt"),
    ),
    (
        "pyftpdlib",
        include_str!("../../../../tests/fixtures/listing/pyftpdlib.txt"),
    ),
];

/// Dialect, line and a shorter meaning: `name|kind|size|time|target`.
const SAMPLES: &str = include_str!("../../../../tests/fixtures/listing/samples.txt");

/// Dialect, line and a shorter meaning. The lines of a dialect form one listing.
const SYSTEMS: &str = include_str!("../../../../tests/fixtures/listing/systems.txt");

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

fn escaped(bytes: Option<&[u8]>) -> String {
    let mut text = String::new();
    for chunk in bytes.unwrap_or(b"-").utf8_chunks() {
        text.push_str(&chunk.valid().replace('\t', "\\t"));
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").unwrap();
        }
    }
    text
}

fn described(line: &ListingLine) -> String {
    let entry = match line {
        ListingLine::Entry(entry) => entry,
        ListingLine::Itself(_) | ListingLine::Skip => return "skip".to_owned(),
        ListingLine::Dropped(_) => return "drop".to_owned(),
        ListingLine::Unparsable => return "unparsable".to_owned(),
        ListingLine::Held(_) => return "held".to_owned(),
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
        escaped(Some(&entry.name)),
        kind.to_owned(),
        entry.size.map_or("-".to_owned(), |size| size.to_string()),
        time,
        entry
            .mode
            .map_or("-".to_owned(), |mode| format!("{mode:o}")),
        escaped(entry.owner.as_deref()),
        escaped(entry.group.as_deref()),
        escaped(entry.target.as_deref()),
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

/// Formats the meaning of a line without values that most dialects lack.
fn briefly(line: &ListingLine) -> String {
    let long = described(line);
    match *long.split('|').collect::<Vec<_>>() {
        [name, kind, size, time, _, _, _, target] => {
            [name, kind, size, time.trim_end_matches('Z'), target].join("|")
        }
        _ => format!("-|{long}|-|-|-"),
    }
}

/// Formats the meaning of each line of a listing, entries first, in no particular order.
fn listed(lines: &[Vec<u8>], format: Format) -> Vec<String> {
    let mut reader = ListingReader::new(format, NOW);
    let read: Vec<_> = lines.iter().map(|line| reader.line(line)).collect();
    let shown = read
        .into_iter()
        .filter(|line| !matches!(line, ListingLine::Held(_)));
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

#[test]
fn variants_of_the_recorded_forms_are_read_alike() {
    for (lines, meanings) in variants::VARIANTS {
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
    let ListingLine::Entry(entry) = parse_line(line.as_bytes(), Format::Mlsd, NOW) else {
        panic!("a link is an entry");
    };
    assert_eq!(entry.target, None);
    let long = format!("type=file; {}", "n".repeat(256));
    let dropped = parse_line(long.as_bytes(), Format::Mlsd, NOW);
    assert_eq!(
        dropped,
        ListingLine::Dropped("its name is longer than 255 bytes")
    );
}

/// Generates lines from elements of the grammars, so that random ones reach deep into the parsers.
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
            "LOGIN.COM;7",
            ";",
            "11-MAR-2009",
            "05/03/19",
            "27-03-2019",
            "*STMF",
            "*MEM",
            "rwxr-xr-x",
            "?????????",
            "0100640",
            "1456789012",
            "12.4M",
            "1,048,576",
            "2018年07月09日",
            "2019-03-07T22:14:05Z",
            "<A>+",
            "190307-2214",
            "Name VV.MM",
            "\"NUNU\"",
            "Feb 30, 98 12:61 pm",
            "*",
            "@",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// Generates listings of lines from the fixtures among hostile ones.
fn hostile_listing() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let rows = SYSTEMS.lines().filter(|row| !row.starts_with('#'));
    let lines = rows.filter_map(|row| row.split('\t').nth(1)).map(unescaped);
    let whole = prop::sample::select(lines.collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![whole, hostile_line()], 0..40)
}

proptest! {
    #[test]
    fn no_line_is_a_panic_or_an_unsafe_name(line in hostile_line(), now in any::<i64>()) {
        for format in [Format::Mlsd, Format::List] {
            if let ListingLine::Entry(entry) = parse_line(&line, format, now) {
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
    fn no_listing_is_a_panic_and_what_is_held_is_counted(
        lines in hostile_listing(),
        now in any::<i64>(),
    ) {
        let mut reader = ListingReader::new(Format::List, now);
        let mut counted = 0;
        for line in &lines {
            match reader.line(line) {
                ListingLine::Held(bytes) => counted += bytes,
                ListingLine::Entry(entry) => prop_assert_eq!(check_name(&entry.name), Ok(())),
                _ => {}
            }
        }
        for line in reader.finish() {
            if let ListingLine::Entry(entry) = line {
                prop_assert_eq!(check_name(&entry.name), Ok(()));
                let memory = entry.memory();
                prop_assert!(counted >= memory);
                counted -= memory;
            }
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
                ListingLine::Entry(entry) => prop_assert_eq!(&entry.name, &name),
                other => prop_assert!(false, "{:?}: {:?}", line, other),
            }
        }
    }
}

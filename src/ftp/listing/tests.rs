//! Lines as servers send them, and what they mean.

use proptest::prelude::*;

use super::*;

/// 2026-11-23T12:00:00Z.
const NOW: i64 = 1_795_435_200;

/// Dialect, line and meaning, tab-separated; see the file's head.
const SAMPLES: &str = include_str!("../../../tests/fixtures/listing/samples.txt");

fn described(line: &Line) -> String {
    match line {
        Line::Skip => "-|skip|-|-|-".to_owned(),
        Line::Dropped(_) => "-|drop|-|-|-".to_owned(),
        Line::Unparsable => "-|unparsable|-|-|-".to_owned(),
        Line::Entry(entry) => {
            let kind = match entry.kind {
                Kind::File => "file",
                Kind::Directory => "dir",
                Kind::Symlink => "link",
                Kind::Special => "special",
                Kind::Unknown => "unknown",
            };
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let time = entry.modified.map(|modified| {
                let time = jiff::Timestamp::from_second(modified.seconds).unwrap();
                let precise = match modified.precision {
                    Precision::Day => "%Y-%m-%d",
                    Precision::Minute => "%Y-%m-%dT%H:%M",
                    Precision::Second => "%Y-%m-%dT%H:%M:%S",
                };
                time.strftime(precise).to_string()
            });
            format!(
                "{}|{kind}|{}|{}|{}",
                shown(&entry.name),
                entry.size.map_or("-".to_owned(), |size| size.to_string()),
                time.unwrap_or("-".to_owned()),
                entry.target.as_deref().map_or("-".to_owned(), shown),
            )
        }
    }
}

#[test]
fn every_sample_means_what_it_says() {
    let mut count = 0;
    for sample in SAMPLES.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = sample.split('\t').collect();
        let [dialect, line, meaning] = fields.as_slice() else {
            panic!("three fields: {sample}")
        };
        let format = if *dialect == "mlsd" {
            Format::Mlsd
        } else {
            Format::List
        };
        let line = line.replace("\\t", "\t").replace("\\0", "\0");
        let parsed = parse_line(line.as_bytes(), format, NOW);
        assert_eq!(described(&parsed), *meaning, "{dialect}: {line}");
        count += 1;
    }
    assert!(count > 60, "only {count} samples were read");
}

#[test]
fn a_mode_is_read_with_its_special_bits() {
    for (bits, mode) in [
        ("rwxr-xr-x", 0o755),
        ("rwsr-sr-t", 0o7755),
        ("rwSr-Sr-T", 0o7644),
        ("---------", 0),
    ] {
        let line = format!("-{bits} 1 u g 1 Jan  1  2022 f");
        let Line::Entry(entry) = parse_line(line.as_bytes(), Format::List, NOW) else {
            panic!("{line}")
        };
        assert_eq!(entry.mode, Some(mode), "{line}");
    }
}

#[test]
fn owner_and_group_are_what_stands_before_the_size() {
    let owners = |line: &str| {
        let Line::Entry(entry) = parse_line(line.as_bytes(), Format::List, NOW) else {
            panic!("{line}")
        };
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
        (text(entry.owner), text(entry.group))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        owners("-rw-r--r-- 1 me us 5 Jan  1  2022 f"),
        (some("me"), some("us"))
    );
    assert_eq!(
        owners("-rw-r--r-- 1 1000 100 5 Jan  1  2022 f"),
        (some("1000"), some("100"))
    );
    assert_eq!(
        owners("-rw-r--r-- 1 me 5 Jan  1  2022 f"),
        (some("me"), None)
    );
    assert_eq!(
        owners("-rw-r--r-- 1 Domain Users us 5 Jan  1  2022 f"),
        (some("Domain Users"), some("us"))
    );
}

#[test]
fn facts_are_read_in_any_case() {
    let line = b"TYPE=file;Size=7;UNIX.Mode=0640;unix.OWNER=me;Unix.gid=9;Unique=8U1; f";
    let Line::Entry(entry) = parse_line(line, Format::Mlsd, NOW) else {
        panic!()
    };
    assert_eq!(
        (entry.kind, entry.size, entry.mode),
        (Kind::File, Some(7), Some(0o640))
    );
    assert_eq!(entry.owner.as_deref(), Some(b"me".as_slice()));
    assert_eq!(entry.group.as_deref(), Some(b"9".as_slice()));
    assert_eq!(entry.unique.as_deref(), Some(b"8U1".as_slice()));
}

#[test]
fn a_mode_may_be_written_as_python_writes_it() {
    let entry = parse_mlst(b" type=file;size=5;unix.mode=0o755; /f").unwrap();
    assert_eq!(entry.mode, Some(0o755));
}

#[test]
fn an_mlst_line_may_tell_a_directory_of_itself() {
    let entry = parse_mlst(b" type=cdir;modify=20230102030405;UNIX.mode=0750; /pub").unwrap();
    assert_eq!((entry.kind, entry.mode), (Kind::Directory, Some(0o750)));
    let entry = parse_mlst(b" type=file;size=5; /pub/f").unwrap();
    assert_eq!((entry.kind, entry.size), (Kind::File, Some(5)));
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic_or_give_a_name_that_cannot_be_used(
        line in proptest::collection::vec(any::<u8>(), 0..300),
        now in any::<i64>(),
    ) {
        for format in [Format::Mlsd, Format::List] {
            if let Line::Entry(entry) = parse_line(&line, format, now) {
                prop_assert!(check_name(&entry.name).is_ok());
            }
        }
        let _ = parse_mlst(&line);
    }

    #[test]
    fn almost_a_line_makes_no_parser_panic(
        line in "[-dlbc+][-rwxsStT]{0,10}[+.@]? [ 0-9a-zA-Z,:.<>/;=é月-]{0,80}",
        now in -1_000_000_000_000..1_000_000_000_000_i64,
    ) {
        for format in [Format::Mlsd, Format::List] {
            if let Line::Entry(entry) = parse_line(line.as_bytes(), format, now) {
                prop_assert!(check_name(&entry.name).is_ok());
            }
        }
    }
}

//! One line of the log: a word, then tab-separated fields. Bytes that could end a field or a line
//! are escaped.

use super::change::{Domains, NameChange};
use super::change_fields::{list, put_change, to_change, to_list};
use super::fields::{moment, option, put, to_moment, to_number, to_option, to_path, unescape};
use super::unproven::UnprovenUpload;
use crate::ftp::{RemotePath, Version};

/// A fact that the next mount needs, or that makes an earlier record obsolete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// An unfinished upload is, or will be, at this path.
    Part(RemotePath),
    /// A file is, or will be, moved to the first path from the second. The successor takes its
    /// place, if known.
    Aside(RemotePath, RemotePath, Option<Version>),
    /// Nothing is at this temporary path any more.
    Gone(RemotePath),
    /// The file at this path is being overwritten in place.
    InPlace(RemotePath),
    /// The spool file with this number holds data for this path.
    Open(u64, RemotePath),
    /// The upload of this spool file is pending.
    Pending(u64, Pending),
    /// The server may have these contents of the file whose upload is pending. Part of the record
    /// of that, as a line of its own that older versions skip.
    Unproven(u64, Vec<UnprovenUpload>),
    /// The upload of this spool file is no longer pending.
    Settled(u64),
    /// This spool file was removed.
    Closed(u64),
    /// From here on, each line has a checksum, and the order of the records matters
    /// (`-o writeback=names`).
    Ordered,
    /// A program made this change, which has a number, and took over these domains.
    Change(u64, NameChange, Domains),
    /// This change, which stands for those with the numbers, is about to be sent.
    Begun(Vec<u64>, NameChange, Domains),
    /// The change of [`Self::Begun`] was not made, and will be sent again.
    Undone(Vec<u64>),
    /// The changes with these numbers were made, or are given up.
    Ended(Vec<u64>),
}

/// A spool file that replaces a file on the server, or continues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Path on the server.
    pub target: RemotePath,
    /// Size of the spool file, and the attributes to set.
    pub commit: CommitOptions,
    /// The version at `target` that the data replaces, or `None` if there was no file.
    pub base: Option<Version>,
    /// Offset from which the spool file has the contents, if the server has the bytes before it:
    /// the size of `base`. The rest is appended there.
    pub appended_from: Option<u64>,
    /// Earlier contents that the server may have instead of `base`: it did not answer when their
    /// upload was completed.
    pub(crate) unproven: Vec<UnprovenUpload>,
}

/// What the server is to have when an upload is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitOptions {
    /// Size in bytes that must have arrived.
    pub size: u64,
    /// Modification time to set, in seconds since the epoch; best effort.
    pub modified: Option<i64>,
    /// Mode to set; best effort.
    pub mode: Option<u32>,
}

impl Record {
    /// Formats the record as a line with its line end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        match self {
            Self::Part(path) => put(&mut line, "part", &[path.as_bytes()]),
            Self::Aside(aside, target, None) => {
                put(&mut line, "aside", &[aside.as_bytes(), target.as_bytes()]);
            }
            Self::Aside(aside, target, Some(successor)) => {
                let fields = [
                    option(successor.size),
                    option(successor.modified.map(moment)),
                    successor.unique.to_string(),
                ];
                let mut all = vec![aside.as_bytes(), target.as_bytes()];
                all.extend(fields.iter().map(String::as_bytes));
                put(&mut line, "aside", &all);
            }
            Self::Gone(path) => put(&mut line, "gone", &[path.as_bytes()]),
            Self::InPlace(path) => put(&mut line, "inplace", &[path.as_bytes()]),
            Self::Open(number, path) => {
                put(
                    &mut line,
                    "open",
                    &[number.to_string().as_bytes(), path.as_bytes()],
                );
            }
            Self::Pending(number, pending) => {
                put_pending(&mut line, *number, pending);
                if !pending.unproven.is_empty() {
                    put_unproven(&mut line, *number, &pending.unproven);
                }
            }
            Self::Unproven(number, uploads) => put_unproven(&mut line, *number, uploads),
            Self::Settled(number) => put(&mut line, "settled", &[number.to_string().as_bytes()]),
            Self::Closed(number) => put(&mut line, "closed", &[number.to_string().as_bytes()]),
            Self::Ordered => put(&mut line, "ordered", &[]),
            Self::Change(number, change, domains) => {
                put_change(&mut line, "op", &[*number], (change, domains));
            }
            Self::Begun(numbers, change, domains) => {
                put_change(&mut line, "begin", numbers, (change, domains));
            }
            Self::Undone(numbers) => put(&mut line, "undone", &[list(numbers).as_bytes()]),
            Self::Ended(numbers) => put(&mut line, "done", &[list(numbers).as_bytes()]),
        }
        line
    }

    /// Formats the record as a line, or two, that ends with a checksum.
    pub(super) fn to_checked_line(&self) -> Vec<u8> {
        let text = self.to_line();
        let lines = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut checked = Vec::with_capacity(text.len() + 16);
        for line in lines.split(|byte| *byte == b'\n') {
            checked.extend_from_slice(line);
            let checksum = crc32fast::hash(line);
            checked.extend_from_slice(format!("\t={checksum:08x}\n").as_bytes());
        }
        checked
    }

    /// Parses a line of [`Self::to_checked_line`] without its line end, if its checksum is right.
    pub(super) fn parse_checked(line: &[u8]) -> Option<Self> {
        let tab = line.iter().rposition(|byte| *byte == b'\t')?;
        let (content, [b'\t', b'=', checksum @ ..]) = line.split_at(tab) else {
            return None;
        };
        let expected = format!("{:08x}", crc32fast::hash(content));
        Self::parse(content).filter(|_| checksum == expected.as_bytes())
    }

    /// Parses a line without its line end. Returns `None` if it is not a complete record.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let fields: Option<Vec<_>> = line.split(|byte| *byte == b'\t').map(unescape).collect();
        let fields = fields?;
        let (word, rest) = fields.split_first()?;
        match (word.as_slice(), rest) {
            (b"part", [path]) => Some(Self::Part(to_path(path)?)),
            (b"aside", [aside, target]) => {
                Some(Self::Aside(to_path(aside)?, to_path(target)?, None))
            }
            (b"aside", [aside, target, size, modified, unique]) => {
                let successor = Version {
                    size: to_option(size)?,
                    modified: to_moment(modified)?,
                    unique: to_number(unique)?,
                };
                Some(Self::Aside(
                    to_path(aside)?,
                    to_path(target)?,
                    Some(successor),
                ))
            }
            (b"gone", [path]) => Some(Self::Gone(to_path(path)?)),
            (b"inplace", [path]) => Some(Self::InPlace(to_path(path)?)),
            (b"open", [number, path]) => Some(Self::Open(to_number(number)?, to_path(path)?)),
            (b"pending", [number, rest @ ..]) => {
                Some(Self::Pending(to_number(number)?, to_pending(rest)?))
            }
            (b"append", [number, rest @ ..]) => {
                Some(Self::Pending(to_number(number)?, to_appended(rest)?))
            }
            (b"unproven", [number, uploads @ ..]) => {
                let uploads = uploads.iter();
                let uploads = uploads.map(|field| UnprovenUpload::from_field(field));
                Some(Self::Unproven(
                    to_number(number)?,
                    uploads.collect::<Option<_>>()?,
                ))
            }
            (b"settled", [number]) => Some(Self::Settled(to_number(number)?)),
            (b"closed", [number]) => Some(Self::Closed(to_number(number)?)),
            (b"ordered", []) => Some(Self::Ordered),
            (b"op", [number, change @ ..]) => {
                let (change, domains) = to_change(change)?;
                Some(Self::Change(to_number(number)?, change, domains))
            }
            (b"begin", [numbers, change @ ..]) => {
                let (change, domains) = to_change(change)?;
                Some(Self::Begun(to_list(numbers)?, change, domains))
            }
            (b"undone", [numbers]) => Some(Self::Undone(to_list(numbers)?)),
            (b"done", [numbers]) => Some(Self::Ended(to_list(numbers)?)),
            _ => None,
        }
    }
}

fn put_pending(line: &mut Vec<u8>, number: u64, pending: &Pending) {
    let Pending {
        target,
        commit,
        base,
        appended_from,
        unproven: _,
    } = pending;
    if let Some(from) = appended_from {
        return put_appended(line, number, pending, *from);
    }
    let kind = if base.is_some() { "file" } else { "absent" };
    let base = base.unwrap_or_default();
    let fields = [
        number.to_string(),
        commit.size.to_string(),
        option(commit.mode),
        option(commit.modified),
        kind.to_owned(),
        option(base.size),
        option(base.modified.map(moment)),
    ];
    // The unique fact holds for one connection only (RFC 3659 §7.5.2): a server that restarts may
    // have others.
    let mut fields: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
    fields.push(target.as_bytes());
    put(line, "pending", &fields);
}

/// Formats `append NUMBER FROM LENGTH`, the attributes to set, and the time of the file that is
/// continued. A version that does not know the word takes the spool file for an unfinished one.
fn put_appended(line: &mut Vec<u8>, number: u64, pending: &Pending, from: u64) {
    let Pending {
        target,
        commit,
        base,
        ..
    } = pending;
    let fields = [
        number.to_string(),
        from.to_string(),
        commit.size.saturating_sub(from).to_string(),
        option(commit.mode),
        option(commit.modified),
        option(base.and_then(|base| base.modified).map(moment)),
    ];
    let mut fields: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
    fields.push(target.as_bytes());
    put(line, "append", &fields);
}

fn put_unproven(line: &mut Vec<u8>, number: u64, uploads: &[UnprovenUpload]) {
    let number = number.to_string();
    let uploads: Vec<_> = uploads.iter().map(UnprovenUpload::to_field).collect();
    let mut fields = vec![number.as_bytes()];
    fields.extend(uploads.iter().map(String::as_bytes));
    put(line, "unproven", &fields);
}

fn to_appended(fields: &[Vec<u8>]) -> Option<Pending> {
    let [from, length, mode, modified, old_modified, target] = fields else {
        return None;
    };
    let (from, length): (u64, u64) = (to_number(from)?, to_number(length)?);
    Some(Pending {
        target: to_path(target)?,
        commit: CommitOptions {
            size: from.checked_add(length)?,
            modified: to_option(modified)?,
            mode: to_option(mode)?,
        },
        base: Some(Version {
            size: Some(from),
            modified: to_moment(old_modified)?,
            unique: 0,
        }),
        appended_from: Some(from),
        unproven: Vec::new(),
    })
}

fn to_pending(fields: &[Vec<u8>]) -> Option<Pending> {
    let [size, mode, modified, kind, old_size, old_modified, target] = fields else {
        return None;
    };
    let base = match kind.as_slice() {
        b"absent" => None,
        b"file" => Some(Version {
            size: to_option(old_size)?,
            modified: to_moment(old_modified)?,
            unique: 0,
        }),
        _ => return None,
    };
    Some(Pending {
        target: to_path(target)?,
        commit: CommitOptions {
            size: to_number(size)?,
            modified: to_option(modified)?,
            mode: to_option(mode)?,
        },
        base,
        appended_from: None,
        unproven: Vec::new(),
    })
}

/// Random paths and versions.
#[cfg(test)]
pub(super) mod strategies {
    use proptest::prelude::*;

    use super::*;
    use crate::ftp::Precision;

    pub(in crate::journal) fn path() -> impl Strategy<Value = RemotePath> {
        proptest::collection::vec(1_u8.., 1..20)
            .prop_filter_map("no path", |bytes| RemotePath::new(&bytes).ok())
    }

    fn moment() -> impl Strategy<Value = (i64, Precision)> {
        let precision = prop_oneof![
            Just(Precision::Second),
            Just(Precision::Minute),
            Just(Precision::Day),
        ];
        (any::<i64>(), precision)
    }

    pub(in crate::journal) fn version() -> impl Strategy<Value = Version> {
        let modified = proptest::option::of(moment());
        let unique = prop_oneof![Just(0), any::<u64>()];
        (any::<Option<u64>>(), modified, unique).prop_map(|(size, modified, unique)| Version {
            size,
            modified,
            unique,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::change_fields::strategies::{change, domains};
    use super::strategies::{path, version};
    use super::*;
    use crate::ftp::Precision;

    fn pending() -> impl Strategy<Value = Pending> {
        let commit = any::<(u64, Option<i64>, Option<u32>)>();
        let commit = commit.prop_map(|(size, modified, mode)| CommitOptions {
            size,
            modified,
            mode,
        });
        let base = version().prop_map(|version| Version {
            unique: 0,
            ..version
        });
        let from = proptest::option::of(any::<u32>());
        (path(), commit, proptest::option::of(base), from).prop_map(
            |(target, mut commit, base, from)| {
                let Some(from) = from.map(u64::from) else {
                    return Pending {
                        target,
                        commit,
                        base,
                        appended_from: None,
                        unproven: Vec::new(),
                    };
                };
                commit.size = commit.size.max(from);
                Pending {
                    target,
                    commit,
                    base: Some(Version {
                        size: Some(from),
                        ..base.unwrap_or_default()
                    }),
                    appended_from: Some(from),
                    unproven: Vec::new(),
                }
            },
        )
    }

    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::vec(any::<u64>(), 1..5)
    }

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            path().prop_map(Record::Part),
            (path(), path(), proptest::option::of(version()))
                .prop_map(|(aside, target, successor)| Record::Aside(aside, target, successor)),
            path().prop_map(Record::Gone),
            path().prop_map(Record::InPlace),
            (any::<u64>(), path()).prop_map(|(number, path)| Record::Open(number, path)),
            (any::<u64>(), pending()).prop_map(|(number, it)| Record::Pending(number, it)),
            any::<u64>().prop_map(Record::Settled),
            any::<u64>().prop_map(Record::Closed),
            Just(Record::Ordered),
            (any::<u64>(), change(), domains())
                .prop_map(|(number, change, domains)| Record::Change(number, change, domains)),
            (numbers(), change(), domains())
                .prop_map(|(numbers, change, domains)| Record::Begun(numbers, change, domains)),
            numbers().prop_map(Record::Undone),
            numbers().prop_map(Record::Ended),
        ]
    }

    proptest! {
        #[test]
        fn what_was_noted_is_read(record in record()) {
            let line = record.to_line();
            let (end, line) = line.split_last().unwrap();
            prop_assert_eq!(*end, b'\n');
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(Record::parse(line), Some(record));
        }

        #[test]
        fn a_checksum_shows_each_changed_byte(
            record in record(),
            at in any::<prop::sample::Index>(),
            other in 1_u8..,
        ) {
            let mut line = record.to_checked_line();
            line.pop();
            prop_assert_eq!(Record::parse_checked(&line), Some(record));
            let at = at.index(line.len());
            line[at] ^= other;
            prop_assert_eq!(Record::parse_checked(&line), None);
        }

        #[test]
        fn no_line_is_a_surprise(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Record::parse(&line);
        }
    }

    #[test]
    fn a_time_written_without_its_precision_is_as_exact_as_it_looks() {
        for (written, precision) in [
            ("1700000001", Precision::Second),
            ("1700000040", Precision::Minute),
            ("1699920000", Precision::Day),
            ("1699920000s", Precision::Second),
        ] {
            let line = format!("pending\t1\t3\t-\t-\tfile\t7\t{written}\t/f");
            let Some(Record::Pending(1, pending)) = Record::parse(line.as_bytes()) else {
                panic!("{line}");
            };
            let base = pending.base.unwrap();
            assert_eq!((base.size, base.unique), (Some(7), 0));
            let modified = base.modified.unwrap();
            assert_eq!(modified.1, precision, "{written}");
        }
    }

    #[test]
    fn a_record_says_which_file_the_data_replaces() {
        for (fields, base) in [
            ("absent\t-\t-\t/f", None),
            ("file\t-\t-\t/f", Some(Version::default())),
            (
                "file\t7\t60m\t/f",
                Some(Version {
                    size: Some(7),
                    modified: Some((60, Precision::Minute)),
                    unique: 0,
                }),
            ),
        ] {
            let record = Record::Pending(
                1,
                Pending {
                    target: RemotePath::new(b"/f").unwrap(),
                    commit: CommitOptions {
                        size: 3,
                        modified: None,
                        mode: Some(0o644),
                    },
                    base,
                    appended_from: None,
                    unproven: Vec::new(),
                },
            );
            let line = format!("pending\t1\t3\t420\t-\t{fields}");
            assert_eq!(record.to_line(), format!("{line}\n").into_bytes());
            assert_eq!(Record::parse(line.as_bytes()), Some(record));
        }
    }

    #[test]
    fn what_the_server_may_have_is_a_line_that_older_versions_skip() {
        let mut hasher = super::super::ContentHasher::default();
        hasher.update(b"abc");
        let upload = hasher.finish();
        let pending = |unproven| Pending {
            target: RemotePath::new(b"/f").unwrap(),
            commit: CommitOptions::default(),
            base: None,
            appended_from: None,
            unproven,
        };
        let plain = Record::Pending(4, pending(Vec::new())).to_line();
        let both = Record::Pending(4, pending(vec![upload.clone(), upload.clone()])).to_line();
        let rest = both.strip_prefix(plain.as_slice()).unwrap();
        let rest = rest.strip_suffix(b"\n").unwrap();
        assert!(rest.starts_with(b"unproven\t4\t3:ba7816bf"));
        let parsed = Record::parse(rest).unwrap();
        assert_eq!(parsed, Record::Unproven(4, vec![upload.clone(), upload]));
        assert_eq!(Record::parse(b"unproven\t4\t3:ba"), None);
    }

    #[test]
    fn a_record_of_an_append_says_where_it_begins_and_how_long_it_is() {
        let record = Record::Pending(
            4,
            Pending {
                target: RemotePath::new(b"/log").unwrap(),
                commit: CommitOptions {
                    size: 1010,
                    modified: Some(77),
                    mode: None,
                },
                base: Some(Version {
                    size: Some(1000),
                    modified: Some((60, Precision::Minute)),
                    unique: 0,
                }),
                appended_from: Some(1000),
                unproven: Vec::new(),
            },
        );
        let line = "append\t4\t1000\t10\t-\t77\t60m\t/log";
        assert_eq!(record.to_line(), format!("{line}\n").into_bytes());
        assert_eq!(Record::parse(line.as_bytes()), Some(record));
    }

    #[test]
    fn half_a_record_is_none() {
        for line in [
            "",
            "part",
            "part\t/a\t/b",
            "aside\t/a\t/b\t1\t-",
            "open\t/a",
            "pending\t1\t2",
            "pending\t1\t3\t-\t-\tfile\t7\tm\t/f",
            "pending\t1\t3\t-\t-\tfile\t7\t-\tx\t/f",
            "pending\t1\t3\t-\t-\tfile\t7\t-\t1\t2\t/f",
            "append\t1\t7\t3\t-\t-\t/f",
            "append\t1\t7\t-\t-\t-\t60m\t/f",
            "append\t1\t18446744073709551615\t3\t-\t-\t60m\t/f",
            "gone\t/%2",
            "settled\t-",
            "op\t1\tunlink\t/a",
            "op\t1\tlink\t/a\tabsent",
            "op\t1,2\tunlink\t/a\tabsent",
            "begin\t1,\tunlink\t/a\tabsent",
            "op\t1\trename\t/a\tabsent\tabsent",
            "done",
        ] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
    }
}

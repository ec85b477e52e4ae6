//! A change of names as fields of a record.

use super::change::{Domains, NameAction, NameBase, NameChange};
use super::fields::{moment, option, put, to_moment, to_number, to_option, to_path};
use crate::ftp::{RemotePath, Version};

/// Formats the word, the numbers, the domains that the change took over, its kind, its path, what
/// was there, and the arguments of the kind.
pub(super) fn put_change(
    line: &mut Vec<u8>,
    word: &str,
    numbers: &[u64],
    (change, domains): (&NameChange, &Domains),
) {
    let (numbers, domains) = (list(numbers), text_of_domains(domains));
    let base = text_of(&change.base);
    let (kind, arguments, to) = match &change.action {
        NameAction::MakeDirectory { mode } => ("mkdir", vec![option(*mode)], None),
        NameAction::Store { id } => ("store", vec![id.to_string()], None),
        NameAction::Unlink => ("unlink", Vec::new(), None),
        NameAction::RemoveDirectory => ("rmdir", Vec::new(), None),
        NameAction::Rename { to, replaced } => ("rename", vec![text_of(replaced)], Some(to)),
        NameAction::SetAttributes { mode, modified } => {
            ("attributes", vec![option(*mode), option(*modified)], None)
        }
    };
    let mut fields: Vec<&[u8]> = vec![numbers.as_bytes(), &domains, kind.as_bytes()];
    fields.extend([change.path.as_bytes(), base.as_bytes()]);
    fields.extend(arguments.iter().map(String::as_bytes));
    fields.extend(to.map(RemotePath::as_bytes));
    put(line, word, &fields);
}

/// Parses the fields after the word and the numbers of [`put_change`].
pub(super) fn to_change(fields: &[Vec<u8>]) -> Option<(NameChange, Domains)> {
    let [domains, kind, path, base, arguments @ ..] = fields else {
        return None;
    };
    let action = match (kind.as_slice(), arguments) {
        (b"mkdir", [mode]) => NameAction::MakeDirectory {
            mode: to_option(mode)?,
        },
        (b"store", [id]) => NameAction::Store { id: to_number(id)? },
        (b"unlink", []) => NameAction::Unlink,
        (b"rmdir", []) => NameAction::RemoveDirectory,
        (b"rename", [replaced, to]) => NameAction::Rename {
            to: to_path(to)?,
            replaced: to_base(replaced)?,
        },
        (b"attributes", [mode, modified]) => NameAction::SetAttributes {
            mode: to_option(mode)?,
            modified: to_option(modified)?,
        },
        _ => return None,
    };
    let change = NameChange {
        action,
        path: to_path(path)?,
        base: to_base(base)?,
    };
    Some((change, to_domains(domains)?))
}

/// Formats a slash and the name of each domain.
fn text_of_domains(domains: &Domains) -> Vec<u8> {
    let names = domains.iter();
    names.flat_map(|name| [b"/", &**name].concat()).collect()
}

fn to_domains(field: &[u8]) -> Option<Domains> {
    let mut names = field.split(|byte| *byte == b'/');
    let is_whole = names.next() == Some(b"");
    is_whole.then(|| names.map(Box::from).collect())
}

/// Formats `absent`, `directory`, or the size and time of a file, before and after a change of it.
fn text_of(base: &NameBase) -> String {
    match base {
        NameBase::Absent => "absent".to_owned(),
        NameBase::Directory => "directory".to_owned(),
        NameBase::File(version) => text_of_version(version),
        NameBase::Retimed(before, after) => {
            format!("{};{}", text_of_version(before), text_of_version(after))
        }
    }
}

fn text_of_version(version: &Version) -> String {
    let modified = option(version.modified.map(moment));
    format!("{},{modified}", option(version.size))
}

fn to_base(field: &[u8]) -> Option<NameBase> {
    match field {
        b"absent" => Some(NameBase::Absent),
        b"directory" => Some(NameBase::Directory),
        field => match field.iter().position(|byte| *byte == b';') {
            None => Some(NameBase::File(to_version(field)?)),
            Some(end) => {
                let (before, after) = (field.get(..end)?, field.get(end + 1..)?);
                Some(NameBase::Retimed(to_version(before)?, to_version(after)?))
            }
        },
    }
}

fn to_version(field: &[u8]) -> Option<Version> {
    let comma = field.iter().position(|byte| *byte == b',')?;
    let (size, modified) = (field.get(..comma)?, field.get(comma + 1..)?);
    Some(Version {
        size: to_option(size)?,
        modified: to_moment(modified)?,
        unique: 0,
    })
}

/// Formats numbers.
pub(super) fn list(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(",")
}

/// Parses what [`list`] formatted.
pub(super) fn to_list(field: &[u8]) -> Option<Vec<u64>> {
    field.split(|byte| *byte == b',').map(to_number).collect()
}

/// Random changes.
#[cfg(test)]
pub(super) mod strategies {
    use proptest::prelude::*;

    use super::super::record::strategies::{path, version};
    use super::*;

    fn base() -> impl Strategy<Value = NameBase> {
        prop_oneof![
            Just(NameBase::Absent),
            Just(NameBase::Directory),
            version().prop_map(|version| NameBase::File(Version {
                unique: 0,
                ..version
            })),
            (version(), version()).prop_map(|(mut before, mut after)| {
                (before.unique, after.unique) = (0, 0);
                NameBase::Retimed(before, after)
            }),
        ]
    }

    pub(in crate::journal) fn change() -> impl Strategy<Value = NameChange> {
        let action = prop_oneof![
            any::<Option<u32>>().prop_map(|mode| NameAction::MakeDirectory { mode }),
            any::<u64>().prop_map(|id| NameAction::Store { id }),
            Just(NameAction::Unlink),
            Just(NameAction::RemoveDirectory),
            (path(), base()).prop_map(|(to, replaced)| NameAction::Rename { to, replaced }),
            any::<(Option<u32>, Option<i64>)>()
                .prop_map(|(mode, modified)| NameAction::SetAttributes { mode, modified }),
        ];
        (action, path(), base()).prop_map(|(action, path, base)| NameChange { action, path, base })
    }

    pub(in crate::journal) fn domains() -> impl Strategy<Value = Domains> {
        let name = proptest::collection::vec(
            any::<u8>().prop_filter("it ends a name", |byte| *byte != b'/'),
            0..5,
        );
        let names = proptest::collection::vec(name, 0..3);
        names.prop_map(|names| names.into_iter().map(Vec::into_boxed_slice).collect())
    }
}

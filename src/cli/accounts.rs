//! Users and groups of this system, by name or number (passwd(5), group(5), nsswitch.conf(5)).

use std::ffi::OsStr;

use nix::unistd::{Group, User};

use super::value::{self, Expected};

/// The highest id; the one above it means "unchanged" in chown(2).
const LARGEST_ID: u32 = u32::MAX - 1;

/// Parses the number or name of a user.
pub(super) fn user_id(value: &OsStr) -> Result<u32, Expected> {
    const EXPECTED: Expected = "the number or name of a user of this system";
    id(value, EXPECTED, |name| {
        Some(User::from_name(name).ok()??.uid.as_raw())
    })
}

/// Parses the number or name of a group.
pub(super) fn group_id(value: &OsStr) -> Result<u32, Expected> {
    const EXPECTED: Expected = "the number or name of a group of this system";
    id(value, EXPECTED, |name| {
        Some(Group::from_name(name).ok()??.gid.as_raw())
    })
}

/// A number is an id even if a user has it as a name, unlike in chown(1): fstab lines have always
/// had numbers here.
fn id(
    value: &OsStr,
    expected: Expected,
    find: impl FnOnce(&str) -> Option<u32>,
) -> Result<u32, Expected> {
    if let Ok(number) = value::number(value, 0..=LARGEST_ID, expected) {
        return Ok(number);
    }
    let name = value.to_str().filter(|name| is_name(name));
    name.and_then(find).ok_or(expected)
}

/// Whether `name` can be a name: a number that is too large, an empty text and control characters
/// cannot.
fn is_name(name: &str) -> bool {
    name.bytes().any(|byte| !byte.is_ascii_digit()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_number_and_a_name() {
        assert_eq!(user_id(OsStr::new("1234")), Ok(1234));
        assert_eq!(user_id(OsStr::new("root")), Ok(0));
        assert_eq!(group_id(OsStr::new("root")), Ok(0));
        for wrong in ["", "-1", "4294967295", "no-such-name", "root\n", "a\0b"] {
            assert!(user_id(OsStr::new(wrong)).is_err(), "{wrong:?}");
            assert!(group_id(OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
    }
}

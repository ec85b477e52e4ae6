//! Assertions about calls that must fail with a given errno.

use std::fmt::Debug;
use std::io;

/// Asserts that the call failed with exactly this errno.
#[track_caller]
pub(crate) fn assert_errno<T: Debug>(result: io::Result<T>, errno: i32) {
    let expected = io::Error::from_raw_os_error(errno);
    match result {
        Ok(value) => panic!("succeeded with {value:?}, expected: {expected}"),
        Err(error) => assert_eq!(
            error.raw_os_error(),
            Some(errno),
            "{error}, expected: {expected}"
        ),
    }
}

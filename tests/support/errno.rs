//! Calls that must fail, and with what.

use std::fmt::Debug;
use std::io;

/// The call failed with exactly this errno.
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

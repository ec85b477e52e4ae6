//! Work in a process of its own, so that this one starts no thread and opens no connection, and can
//! still go to the background.

use std::io;

use rustix::process::{WaitOptions, wait};

use crate::sys::{self, Forked};

/// Runs `work` in a child process without privileges, and returns its answer. It is empty if the
/// child was interrupted.
///
/// # Errors
/// The process cannot be created.
pub(super) fn answer_of(work: impl FnOnce() -> Vec<u8>) -> io::Result<Vec<u8>> {
    match sys::fork()? {
        Forked::Parent(starting) => {
            let answer = starting.answer()?;
            // The only child has ended or is about to.
            let _ = wait(WaitOptions::empty());
            Ok(answer)
        }
        Forked::Child(readiness) => {
            let sent = readiness.answer(&work());
            // Everything after this belongs to the process that waits.
            std::process::exit(i32::from(sent.is_err()));
        }
    }
}

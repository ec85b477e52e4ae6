//! The end of another process.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process that may have ended. Its number is not given to another process in the meantime.
#[derive(Debug)]
pub(crate) struct ProcessHandle(OwnedFd);

impl ProcessHandle {
    /// Opens the process with this number (pidfd_open(2)).
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn open(process: i32) -> io::Result<Self> {
        let process = Pid::from_raw(process).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self(pidfd_open(process, PidfdFlags::empty())?))
    }

    /// Waits until the process has ended, for `patience` at most. Returns whether it has.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut ends = [PollFd::new(&self.0, PollFlags::IN)];
        Ok(poll(&mut ends, Some(&timeout))? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let handle = ProcessHandle::open(child.id().cast_signed()).unwrap();
        assert!(!handle.wait(Duration::ZERO).unwrap());
        drop(child.stdin.take());
        assert!(handle.wait(Duration::from_secs(30)).unwrap());
        child.wait().unwrap();
        assert!(ProcessHandle::open(0).is_err());
    }
}

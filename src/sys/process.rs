//! The end of other processes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};

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

impl AsFd for ProcessHandle {
    /// Becomes readable when the process ends (pidfd_open(2)).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes the kernel send SIGTERM to the process of `command` when this one ends, however that
/// happens (PR_SET_PDEATHSIG(2const)).
pub(crate) fn end_with_this_process(command: &mut Command) {
    let in_child = || Ok(set_parent_process_death_signal(Some(Signal::TERM))?);
    // SAFETY: between fork and exec, the closure makes one system call, which is async-signal-safe.
    // It allocates nothing and touches no memory of this process.
    unsafe { command.pre_exec(in_child) };
}

/// Ends `root`, a child of this process that was not waited for, and what it has started, except
/// for processes whose parent has ended: first with SIGTERM, and after `grace` with SIGKILL.
pub(crate) fn end_process_tree(root: i32, grace: Duration) {
    let tree = process_tree(root);
    signal_all(&tree, Signal::TERM);
    wait_for_all(&tree, grace);
    // `root` may have started others in the meantime.
    let late = process_tree(root);
    signal_all(&tree, Signal::KILL);
    signal_all(&late, Signal::KILL);
    wait_for_all(&tree, grace);
}

/// Returns `root` and its descendants.
fn process_tree(root: i32) -> Vec<ProcessHandle> {
    let mut numbers = BTreeSet::from([root]);
    let mut handles: Vec<ProcessHandle> = ProcessHandle::open(root).into_iter().collect();
    let all = process_numbers();
    // Each round finds one generation.
    loop {
        let mut found = Vec::new();
        for number in all.iter().filter(|number| !numbers.contains(number)) {
            // The parent is looked up after the process is opened, so that a process that got the
            // number of one that ended is not mistaken for it.
            if let Ok(handle) = ProcessHandle::open(*number)
                && parent_of(*number).is_some_and(|parent| numbers.contains(&parent))
            {
                found.push(*number);
                handles.push(handle);
            }
        }
        if found.is_empty() {
            return handles;
        }
        numbers.extend(found);
    }
}

fn process_numbers() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Returns the number of a process's parent, field 4 of its stat file (proc_pid_stat(5)).
fn parent_of(process: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn signal_all(processes: &[ProcessHandle], signal: Signal) {
    for process in processes {
        // One that has ended needs no signal, and one of another user cannot be ended.
        let _ = pidfd_send_signal(process, signal);
    }
}

fn wait_for_all(processes: &[ProcessHandle], patience: Duration) {
    let deadline = Instant::now() + patience;
    for process in processes {
        let _ = process.wait(deadline.saturating_duration_since(Instant::now()));
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

    #[test]
    fn a_process_ends_with_what_it_has_started() {
        // The shell ignores SIGTERM, and its child is the one that is waited for.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "trap '' TERM; sleep 600 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let grandchild = ProcessHandle::open(line.trim().parse().unwrap()).unwrap();
        end_process_tree(child.id().cast_signed(), Duration::from_millis(200));
        assert!(grandchild.wait(Duration::from_secs(30)).unwrap());
        assert!(!child.wait().unwrap().success());
    }
}

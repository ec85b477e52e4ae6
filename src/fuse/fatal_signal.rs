//! Detection of interrupted callers: whether the thread that made a request still wants the reply,
//! according to /proc (proc_pid_status(5), proc_pid_stat(5)).

use std::fs::File;
use std::io::{self, Read};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Maximum size in bytes of the files in /proc about a thread.
const LONGEST: u64 = 16 << 10;

/// Signals by which the user or the system asks a program to stop, even if it catches them: HUP,
/// INT, QUIT, KILL, TERM.
const STOP: u64 = bit(1) | bit(2) | bit(3) | bit(9) | bit(15);

/// Signals that do not end a program that does not catch them: CHLD, CONT, STOP, TSTP, TTIN, TTOU,
/// URG, WINCH (signal(7)).
const HARMLESS: u64 = bit(17) | bit(18) | bit(19) | bit(20) | bit(21) | bit(22) | bit(23) | bit(28);

/// The kernel's PF_EXITING flag in /proc/TID/stat.
const EXITING: u64 = 0x4;

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// Whether the thread `tid` has a pending signal that ends it or asks it to stop, is exiting, or
/// has exited. Other programs may wait for data that the kernel reads ahead for it, but they can
/// request it again. A signal that a program handles, such as that of a timer, does not count,
/// because programs do not expect a read or a close to fail because of it. Returns false if nothing
/// can be found out, as in another PID namespace.
pub(super) fn is_interrupted(tid: u32) -> bool {
    let proc_file = |file: &str| read(&format!("/proc/{tid}/{file}")).unwrap_or_default();
    is_to_stop(&proc_file("status")) || is_exiting(&proc_file("stat")) || is_gone(tid)
}

/// The kernel reports callers outside this PID namespace as 0.
fn is_gone(tid: u32) -> bool {
    let pid = i32::try_from(tid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn is_to_stop(status: &[u8]) -> bool {
    let set = |name: &str| signals(status, name);
    let (Some(own), Some(shared)) = (set("SigPnd:"), set("ShdPnd:")) else {
        return false;
    };
    let (blocked, ignored) = (set("SigBlk:"), set("SigIgn:"));
    let caught = set("SigCgt:").unwrap_or(u64::MAX);
    let pending = (own | shared) & !blocked.unwrap_or(0) & !ignored.unwrap_or(0);
    pending & (STOP | !(caught | HARMLESS)) != 0
}

fn signals(status: &[u8], name: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(status);
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The flags are the ninth field. The second one, in parentheses, may contain anything.
fn is_exiting(stat: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stat);
    let behind_name = text.rsplit_once(')').map(|(_, rest)| rest);
    let flags = behind_name.and_then(|rest| rest.split_whitespace().nth(6));
    flags.is_some_and(|flags| flags.parse::<u64>().is_ok_and(|flags| flags & EXITING != 0))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn status(pending: u64, blocked: u64, ignored: u64, caught: u64) -> Vec<u8> {
        format!(
            "Name:\tx\nSigQ:\t0/1\nSigPnd:\t{pending:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
            0
        )
        .into_bytes()
    }

    #[test]
    fn a_program_is_to_stop_by_what_ends_it_or_is_meant_to() {
        const INT: u64 = bit(2);
        const ALRM: u64 = bit(14);
        let cases = [
            ("nothing", status(0, 0, 0, 0), false),
            ("Ctrl-C", status(INT, 0, 0, 0), true),
            ("Ctrl-C, caught", status(INT, 0, 0, INT), true),
            ("Ctrl-C, ignored", status(INT, 0, INT, 0), false),
            ("Ctrl-C, blocked", status(INT, INT, 0, 0), false),
            ("kill -9", status(bit(9), 0, 0, 0), true),
            ("a timer, caught", status(ALRM, 0, 0, ALRM), false),
            ("a timer, fatal", status(ALRM, 0, 0, 0), true),
            (
                "a child, a window, a preemption",
                status(bit(17) | bit(28) | bit(23), 0, 0, 0),
                false,
            ),
            ("Ctrl-Z", status(bit(20), 0, 0, 0), false),
            ("a real-time signal, fatal", status(bit(40), 0, 0, 0), true),
        ];
        for (name, status, stops) in cases {
            assert_eq!(is_to_stop(&status), stops, "{name}");
        }
        assert!(!is_to_stop(b""));
        assert!(!is_to_stop(b"SigPnd:\tnonsense\nShdPnd:\t1\n"));
    }

    #[test]
    fn a_program_that_ends_is_known_by_its_flags_whatever_its_name() {
        assert!(is_exiting(b"7 (a) 4 b) S 1 7 7 0 -1 4194308 0 0"));
        assert!(!is_exiting(b"7 (a) 4 b) S 1 7 7 0 -1 4194304 0 0"));
        assert!(!is_exiting(b"7 (a"));
    }

    #[test]
    fn this_thread_wants_its_answers_and_one_that_ended_does_not() {
        assert!(!is_interrupted(std::process::id()));
        assert!(!is_interrupted(0));
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert!(is_interrupted(ended.id()));
    }
}

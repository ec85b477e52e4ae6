//! A command whose first line of output is the password, such as `pass show ftp`.
//!
//! It runs without a shell, in ftpfs's process group: a password store may ask on the terminal,
//! which only the foreground group can read, and Ctrl-C reaches both. One thread waits for the
//! command's output and its end, because ftpfs forks later.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{LARGEST_FILE, password_in_line};
use crate::ftp::Password;
use crate::sys::{ProcessHandle, end_process_tree, end_with_this_process};

/// Maximum duration of the command. A person may have to unlock the password store.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Time for the command to end by itself after SIGTERM, which lets a prompt restore the terminal.
const GRACE: Duration = Duration::from_secs(2);

/// Time for the end of the first line after the command has ended, if something that it has started
/// keeps its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Number of bytes after which a command that does not end is ended.
const MAX_OUTPUT: u64 = 256 << 20;

/// Number of bytes at the end of the standard error that are stored.
const STORED_ERRORS: usize = 4 << 10;
/// Number of lines at the end of the standard error that a message shows.
const SHOWN_LINES: usize = 3;
/// Maximum number of characters that a message shows of each line.
const SHOWN_CHARACTERS: usize = 200;

/// Size of one read in bytes.
const PIECE: usize = 8 << 10;
/// Maximum number of reads between two looks at the clock: more than fits a pipe (pipe(7)).
const MAX_READS: usize = 16;

/// A command and its arguments. Any of them may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordCommand {
    program: String,
    arguments: Vec<String>,
}

/// Why a command gave no password. No message contains its arguments or its standard output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordCommandError {
    /// It cannot be started, or not be waited for.
    #[error("cannot run {program}: {source}")]
    NotRun {
        /// The first word of the command.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// It reported a failure.
    #[error("{program} {ended}{errors}")]
    Failed {
        /// The first word of the command.
        program: String,
        /// How it ended.
        ended: String,
        /// The end of its standard error.
        errors: ErrorLines,
    },
    /// It did not end, or printed without end.
    #[error(
        "{program} did not end within {} seconds, or printed too much, and was ended{errors}",
        limit.as_secs()
    )]
    TooLate {
        /// The first word of the command.
        program: String,
        /// The deadline.
        limit: Duration,
        /// The end of its standard error.
        errors: ErrorLines,
    },
    /// Its output is not a password.
    #[error("{program} printed no password: {reason}")]
    NotAPassword {
        /// The first word of the command.
        program: String,
        /// The cause.
        reason: &'static str,
    },
}

impl fmt::Debug for PasswordCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ****", self.shown())
    }
}

impl PasswordCommand {
    /// Splits `text` into words as a shell does, without expanding anything.
    ///
    /// # Errors
    /// What is expected instead.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let words = shell_words::split(text).map_err(|_| "a command with balanced quotes")?;
        let mut words = words.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() => Ok(Self {
                program,
                arguments: words.collect(),
            }),
            _ => Err("a command, such as `pass show ftp`,"),
        }
    }

    /// Runs the command and returns the first line of its standard output.
    ///
    /// # Errors
    /// It failed, took longer than `limit`, or printed no password.
    pub(super) fn run(&self, limit: Duration) -> Result<Password, PasswordCommandError> {
        let not_run = |source| PasswordCommandError::NotRun {
            program: self.shown(),
            source,
        };
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_this_process(&mut command);
        let child = command.spawn().map_err(not_run)?;
        let mut running = RunningCommand::new(child).map_err(not_run)?;
        let status = running.wait(Instant::now() + limit).map_err(not_run)?;
        let program = self.shown();
        let errors = ErrorLines::of(&running.errors.bytes);
        match status {
            None => Err(PasswordCommandError::TooLate {
                program,
                limit,
                errors,
            }),
            Some(status) if !status.success() => Err(PasswordCommandError::Failed {
                program,
                ended: described(status),
                errors,
            }),
            Some(_) => running
                .output
                .password()
                .map_err(|reason| PasswordCommandError::NotAPassword { program, reason }),
        }
    }

    /// The first word of the command, for messages.
    fn shown(&self) -> String {
        shortened(&self.program)
    }
}

/// A started command, and what it has printed. It is ended when this value is dropped.
struct RunningCommand {
    child: Child,
    handle: ProcessHandle,
    status: Option<ExitStatus>,
    output: PasswordLine,
    errors: Tail,
    /// Number of bytes that the command has printed.
    read_bytes: u64,
}

impl RunningCommand {
    fn new(mut child: Child) -> io::Result<Self> {
        let opened = ProcessHandle::open(child.id().cast_signed()).and_then(|handle| {
            for pipe in [
                child.stdout.as_ref().map(AsFd::as_fd),
                child.stderr.as_ref().map(AsFd::as_fd),
            ] {
                pipe.map_or(Ok(()), |pipe| rustix::io::ioctl_fionbio(pipe, true))?;
            }
            Ok(handle)
        });
        match opened {
            Ok(handle) => Ok(Self {
                child,
                handle,
                status: None,
                output: PasswordLine::default(),
                errors: Tail::default(),
                read_bytes: 0,
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Waits until the command has ended and its first line is complete. Returns `None` if it does
    /// not end before `deadline`.
    fn wait(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let mut deadline = deadline;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(self.status);
            }
            self.wait_for_event(left)?;
            if self.read_bytes > MAX_OUTPUT {
                return Ok(self.status);
            }
            let had_ended = self.status.is_some();
            // Before the pipes, which then contain all that the command itself has written.
            if self.status.is_none() {
                self.status = self.child.try_wait()?;
            }
            let (output, count) = (&mut self.output, &mut self.read_bytes);
            read_available(&mut self.child.stdout, |bytes| {
                *count += bytes.len() as u64;
                output.push(bytes);
            })?;
            let errors = &mut self.errors;
            read_available(&mut self.child.stderr, |bytes| {
                *count += bytes.len() as u64;
                errors.push(bytes);
            })?;
            if let Some(status) = self.status {
                let is_all = output.is_complete || self.child.stdout.is_none();
                if is_all || !status.success() {
                    return Ok(Some(status));
                }
                // Something that the command has started keeps its output open.
                if !had_ended {
                    deadline = deadline.min(Instant::now() + LAST_WORDS);
                }
            }
        }
    }

    /// Waits for output, the end of a stream or the end of the command, for `patience` at most.
    fn wait_for_event(&self, patience: Duration) -> io::Result<()> {
        let streams = [
            self.child.stdout.as_ref().map(AsFd::as_fd),
            self.child.stderr.as_ref().map(AsFd::as_fd),
            self.status.is_none().then(|| self.handle.as_fd()),
        ];
        let mut events: Vec<_> = streams
            .iter()
            .flatten()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        if self.status.is_none() {
            end_process_tree(self.child.id().cast_signed(), GRACE);
            let _ = self.child.try_wait();
        }
    }
}

/// Reads what is there without waiting. At the end of the stream, it becomes `None`.
fn read_available<R: Read>(stream: &mut Option<R>, mut push: impl FnMut(&[u8])) -> io::Result<()> {
    let mut piece = [0; PIECE];
    for _ in 0..MAX_READS {
        let Some(reader) = stream else { break };
        match reader.read(&mut piece) {
            Ok(0) => *stream = None,
            Ok(count) => push(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The first line of the standard output. The rest is discarded.
#[derive(Default)]
struct PasswordLine {
    bytes: Vec<u8>,
    /// The line end, or more than a password may have, was received.
    is_complete: bool,
}

impl PasswordLine {
    fn push(&mut self, bytes: &[u8]) {
        if self.is_complete {
            return;
        }
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next();
        self.bytes.extend_from_slice(line.unwrap_or_default());
        self.is_complete = self.bytes.ends_with(b"\n") || self.is_too_long();
    }

    fn is_too_long(&self) -> bool {
        self.bytes.len() as u64 > LARGEST_FILE
    }

    fn password(&self) -> Result<Password, &'static str> {
        if self.is_too_long() {
            return Err("its first line is too long");
        }
        password_in_line(&self.bytes)
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(STORED_ERRORS);
        self.bytes.drain(..excess);
    }
}

/// The last lines of a standard error, for a message. Empty if there are none.
#[derive(Debug)]
pub(crate) struct ErrorLines(Vec<String>);

impl ErrorLines {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let lines = lines.into_iter().filter(|line| !line.is_empty());
        let mut lines: Vec<String> = lines.rev().take(SHOWN_LINES).map(shortened).collect();
        lines.reverse();
        Self(lines)
    }
}

impl fmt::Display for ErrorLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0.join("; "))
    }
}

/// Escapes control characters, and cuts what is too long for a message.
fn shortened(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARACTERS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown.replace(r"\'", "'").replace(r#"\""#, "\"")
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

#[cfg(test)]
mod tests;

//! A question on the terminal whose answer it does not show (termios(3)).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal that this process belongs to, wherever its standard streams lead.
const TERMINAL: &str = "/dev/tty";

/// Longest answer, bytes: a terminal's line is shorter.
const LONGEST: u64 = 64 << 10;

/// The answer to `question`, without its line end.
///
/// # Errors
/// There is no terminal, it ended, or the answer is not UTF-8.
pub(super) fn ask(question: &str) -> io::Result<String> {
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
    // First of all: who has read the question may answer at once.
    let silenced = Silenced::new(&terminal)?;
    (&terminal).write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new(&terminal)
        .take(LONGEST)
        .read_line(&mut line)?;
    drop(silenced);
    match line.strip_suffix('\n') {
        Some(answer) => Ok(answer.strip_suffix('\r').unwrap_or(answer).to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A terminal that shows nothing that is typed but the line's end, as long as this lives.
struct Silenced<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silenced<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, OptionalActions::Now, &self.before) {
            log::warn!("the terminal does not show again what is typed (stty echo): {error}");
        }
    }
}

//! Prompts on the terminal: for a password without echo (termios(3)), and for anything else.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr,
};

/// The controlling terminal of this process, wherever its standard streams point.
const TERMINAL: &str = "/dev/tty";

/// Maximum length of an answer in bytes; a terminal's line is shorter.
const LONGEST: u64 = 64 << 10;

/// Asks `question` and returns the answer without its line end. The terminal does not show it.
///
/// # Errors
/// There is no terminal, it was closed, or the answer is not UTF-8.
pub(super) fn ask(question: &str) -> io::Result<String> {
    let terminal = open()?;
    // This comes first, because the user may type immediately after reading the question.
    let silenced = Silenced::new(&terminal)?;
    let answer = ask_on(&terminal, question);
    drop(silenced);
    answer
}

/// Asks `question` and returns the answer without its line end. The terminal shows it.
///
/// # Errors
/// There is no terminal, it was closed, or the answer is not UTF-8.
pub(crate) fn ask_openly(question: &str) -> io::Result<String> {
    let terminal = open()?;
    // What was typed before the question does not answer it.
    tcflush(&terminal, QueueSelector::IFlush)?;
    ask_on(&terminal, question)
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

fn ask_on(mut terminal: &File, question: &str) -> io::Result<String> {
    terminal.write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new(terminal)
        .take(LONGEST)
        .read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(answer) => Ok(answer.strip_suffix('\r').unwrap_or(answer).to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Disables the echo of a terminal, except for line ends, until it is dropped.
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
        // Discards what was typed before the question.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, OptionalActions::Now, &self.before) {
            log::warn!("cannot turn the terminal's echo on again (try stty echo): {error}");
        }
    }
}

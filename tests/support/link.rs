//! A link of scripts/wan: a network namespace behind a configurable round-trip time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Returns the path of a script of this project.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name)
}

/// A program that reports its location in one line; it is killed on drop.
pub(crate) struct Told {
    pub(crate) process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The first line that the program printed.
    pub(crate) first: String,
}

impl Told {
    /// Starts the program and reads its first line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().expect("it starts");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let mut told = Self {
            process,
            input,
            output,
            first: String::new(),
        };
        told.first = told.line();
        told
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// Sends a line to the program and waits until the program confirms it.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
        assert_eq!(self.line(), line, "what is done is answered with itself");
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the value of one of the words that scripts/wan printed.
pub(crate) fn word<'a>(told: &'a str, name: &str) -> &'a str {
    let (_, after) = told.split_once(&format!("\"{name}\": ")).expect(name);
    after
        .split([',', '}'])
        .next()
        .expect(name)
        .trim_matches('"')
}

/// Starts a link with this round-trip time and other settings, in the words of scripts/wan.
pub(crate) fn link(words: &[&str]) -> Told {
    Told::start(Command::new(script("wan")).args(words))
}

/// Returns the start of a command that runs at the far end of `link`.
pub(crate) fn behind(link: &Told) -> Command {
    let mut there = Command::new("nsenter");
    there.arg(format!("--net=/proc/{}/ns/net", word(&link.first, "pid")));
    there
}

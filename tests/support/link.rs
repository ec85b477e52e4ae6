//! A link of scripts/wan: a network namespace that is a round-trip time away.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A script of the project's.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name)
}

/// A program that tells where it is in one line, ended with this.
pub(crate) struct Told {
    pub(crate) process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) first: String,
}

impl Told {
    /// Starts it and hears where it is.
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

    /// Has it do something.
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

/// A value of one of scripts/wan's words.
pub(crate) fn word<'a>(told: &'a str, name: &str) -> &'a str {
    let (_, after) = told.split_once(&format!("\"{name}\": ")).expect(name);
    after
        .split([',', '}'])
        .next()
        .expect(name)
        .trim_matches('"')
}

/// A link of this round-trip time and the like, in scripts/wan's words.
pub(crate) fn link(words: &[&str]) -> Told {
    Told::start(Command::new(script("wan")).args(words))
}

/// The beginning of a command that runs at the far end of `link`.
pub(crate) fn behind(link: &Told) -> Command {
    let mut there = Command::new("nsenter");
    there.arg(format!("--net=/proc/{}/ns/net", word(&link.first, "pid")));
    there
}

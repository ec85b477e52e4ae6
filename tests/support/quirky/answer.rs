//! A command as it arrived, and the steps of an answer to it.

use std::time::Duration;

use super::FileTree;

/// A command line, split at its first blank. A new connection is the request `CONNECT`.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// In capitals.
    pub(crate) verb: String,
    pub(crate) argument: String,
}

impl Request {
    pub(super) fn parse(line: &str) -> Self {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        Self {
            verb: verb.to_ascii_uppercase(),
            argument: argument.to_owned(),
        }
    }

    /// Whether the verb is one of these.
    pub(crate) fn is(&self, verbs: &[&str]) -> bool {
        verbs.contains(&self.verb.as_str())
    }

    /// The argument without the options of `ls` before it.
    pub(crate) fn path(&self) -> &str {
        let mut path = self.argument.as_str();
        while path.starts_with('-') {
            path = path.split_once(' ').map_or("", |(_, rest)| rest);
        }
        path
    }
}

/// A change of the tree that a step makes.
pub(crate) type Change = Box<dyn FnOnce(&mut FileTree) + Send>;

/// One thing that the server does to answer.
pub(crate) enum Step {
    /// Sends these lines on the control connection, each with CR LF.
    Say(String),
    /// Sends these bytes on the control connection.
    SayBytes(Vec<u8>),
    /// Sends these bytes on the data connection and closes it.
    Send(Vec<u8>),
    /// Sends these bytes on the data connection and resets it.
    SendAndReset(Vec<u8>),
    /// Reads the data connection to its end into the file, from this offset.
    Receive(String, u64),
    /// Waits before the next step.
    Wait(Duration),
    /// Changes the tree.
    Change(Change),
    /// Changes the tree after this time, while the session goes on.
    Later(Duration, Change),
    /// Closes the control connection.
    Close,
}

/// The steps of an answer; one without steps is silence.
pub(crate) struct Answer {
    pub(crate) steps: Vec<Step>,
}

impl Answer {
    /// Nothing: the client waits.
    pub(crate) fn silence() -> Self {
        Self { steps: Vec::new() }
    }

    /// These lines on the control connection.
    pub(crate) fn say(lines: impl Into<String>) -> Self {
        Self::silence().then(Step::Say(lines.into()))
    }

    /// A transfer of these bytes that ends well.
    pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self::say("150 Here it comes")
            .then(Step::Send(bytes.into()))
            .then_say("226 Transfer complete")
    }

    /// A transfer of these lines, each of which gets CR LF.
    pub(crate) fn send_lines(lines: &str) -> Self {
        let lines = lines.lines().map(|line| format!("{line}\r\n"));
        Self::send(lines.collect::<String>())
    }

    /// Closes the control connection.
    pub(crate) fn close() -> Self {
        Self::silence().then(Step::Close)
    }

    /// The same, then this step.
    pub(crate) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The same, then these lines on the control connection.
    pub(crate) fn then_say(self, lines: &str) -> Self {
        self.then(Step::Say(lines.to_owned()))
    }

    /// This step first.
    pub(crate) fn after(mut self, step: Step) -> Self {
        self.steps.insert(0, step);
        self
    }

    /// The same, but this step before the last one.
    pub(crate) fn before_last(mut self, step: Step) -> Self {
        let last = self.steps.len().saturating_sub(1);
        self.steps.insert(last, step);
        self
    }

    /// The same, but with these lines instead of its last ones.
    pub(crate) fn ending_with(mut self, lines: &str) -> Self {
        self.steps.pop();
        self.then_say(lines)
    }

    /// Whether the first thing that it says is a refusal (RFC 959 §4.2: 4yz and 5yz).
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Say(lines)) if lines.starts_with(['4', '5']))
    }
}

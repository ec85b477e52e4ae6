//! A command as it arrived, and the steps of an answer to it.

use std::time::Duration;

use super::FileTree;

/// A command line, split at its first blank. A new connection is the request `CONNECT`.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The verb in capitals.
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

    /// Returns the argument without leading `ls` options.
    pub(crate) fn path(&self) -> &str {
        let mut path = self.argument.as_str();
        while path.starts_with('-') {
            path = path.split_once(' ').map_or("", |(_, rest)| rest);
        }
        path
    }
}

/// A change to the tree, made by a step.
pub(crate) type Change = Box<dyn FnOnce(&mut FileTree) + Send>;

/// One action of the server's answer.
pub(crate) enum Step {
    /// Sends these lines on the control connection, each with CR LF.
    Say(String),
    /// Sends these bytes on the control connection.
    SayBytes(Vec<u8>),
    /// Sends these bytes on the data connection and closes it.
    Send(Vec<u8>),
    /// Sends these bytes on the data connection and resets it.
    SendAndReset(Vec<u8>),
    /// Reads the data connection to its end and writes it to the file from this offset.
    Receive(String, u64),
    /// Waits before the next step.
    Wait(Duration),
    /// Changes the tree.
    Change(Change),
    /// Changes the tree after this time, while the session continues.
    Later(Duration, Change),
    /// Closes the control connection.
    Close,
}

/// The steps of an answer; an answer without steps is silence.
pub(crate) struct Answer {
    pub(crate) steps: Vec<Step>,
}

impl Answer {
    /// Sends nothing, so that the client waits.
    pub(crate) fn silence() -> Self {
        Self { steps: Vec::new() }
    }

    /// Sends these lines on the control connection.
    pub(crate) fn say(lines: impl Into<String>) -> Self {
        Self::silence().then(Step::Say(lines.into()))
    }

    /// Transfers these bytes successfully.
    pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self::say("150 Here it comes")
            .then(Step::Send(bytes.into()))
            .then_say("226 Transfer complete")
    }

    /// Transfers these lines, each with CR LF appended.
    pub(crate) fn send_lines(lines: &str) -> Self {
        let lines = lines.lines().map(|line| format!("{line}\r\n"));
        Self::send(lines.collect::<String>())
    }

    /// Closes the control connection.
    pub(crate) fn close() -> Self {
        Self::silence().then(Step::Close)
    }

    /// Appends a step.
    pub(crate) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Appends lines on the control connection.
    pub(crate) fn then_say(self, lines: &str) -> Self {
        self.then(Step::Say(lines.to_owned()))
    }

    /// Inserts a step at the beginning.
    pub(crate) fn after(mut self, step: Step) -> Self {
        self.steps.insert(0, step);
        self
    }

    /// Inserts a step before the last one.
    pub(crate) fn before_last(mut self, step: Step) -> Self {
        let last = self.steps.len().saturating_sub(1);
        self.steps.insert(last, step);
        self
    }

    /// Replaces the last lines of the answer with these.
    pub(crate) fn ending_with(mut self, lines: &str) -> Self {
        self.steps.pop();
        self.then_say(lines)
    }

    /// Whether the first reply of the answer is a refusal (RFC 959 §4.2: 4yz and 5yz).
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Say(lines)) if lines.starts_with(['4', '5']))
    }
}

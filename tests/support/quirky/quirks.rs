//! The quirks, each a small switch or hook. All quirks can be combined.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Request, Step};
use super::file_tree::{NameChange, Names};
use super::session::State;

/// Answers a request instead of the honest server, or returns None.
type Hook = Arc<dyn Fn(&Request, &mut State<'_>) -> Option<Answer> + Send + Sync>;

/// Changes an answer.
type Alteration = Arc<dyn Fn(&Request, Answer) -> Answer + Send + Sync>;

/// How the server treats commands that arrive before the reply to the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipelined {
    /// One after the other.
    Served,
    /// The control connection is closed.
    Closes,
    /// The last command gets this answer, the others get none.
    OneAnswer(&'static str),
    /// Each command is carried out before the one it follows.
    Reversed,
    /// They are carried out in order, but refusals are sent first.
    RefusalsFirst,
    /// All but the first are lost.
    Lost,
}

/// The quirks of a server.
#[derive(Clone)]
pub(crate) struct Quirks {
    hooks: Vec<Hook>,
    alterations: Vec<Alteration>,
    /// The lines of FEAT.
    pub(super) features: Vec<String>,
    names: Names,
    hides: Option<fn(&str) -> bool>,
    /// Listing verbs that always list the current directory, regardless of their argument.
    pub(super) ignores_path: Vec<&'static str>,
    pub(super) pipelined: Pipelined,
    pub(super) epsv_blocks: bool,
    /// A REST stays in effect until a file transfer completes, regardless of commands in between.
    pub(super) rest_sticks: bool,
    /// Sent after the 426 to a download that the client aborts.
    pub(super) after_abort: Option<&'static str>,
    pub(super) most_sessions: Option<(usize, &'static str)>,
}

impl Quirks {
    /// Returns an honest server.
    pub(crate) fn none() -> Self {
        let features = [
            "MLST type*;size*;modify*;perm*;UNIX.mode*;",
            "REST STREAM",
            "EPSV",
            "SIZE",
            "MDTM",
            "MFMT",
            "UTF8",
            "TVFS",
        ];
        Self {
            hooks: Vec::new(),
            alterations: Vec::new(),
            features: features.map(str::to_owned).to_vec(),
            names: Names::default(),
            hides: None,
            ignores_path: Vec::new(),
            pipelined: Pipelined::Served,
            epsv_blocks: false,
            rest_sticks: false,
            after_abort: None,
            most_sessions: None,
        }
    }

    /// Answers the requests for which `hook` returns an answer. Earlier hooks take precedence.
    pub(crate) fn hook(
        mut self,
        hook: impl Fn(&Request, &mut State<'_>) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// Changes every answer, including those of hooks.
    pub(crate) fn alter(
        mut self,
        alteration: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.alterations.push(Arc::new(alteration));
        self
    }

    /// Changes the answers to these verbs, except refusals.
    pub(crate) fn alter_verbs(
        self,
        verbs: &'static [&'static str],
        alteration: impl Fn(Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.alter(move |request, answer| {
            if request.is(verbs) && !answer.is_refusal() {
                alteration(answer)
            } else {
                answer
            }
        })
    }

    /// Always answers a verb with these lines, without doing anything.
    pub(crate) fn says(self, verb: &'static str, lines: &'static str) -> Self {
        self.hook(move |request, _| (request.verb == verb).then(|| Answer::say(lines)))
    }

    /// Answers a verb with exactly this argument with these lines.
    pub(crate) fn says_to(
        self,
        verb: &'static str,
        argument: &'static str,
        lines: &'static str,
    ) -> Self {
        self.hook(move |request, _| {
            (request.verb == verb && request.argument == argument).then(|| Answer::say(lines))
        })
    }

    /// Does what a verb asks for, but answers with these lines.
    pub(crate) fn does_and_says(self, verb: &'static str, lines: &'static str) -> Self {
        self.alter_verbs(Box::leak(Box::new([verb])), move |answer| {
            answer.ending_with(lines)
        })
    }

    /// Never answers a verb.
    pub(crate) fn silent_on(self, verb: &'static str) -> Self {
        self.hook(move |request, _| (request.verb == verb).then(Answer::silence))
    }

    /// Closes the control connection when it receives the verb.
    pub(crate) fn closes_at(self, verb: &'static str) -> Self {
        self.hook(move |request, _| (request.verb == verb).then(Answer::close))
    }

    /// Does not know a verb and does not list it in FEAT.
    pub(crate) fn without(self, verb: &'static str) -> Self {
        self.without_as(verb, "500 Unknown command")
    }

    /// Does not know a verb and answers it with these lines.
    pub(crate) fn without_as(mut self, verb: &'static str, lines: &'static str) -> Self {
        self.features
            .retain(|feature| feature.split(' ').next() != Some(verb));
        self.says(verb, lines)
    }

    /// Knows neither MLST nor MLSD.
    pub(crate) fn without_facts(self) -> Self {
        self.without("MLSD").without("MLST")
    }

    /// Answers unknown verbs with these lines.
    pub(crate) fn unknown_verbs(self, lines: &'static str) -> Self {
        self.alter(move |_, answer| match answer.steps.first() {
            Some(Step::Say(said)) if said.starts_with("500 Unknown") => Answer::say(lines),
            _ => answer,
        })
    }

    /// Adds this feature to FEAT.
    pub(crate) fn feature(mut self, line: &str) -> Self {
        self.features.push(line.to_owned());
        self
    }

    /// Greets every connection with these lines instead of `220 Ready`.
    pub(crate) fn greeting(self, lines: &'static str) -> Self {
        self.says("CONNECT", lines)
    }

    /// Treats the options of LIST as part of the name, and lists missing names as empty.
    pub(crate) fn dash_is_a_name(self) -> Self {
        self.hook(|request, _| {
            let has_options = request.argument.starts_with('-');
            match request.verb.as_str() {
                "LIST" | "NLST" if has_options => Some(Answer::send("")),
                "STAT" if has_options => Some(Answer::say("213-Status:\n213 End")),
                _ => None,
            }
        })
    }

    /// Refuses options of LIST with these lines.
    pub(crate) fn dash_is_refused(self, lines: &'static str) -> Self {
        self.hook(move |request, _| {
            let has_options = request.is(&["LIST", "NLST"]) && request.argument.starts_with('-');
            has_options.then(|| Answer::say(lines))
        })
    }

    /// Lists the current directory, regardless of the path given to these verbs.
    pub(crate) fn ignores_path(mut self, verbs: &[&'static str]) -> Self {
        self.ignores_path.extend(verbs);
        self
    }

    /// Answers a listing (LIST, NLST, MLSD, STAT) of this directory, by path or after CWD.
    pub(crate) fn listing_of(
        self,
        directory: &'static str,
        verbs: &'static [&'static str],
        answer: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.hook(move |request, state| {
            let is_it = request.is(verbs) && state.resolve(request.path()) == directory;
            is_it.then(&answer)
        })
    }

    /// Answers LIST and STAT of a directory with these raw lines, with or without options.
    pub(crate) fn raw_listing(self, directory: &'static str, lines: &'static str) -> Self {
        self.listing_of(directory, &["LIST"], move || Answer::send_lines(lines))
            .listing_of(directory, &["STAT"], move || {
                Answer::say(format!("213-Status:\n{lines}\n213 End"))
            })
    }

    /// Treats `FOO` as `foo`, and keeps the spelling with which a name was created.
    pub(crate) fn case_blind(mut self) -> Self {
        self.names.is_case_blind = true;
        self
    }

    /// Applies this change to every name in every path.
    pub(crate) fn changes_names(mut self, change: NameChange) -> Self {
        self.names.changes.push(change);
        self
    }

    /// Omits matching names from listings.
    pub(crate) fn hides(mut self, hides: fn(&str) -> bool) -> Self {
        self.hides = Some(hides);
        self
    }

    /// Sends `preliminary` before the answer to a verb.
    pub(crate) fn says_before(self, verb: &'static str, preliminary: &'static str) -> Self {
        self.alter_verbs(Box::leak(Box::new([verb])), move |answer| {
            answer.after(Step::Say(preliminary.to_owned()))
        })
    }

    /// Sends additional lines after the answer to a verb.
    pub(crate) fn says_after(self, verb: &'static str, more: &'static str) -> Self {
        self.alter_verbs(Box::leak(Box::new([verb])), move |answer| {
            answer.then_say(more)
        })
    }

    /// Waits before the last line of the answer to a verb.
    pub(crate) fn slow_to_end(self, verb: &'static str, time: Duration) -> Self {
        self.alter_verbs(Box::leak(Box::new([verb])), move |answer| {
            answer.before_last(Step::Wait(time))
        })
    }

    /// Sends these additional lines after the 426 to a download that the client aborts.
    pub(crate) fn says_after_abort(mut self, lines: &'static str) -> Self {
        self.after_abort = Some(lines);
        self
    }

    /// Sets how pipelined commands are treated.
    pub(crate) fn pipelined(mut self, pipelined: Pipelined) -> Self {
        self.pipelined = pipelined;
        self
    }

    /// Reads no command between EPSV or PASV and the data connection.
    pub(crate) fn epsv_blocks(mut self) -> Self {
        self.epsv_blocks = true;
        self
    }

    /// Keeps a REST in effect across listings and across refused or aborted transfers.
    pub(crate) fn rest_sticks(mut self) -> Self {
        self.rest_sticks = true;
        self
    }

    /// Greets sessions beyond `most` with these lines and closes them.
    pub(crate) fn most_sessions(mut self, most: usize, lines: &'static str) -> Self {
        self.most_sessions = Some((most, lines));
        self
    }

    pub(super) fn names(&self) -> Names {
        self.names.clone()
    }

    /// Returns the lines of a listing, except those of hidden names.
    pub(super) fn shown(&self, lines: &str) -> String {
        let Some(hides) = self.hides else {
            return lines.to_owned();
        };
        let name = |line: &str| {
            line.trim_end()
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let shown = lines
            .split_inclusive('\n')
            .filter(|line| !hides(&name(line)));
        shown.collect()
    }

    /// Returns the answer of the first hook that has one.
    pub(super) fn instead(&self, request: &Request, state: &mut State<'_>) -> Option<Answer> {
        self.hooks.iter().find_map(|hook| hook(request, state))
    }

    /// Returns the answer after all alterations.
    pub(super) fn altered(&self, request: &Request, answer: Answer) -> Answer {
        let alterations = self.alterations.iter();
        alterations.fold(answer, |answer, alteration| alteration(request, answer))
    }
}

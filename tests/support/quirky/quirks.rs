//! The quirks, each a small switch or hook; all of them combine.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Request, Step};
use super::file_tree::{NameChange, Names};
use super::session::State;

/// Answers a request instead of the honest server, or does not.
type Hook = Arc<dyn Fn(&Request, &mut State<'_>) -> Option<Answer> + Send + Sync>;

/// Changes an answer.
type Alteration = Arc<dyn Fn(&Request, Answer) -> Answer + Send + Sync>;

/// How commands fare that arrive before the reply to the one before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipelined {
    /// One after the other.
    Served,
    /// The control connection is closed.
    Closes,
    /// The last one gets this answer, the others none.
    OneAnswer(&'static str),
    /// Each is carried out before the one that it follows.
    Reversed,
    /// They are carried out in order, but refusals are sent first.
    RefusalsFirst,
    /// All but the first are lost.
    Lost,
}

/// What makes a server odd.
#[derive(Clone)]
pub(crate) struct Quirks {
    hooks: Vec<Hook>,
    alterations: Vec<Alteration>,
    /// The lines of FEAT.
    pub(super) features: Vec<String>,
    names: Names,
    hides: Option<fn(&str) -> bool>,
    /// Verbs of listing that list the current directory whatever they are asked.
    pub(super) ignores_path: Vec<&'static str>,
    pub(super) pipelined: Pipelined,
    pub(super) epsv_blocks: bool,
    /// A REST counts until a transfer of a file is complete, whatever comes between.
    pub(super) rest_sticks: bool,
    /// Said after the 426 to a download that the client gives up.
    pub(super) after_abort: Option<&'static str>,
    pub(super) most_sessions: Option<(usize, &'static str)>,
}

impl Quirks {
    /// An honest server.
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

    /// Answers what `hook` has an answer to. Earlier hooks go first.
    pub(crate) fn hook(
        mut self,
        hook: impl Fn(&Request, &mut State<'_>) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// Changes every answer, those of hooks included.
    pub(crate) fn alter(
        mut self,
        alteration: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.alterations.push(Arc::new(alteration));
        self
    }

    /// Changes the answers to these verbs that are no refusals.
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

    /// Always says this to a verb, and does nothing.
    pub(crate) fn says(self, verb: &'static str, lines: &'static str) -> Self {
        self.hook(move |request, _| (request.verb == verb).then(|| Answer::say(lines)))
    }

    /// Says this to a verb with exactly this argument.
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

    /// Does what a verb asks for and says this.
    pub(crate) fn does_and_says(self, verb: &'static str, lines: &'static str) -> Self {
        self.alter_verbs(Box::leak(Box::new([verb])), move |answer| {
            answer.ending_with(lines)
        })
    }

    /// Never answers a verb.
    pub(crate) fn silent_on(self, verb: &'static str) -> Self {
        self.hook(move |request, _| (request.verb == verb).then(Answer::silence))
    }

    /// Closes the control connection at a verb.
    pub(crate) fn closes_at(self, verb: &'static str) -> Self {
        self.hook(move |request, _| (request.verb == verb).then(Answer::close))
    }

    /// Does not know a verb, nor name it in FEAT.
    pub(crate) fn without(self, verb: &'static str) -> Self {
        self.without_as(verb, "500 Unknown command")
    }

    /// The same, said in these words.
    pub(crate) fn without_as(mut self, verb: &'static str, lines: &'static str) -> Self {
        self.features
            .retain(|feature| feature.split(' ').next() != Some(verb));
        self.says(verb, lines)
    }

    /// Knows neither MLST nor MLSD.
    pub(crate) fn without_facts(self) -> Self {
        self.without("MLSD").without("MLST")
    }

    /// Says this to verbs that it does not know.
    pub(crate) fn unknown_verbs(self, lines: &'static str) -> Self {
        self.alter(move |_, answer| match answer.steps.first() {
            Some(Step::Say(said)) if said.starts_with("500 Unknown") => Answer::say(lines),
            _ => answer,
        })
    }

    /// Names this feature, too.
    pub(crate) fn feature(mut self, line: &str) -> Self {
        self.features.push(line.to_owned());
        self
    }

    /// Says this first on every connection, instead of `220 Ready`.
    pub(crate) fn greeting(self, lines: &'static str) -> Self {
        self.says("CONNECT", lines)
    }

    /// Takes the options of LIST for a part of the name, and lists what is not there as empty.
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

    /// Lists the current directory whatever path these verbs are given.
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

    /// Lists these raw lines for a directory, in answer to LIST and STAT, with options or without.
    pub(crate) fn raw_listing(self, directory: &'static str, lines: &'static str) -> Self {
        self.listing_of(directory, &["LIST"], move || Answer::send_lines(lines))
            .listing_of(directory, &["STAT"], move || {
                Answer::say(format!("213-Status:\n{lines}\n213 End"))
            })
    }

    /// Takes `FOO` for `foo`, and keeps the spelling of a name when it is made.
    pub(crate) fn case_blind(mut self) -> Self {
        self.names.is_case_blind = true;
        self
    }

    /// Changes every name of every path so.
    pub(crate) fn changes_names(mut self, change: NameChange) -> Self {
        self.names.changes.push(change);
        self
    }

    /// Leaves such names out of its listings.
    pub(crate) fn hides(mut self, hides: fn(&str) -> bool) -> Self {
        self.hides = Some(hides);
        self
    }

    /// Says `preliminary` before the answer to a verb.
    pub(crate) fn says_before(self, verb: &'static str, preliminary: &'static str) -> Self {
        self.alter_verbs(Box::leak(Box::new([verb])), move |answer| {
            answer.after(Step::Say(preliminary.to_owned()))
        })
    }

    /// Says one thing more after the answer to a verb.
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

    /// Says this, too, after the 426 to a download that the client gives up.
    pub(crate) fn says_after_abort(mut self, lines: &'static str) -> Self {
        self.after_abort = Some(lines);
        self
    }

    /// Treats pipelined commands so.
    pub(crate) fn pipelined(mut self, pipelined: Pipelined) -> Self {
        self.pipelined = pipelined;
        self
    }

    /// Reads no command between EPSV or PASV and their data connection.
    pub(crate) fn epsv_blocks(mut self) -> Self {
        self.epsv_blocks = true;
        self
    }

    /// Keeps a REST over listings, and over transfers that are refused or aborted.
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

    /// The lines of a listing without those of hidden names.
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

    /// The first hook's answer, if one has any.
    pub(super) fn instead(&self, request: &Request, state: &mut State<'_>) -> Option<Answer> {
        self.hooks.iter().find_map(|hook| hook(request, state))
    }

    /// The answer as the alterations leave it.
    pub(super) fn altered(&self, request: &Request, answer: Answer) -> Answer {
        let alterations = self.alterations.iter();
        alterations.fold(answer, |answer, alteration| alteration(request, answer))
    }
}

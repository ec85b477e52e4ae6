//! Checks whether the server preserves a name. A server that changes it would overwrite another
//! file. Before a name of a kind that this server has not been seen to preserve is used, an empty
//! file is stored, looked up in the listing and deleted; its name has the same kinds and cannot
//! belong to another file. The result is recorded in the profile.

use super::error::{ErrorContext, Operation, refusal};
use super::listing::list_all;
use super::name_kind::{self, NameKind, kinds, trial_name};
use super::resumable_upload::ResumableUpload;
use super::retry::Exchange;
use super::temporary_name::is_temporary;
use super::transience::is_lost;
use super::{Error, ErrorKind, Remote, RemoteHandle, change};
use crate::ftp::{Capability, Completeness, Entry, Finding, RemotePath, Session};
use crate::pool;

/// Length of the temporary names, which is preserved if [`Capability::PlainNames`] is proven.
const PLAIN_LENGTH: usize = 28;
/// Lengths that are tried, so that not every longer name needs its own trial.
const LENGTHS: [usize; 3] = [64, 128, 255];

/// What a directory's listing shows about one name in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The listing shows the name, perhaps in another case.
    Listed,
    /// The listing would show the name.
    Missing,
    /// The listing does not show the name, and the server may omit names that begin with a dot.
    MayBeHidden,
    /// There is no listing, or only an incomplete one.
    Unknown,
}

/// The result of trying a name.
enum Trial {
    Kept,
    /// The name is not listed; this one may be listed instead.
    Changed(Option<Vec<u8>>),
    /// The server does not allow a trial.
    Unknown,
    /// The connection failed, and the server can be reached.
    Lost,
    /// The server cannot be reached. A later trial may succeed.
    Unasked(Error),
}

/// The properties of a name that are not proven to be preserved.
struct Unproven {
    kinds: Vec<NameKind>,
    /// The required length.
    length: Option<usize>,
}

impl RemoteHandle {
    /// Whether the server is known to preserve `name`, so that its replies about the name are about
    /// this file.
    pub(super) fn is_name_kept(&self, name: &[u8]) -> bool {
        let unproven = self.unproven(name, false);
        unproven.is_ok_and(|unproven| unproven.kinds.is_empty() && unproven.length.is_none())
    }

    fn unproven(&self, name: &[u8], is_confirmed: bool) -> Result<Unproven, &'static str> {
        let profile = self.profile();
        let mut unproven = Unproven {
            kinds: Vec::new(),
            length: None,
        };
        for kind in kinds(name) {
            match profile.finding(kind.capability()) {
                Finding::Works => {}
                Finding::Fails => return Err(kind.capability().absence()),
                Finding::Unknown | Finding::Announced | Finding::NotAnnounced => {
                    unproven.kinds.push(kind);
                }
            }
        }
        let (kept, cut) = profile.name_lengths();
        let plain = if is_confirmed || profile.is_proven(Capability::PlainNames) {
            PLAIN_LENGTH
        } else {
            0
        };
        let needed = name_kind::length(name)
            .filter(|length| *length > kept.max(plain))
            .filter(|_| !profile.is_proven(Capability::LongNames));
        if let Some(needed) = needed {
            if cut > 0 && needed >= cut {
                return Err("cuts names of this length");
            }
            unproven.length = Some(needed);
        }
        Ok(unproven)
    }
}

impl Remote {
    /// Refuses an operation that would affect another file than the one at `context.path`, as far
    /// as that is known.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] if the server changes the name.
    pub(super) fn check_name(&self, context: &ErrorContext<'_>) -> Result<(), Error> {
        // Other kinds are changed only in new names (Pure-FTPd).
        let dropped = kinds(context.path.name()).into_iter().find(|kind| {
            matches!(kind, NameKind::Blanks | NameKind::Dashes)
                && self.profile().finding(kind.capability()) == Finding::Fails
        });
        match dropped {
            Some(kind) => {
                let reason = format!("the server {}", kind.capability().absence());
                Err(context.error(ErrorKind::InvalidName, &reason))
            }
            None => Ok(()),
        }
    }

    /// Makes sure that the server preserves the name at `context.path`. With `is_confirmed`, a
    /// plain name of its length is looked up in the listing before anything is renamed to it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] if the server changes the name.
    pub(super) fn confirm_name(
        &self,
        exchange: &mut Exchange<'_>,
        context: &ErrorContext<'_>,
        is_confirmed: bool,
    ) -> Result<(), Error> {
        let name = context.path.name();
        if name.is_empty() || is_temporary(name) {
            return Ok(());
        }
        let unproven = self.unproven(name, is_confirmed).map_err(|reason| {
            context.error(ErrorKind::InvalidName, &format!("the server {reason}"))
        })?;
        if unproven.kinds.is_empty() && unproven.length.is_none() {
            return Ok(());
        }
        let longer = unproven.length.map(|length| self.length_to_try(length));
        let mut trial = self.try_name(exchange, context.path, &unproven.kinds, longer);
        // The server may have been away for a moment. One that closes the connection because of the
        // name does so again.
        if matches!(trial, Trial::Lost) {
            trial = self.try_name(exchange, context.path, &unproven.kinds, longer);
        }
        match trial {
            Trial::Kept => {
                self.kept(&unproven.kinds, longer);
                Ok(())
            }
            Trial::Changed(made) => {
                self.find_changed(exchange, context.path, &unproven, longer);
                let still = self.unproven(name, is_confirmed);
                if still.is_ok_and(|still| still.kinds.is_empty() && still.length.is_none()) {
                    return Ok(());
                }
                let reason = match made {
                    Some(made) => format!(
                        "the server does not preserve names of this kind: it changed one to \"{}\"",
                        made.escape_ascii()
                    ),
                    None => "the server does not preserve names of this kind".to_owned(),
                };
                Err(context.error(ErrorKind::InvalidName, &reason))
            }
            Trial::Unknown | Trial::Lost if unproven.kinds.is_empty() => Ok(()),
            // The server may have taken the backslash for a slash, and MKD may create the parent
            // directories (ftp-srv).
            Trial::Unknown | Trial::Lost if unproven.kinds.contains(&NameKind::Backslashes) => {
                let reason = "the server does not allow a trial of a name with a backslash";
                Err(context.error(ErrorKind::InvalidName, reason))
            }
            Trial::Unknown | Trial::Lost => self.confirm_by_answers(exchange, context),
            Trial::Unasked(error) => Err(context.error_because(error.kind, &error)),
        }
    }

    /// Returns whether the listing of its directory shows the name at `path`.
    pub(super) fn presence(&self, exchange: &mut Exchange<'_>, path: &RemotePath) -> Presence {
        let Some(Ok(listing)) = path.parent().map(|it| list_all(self, exchange, &it)) else {
            return Presence::Unknown;
        };
        if self.is_among(&listing.entries, path.name()) {
            Presence::Listed
        } else if listing.completeness.answers_for(path.name()) {
            Presence::Missing
        } else {
            match listing.completeness {
                Completeness::Visible | Completeness::Blank if path.name().starts_with(b".") => {
                    Presence::MayBeHidden
                }
                _ => Presence::Unknown,
            }
        }
    }

    fn is_among(&self, entries: &[Entry], name: &[u8]) -> bool {
        if entries.iter().any(|entry| entry.name == name) {
            return true;
        }
        let mut names = entries.iter().map(|entry| &entry.name);
        let is_folded = names.any(|listed| listed.eq_ignore_ascii_case(name));
        if is_folded {
            let why = "it changed the case of a new name";
            self.profile().fails(Capability::CaseSensitive, &why);
        }
        is_folded
    }

    fn length_to_try(&self, needed: usize) -> usize {
        let (_, cut) = self.profile().name_lengths();
        let rounded = LENGTHS.into_iter().find(|length| *length >= needed);
        rounded
            .filter(|length| cut == 0 || *length < cut)
            .unwrap_or(needed)
    }

    fn kept(&self, kinds: &[NameKind], length: Option<usize>) {
        for kind in kinds {
            self.profile().works(kind.capability());
        }
        if let Some(length) = length {
            self.profile().record_preserved_length(length);
        }
    }

    /// Finds out which of several kinds the server does not preserve.
    fn find_changed(
        &self,
        exchange: &mut Exchange<'_>,
        path: &RemotePath,
        unproven: &Unproven,
        longer: Option<usize>,
    ) {
        let is_plain_open = !self.profile().is_proven(Capability::PlainNames);
        let plain = Some(PLAIN_LENGTH).filter(|_| longer.is_none() && is_plain_open);
        let exact = unproven.length.filter(|length| Some(*length) != longer);
        let mut is_cut = false;
        for length in longer.into_iter().chain(exact).chain(plain) {
            match self.try_name(exchange, path, &[], Some(length)) {
                Trial::Kept => {
                    self.profile().record_preserved_length(length);
                    break;
                }
                Trial::Changed(_) => {
                    self.profile().record_cut_length(length);
                    is_cut = true;
                }
                Trial::Unknown | Trial::Lost | Trial::Unasked(_) => return,
            }
        }
        // If nothing else can be the cause, the result is known, and another trial might have
        // another result: rclone lists a new name as it was sent for a moment.
        if let ([kind], None, false) = (unproven.kinds.as_slice(), unproven.length, is_cut)
            && self.changes_by(*kind)
        {
            self.profile()
                .fails(kind.capability(), &"a name of this kind was changed");
            return;
        }
        let mut kept = Vec::new();
        for kind in &unproven.kinds {
            // A word begins after a blank.
            let with = match kind {
                NameKind::Dashes => [NameKind::Blanks, *kind],
                other => [*other; 2],
            };
            match self.try_name(exchange, path, &with, None) {
                Trial::Kept => kept.push(*kind),
                Trial::Changed(_) if self.changes_by(*kind) => {
                    self.profile()
                        .fails(kind.capability(), &"a name of this kind was changed");
                }
                Trial::Changed(_) | Trial::Unknown => {}
                Trial::Lost | Trial::Unasked(_) => break,
            }
        }
        // One of them is the cause, so these results contradict each other.
        if is_cut || kept.len() < unproven.kinds.len() {
            self.kept(&kept, None);
        }
    }

    /// Whether a changed trial of this kind was changed because of the kind itself.
    fn changes_by(&self, kind: NameKind) -> bool {
        let blanks = self.profile().finding(Capability::BlankNames);
        kind != NameKind::Dashes || blanks != Finding::Fails
    }

    /// Stores an empty file next to `path` whose name has these kinds and this length, and checks
    /// how the server lists its name.
    fn try_name(
        &self,
        exchange: &mut Exchange<'_>,
        path: &RemotePath,
        kinds: &[NameKind],
        length: Option<usize>,
    ) -> Trial {
        // On servers that truncate names, a trial of another kind must fit in the preserved length.
        let fitting = match self.profile().name_lengths() {
            (_, 0) => None,
            (0, _) => Some(name_kind::SHORT.0),
            (kept, _) => Some(kept),
        };
        let Some(mut trial) = self.new_trial(path, |token| {
            trial_name(path.name(), kinds, token, length.or(fitting))
        }) else {
            return Trial::Unknown;
        };
        let tried = trial.path().clone();
        let mut outcome = match exchange.start_transfer(|session| session.store(&tried, 0)) {
            Ok(started) => {
                let mut sending = ResumableUpload::new(self, &tried, true, started);
                let stored = sending.finish(None);
                exchange.resume_with(sending.into_lease());
                match stored {
                    Ok(()) => self.find_trial(exchange, &tried),
                    Err(fault) => self.untried(exchange, &tried, &fault),
                }
            }
            Err(fault) => {
                let outcome = self.untried(exchange, &tried, &fault);
                if matches!(outcome, Trial::Unknown) {
                    trial.mark_gone();
                }
                return outcome;
            }
        };
        // rclone lists a new name as it was sent for a moment.
        if matches!(outcome, Trial::Kept) {
            if trial.try_delete(exchange) {
                return outcome;
            }
            // One that was listed may also be gone by now.
            if let changed @ Trial::Changed(Some(_)) = self.find_trial(exchange, &tried) {
                outcome = changed;
            }
        }
        // Some servers find the file only by the name that they list (rclone).
        let made = match &outcome {
            Trial::Changed(Some(made)) => tried.parent().and_then(|it| it.join(made).ok()),
            Trial::Changed(None)
            | Trial::Kept
            | Trial::Unknown
            | Trial::Lost
            | Trial::Unasked(_) => None,
        };
        match made {
            Some(made) if change::delete_in(self, exchange, &made).is_ok() => trial.mark_gone(),
            Some(_) | None => trial.delete(exchange),
        }
        outcome
    }

    /// Returns the result after the file at `tried` could not be stored.
    fn untried(
        &self,
        exchange: &mut Exchange<'_>,
        tried: &RemotePath,
        fault: &pool::Error,
    ) -> Trial {
        log::debug!("cannot try the name {tried}: {fault}");
        if refusal(fault).is_some() {
            return Trial::Unknown;
        }
        match exchange.run_idempotent(Session::noop) {
            Ok(()) => Trial::Lost,
            Err(fault) => {
                let context = ErrorContext::new(Operation::Store, tried);
                Trial::Unasked(self.diagnose(exchange, &context, &fault))
            }
        }
    }

    fn find_trial(&self, exchange: &mut Exchange<'_>, tried: &RemotePath) -> Trial {
        let listing = match tried.parent().map(|it| list_all(self, exchange, &it)) {
            Some(Ok(listing)) => listing,
            Some(Err(error)) if error.kind.is_unanswered() => return Trial::Unasked(error),
            Some(Err(_)) | None => return Trial::Unknown,
        };
        let name = tried.name();
        if self.is_among(&listing.entries, name) {
            return Trial::Kept;
        }
        if !listing.completeness.answers_for(name) {
            return Trial::Unknown;
        }
        let made = listing
            .entries
            .into_iter()
            .find(|entry| may_come_of(entry, name));
        let made = made.map(|entry| entry.name);
        if let Some(made) = &made {
            log::warn!(
                path = tried;
                "the server changed the name \"{}\" to \"{}\"",
                name.escape_ascii(),
                made.escape_ascii()
            );
        }
        Trial::Changed(made)
    }

    /// Confirms a name without a trial: the server has the file under this name, or nothing that it
    /// takes for it.
    fn confirm_by_answers(
        &self,
        exchange: &mut Exchange<'_>,
        context: &ErrorContext<'_>,
    ) -> Result<(), Error> {
        let path = context.path;
        if self.presence(exchange, path) == Presence::Listed {
            return Ok(());
        }
        let profile = self.profile();
        let answer = if profile.has(Capability::Mlst) {
            exchange
                .run_idempotent(|session| session.mlst(path))
                .map(drop)
        } else if profile.has(Capability::Size) {
            exchange
                .run_idempotent(|session| session.size(path))
                .map(drop)
        } else {
            exchange
                .run_idempotent(|session| session.modified(path))
                .map(drop)
        };
        match answer {
            Err(fault) if refusal(&fault).is_some() => Ok(()),
            Err(fault) if is_lost(&fault) => Err(self.diagnose(exchange, context, &fault)),
            Ok(()) | Err(_) => {
                let reason = "it is unknown whether the server preserves names of this kind";
                Err(context.error(ErrorKind::InvalidName, reason))
            }
        }
    }
}

/// Whether the server may have derived `entry` from `tried`: they have a part of its digits in
/// common.
fn may_come_of(entry: &Entry, tried: &[u8]) -> bool {
    let lower = |name: &[u8]| name.to_ascii_lowercase();
    let (made, tried) = (lower(&entry.name), lower(tried));
    let begins = tried.windows(5).position(|part| part == b"ftpfs");
    let digits = begins.and_then(|at| tried.get(at + 6..at + 14));
    digits.is_some_and(|digits| made.windows(digits.len()).any(|part| part == digits))
}

//! Properties of a server: announced by FEAT, known for its family, observed in use, remembered
//! from earlier mounts, or disabled by the user. All sessions to a server share one profile.
//!
//! Each [`Capability`] has a [`Finding`]. Observations override announcements, and what the user
//! disables remains off. A server that falls out of step while several commands are outstanding, or
//! while a prepared data connection is held, loses both capabilities (`ServerProfile::suspect`):
//! from then on its sessions send one command at a time, and EPSV right before its transfer.

mod capability;
mod family;
mod host_identity;
mod last_heard;
mod record;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cause::Cause;
use super::features::Features;
use super::path::NAME_MAX;
use super::reply::Reply;

pub use capability::Capability;
pub use host_identity::HostIdentity;
pub use record::{ProfileRecord, ServerIdentity};

use family::Family;
use last_heard::LastHeard;

/// Bits of a stored finding. The bits above hold its time.
const FINDING_BITS: u32 = 3;
/// Minimum wait for a reply before a server with unproven pipelining is suspected.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// The same wait as a number of round trips, for slow connections.
const PATIENCE_IN_ROUND_TRIPS: u32 = 4;
/// Number of logins sent in one write that end without a reply until they are given up.
const MAX_LOST_LOGINS: u8 = 2;
/// How long the features of a host are believed.
const MAX_AGE_OF_FEATURES: Duration = Duration::from_secs(600);
/// Proofs for [`Capability::EarlyDataConnection`]: a transfer used the connection, and another
/// command was answered while it was held.
const CARRIED: u8 = 1;
const ANSWERED_WHILE_HELD: u8 = 2;

/// What is known about one capability of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Finding {
    /// Nothing is known.
    Unknown = 0,
    /// FEAT lists it.
    Announced = 1,
    /// FEAT would list it, and does not.
    NotAnnounced = 2,
    /// It was observed to work, for this server or its family.
    Works = 3,
    /// It was observed to fail, for this server or its family.
    Fails = 4,
}

impl Finding {
    fn from_bits(bits: u64) -> Self {
        match bits & ((1 << FINDING_BITS) - 1) {
            1 => Self::Announced,
            2 => Self::NotAnnounced,
            3 => Self::Works,
            4 => Self::Fails,
            _ => Self::Unknown,
        }
    }
}

/// A sign that a server does not support commands or data connections sent ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// A reply that cannot answer its command.
    OutOfStep,
    /// Bytes that are not a reply.
    Nonsense,
    /// The control connection was closed.
    Closed,
    /// No reply within [`ServerProfile::patience`].
    Silence,
}

impl Suspicion {
    /// Whether a network failure is ruled out as the cause.
    fn is_proof(self) -> bool {
        matches!(self, Self::OutOfStep | Self::Nonsense)
    }
}

/// The properties of a server. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ServerProfile {
    inner: Arc<ProfileInner>,
}

#[derive(Debug)]
struct ProfileInner {
    /// [`Finding`] and time of each capability.
    findings: [AtomicU64; Capability::COUNT],
    /// Number of observations against a capability that do not yet suffice for a finding.
    strikes: [AtomicU8; Capability::COUNT],
    /// Capabilities disabled by the user, as a bit set of indices.
    without: u128,
    early_proofs: AtomicU8,
    demotions: AtomicU32,
    /// Session limit of the server as observed; 0 while unknown.
    session_limit: AtomicUsize,
    /// Length in bytes of the longest name that was preserved and the shortest that was cut; 0
    /// while unknown.
    preserved_length: AtomicUsize,
    cut_length: AtomicUsize,
    last_heard: LastHeard,
    known: Mutex<LoginFacts>,
}

/// Facts observed at login.
#[derive(Debug, Default)]
struct LoginFacts {
    announced: Option<Features>,
    /// What the last host that was asked for its features announced.
    asked: Option<AskedHost>,
    /// Findings of an earlier mount, until it is known whether this is the same server.
    remembered: Option<ProfileRecord>,
    identity: Option<ServerIdentity>,
    /// The host of the last login.
    host: Option<HostIdentity>,
    /// A login took USER and PASS, and with TLS, PBSZ and PROT before them.
    is_usual_login: bool,
    system: String,
}

impl Default for ProfileInner {
    fn default() -> Self {
        Self {
            findings: [const { AtomicU64::new(0) }; Capability::COUNT],
            strikes: [const { AtomicU8::new(0) }; Capability::COUNT],
            without: 0,
            early_proofs: AtomicU8::new(0),
            demotions: AtomicU32::new(0),
            session_limit: AtomicUsize::new(0),
            preserved_length: AtomicUsize::new(0),
            cut_length: AtomicUsize::new(0),
            last_heard: LastHeard::default(),
            known: Mutex::default(),
        }
    }
}

impl ServerProfile {
    /// Creates a profile of an unknown server with the capabilities `without` disabled.
    pub fn without(without: &[Capability]) -> Self {
        let bits = without
            .iter()
            .fold(0_u128, |bits, it| bits | 1 << it.index());
        let inner = ProfileInner {
            without: bits,
            ..ProfileInner::default()
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Whether to use `capability`: it works, is announced, or is assumed while nothing is known.
    pub fn has(&self, capability: Capability) -> bool {
        match self.finding(capability) {
            Finding::Announced | Finding::Works => true,
            Finding::NotAnnounced | Finding::Fails => false,
            Finding::Unknown => capability.is_assumed(),
        }
    }

    /// What is known about `capability`.
    pub fn finding(&self, capability: Capability) -> Finding {
        if self.is_switched_off(capability) {
            return Finding::Fails;
        }
        self.cell(capability).map_or(Finding::Unknown, |cell| {
            Finding::from_bits(cell.load(Relaxed))
        })
    }

    /// Whether `capability` was observed to work.
    pub fn is_proven(&self, capability: Capability) -> bool {
        self.finding(capability) == Finding::Works
    }

    /// Whether the user disabled `capability`.
    pub fn is_switched_off(&self, capability: Capability) -> bool {
        self.inner.without & (1 << capability.index()) != 0
    }

    /// Records that `capability` works.
    pub fn works(&self, capability: Capability) {
        if self.set(capability, Finding::Works, now()) {
            log::debug!("the server's {} works", capability.name());
        }
    }

    /// Records that `capability` fails. Returns whether that is new, in which case it is logged
    /// with `why`.
    pub fn fails(&self, capability: Capability, why: &dyn Cause) -> bool {
        let is_news = self.has(capability);
        self.set(capability, Finding::Fails, now());
        if is_news {
            let reply = why.quoted_reply();
            log::info!(reply; "the server {} ({why})", capability.absence());
        }
        is_news
    }

    /// Forgets that `capability` failed: it is tried again.
    pub(super) fn forget_failure(&self, capability: Capability) {
        if self.finding(capability) == Finding::Fails {
            self.set(capability, Finding::Unknown, now());
        }
    }

    /// Counts an observation against `capability` that proves nothing by itself. `most` of them are
    /// a failure; returns true from then on.
    pub fn doubt(&self, capability: Capability, most: u8, why: &dyn Cause) -> bool {
        let Some(strikes) = self.inner.strikes.get(capability.index()) else {
            return false;
        };
        let before = strikes.fetch_add(1, Relaxed);
        if before.saturating_add(1) < most {
            return false;
        }
        strikes.store(most, Relaxed);
        self.fails(capability, why);
        true
    }

    /// The SYST reply in lower case; empty before [`Self::identify`].
    pub fn system(&self) -> String {
        self.known().system.clone()
    }

    /// All findings so far: capabilities that were observed to work or fail, or that the user
    /// disabled.
    pub fn findings(&self) -> Vec<(Capability, Finding)> {
        let all = Capability::all().map(|capability| (capability, self.finding(capability)));
        all.filter(|(_, finding)| matches!(finding, Finding::Works | Finding::Fails))
            .collect()
    }

    /// Number of times that sending ahead, or EPSV, was given up. A step that failed while this
    /// increased can be repeated.
    pub fn demotions(&self) -> u32 {
        self.inner.demotions.load(Relaxed)
    }

    /// Session limit of the server, as observed.
    pub fn session_limit(&self) -> Option<usize> {
        Some(self.inner.session_limit.load(Relaxed)).filter(|limit| *limit > 0)
    }

    /// Records that the server allows `limit` sessions.
    pub fn set_session_limit(&self, limit: usize) {
        self.inner.session_limit.store(limit, Relaxed);
    }

    /// Lengths in bytes of the longest name that was preserved and the shortest that was cut; 0
    /// while unknown.
    pub fn name_lengths(&self) -> (usize, usize) {
        let load = |length: &AtomicUsize| length.load(Relaxed);
        (
            load(&self.inner.preserved_length),
            load(&self.inner.cut_length),
        )
    }

    /// Records that a name of `length` bytes was preserved.
    pub fn record_preserved_length(&self, length: usize) {
        self.inner.preserved_length.fetch_max(length, Relaxed);
        if length >= NAME_MAX {
            self.works(Capability::LongNames);
        }
    }

    /// Records that a name of `length` bytes was cut.
    pub fn record_cut_length(&self, length: usize) {
        let shorter = |cut| (cut == 0 || length < cut).then_some(length);
        // An error only means that there is no change.
        let _ = self
            .inner
            .cut_length
            .fetch_update(Relaxed, Relaxed, shorter);
    }

    /// Records that the server sent or accepted something.
    pub fn record_heard(&self) {
        self.inner.last_heard.record();
    }

    /// When the server last sent or accepted something on any connection; for a server that never
    /// did, when this profile was created.
    pub fn last_heard(&self) -> Instant {
        self.inner.last_heard.at()
    }

    /// Records the greeting and the features. The first login fills in what is announced and what
    /// is known of the server's family; observations remain.
    pub(super) fn record_login(&self, greeting: &Reply, features: &Features) {
        {
            let mut known = self.known();
            if known.announced.as_ref() == Some(features) {
                return;
            }
            known.announced = Some(features.clone());
        }
        for (capability, is_announced) in announced(features) {
            let finding = if is_announced {
                Finding::Announced
            } else {
                Finding::NotAnnounced
            };
            self.presume(capability, finding);
        }
        self.presume_all(Family::quirks_by_features(features));
        let greeting = greeting.words();
        self.presume_all(Family::quirks_by_greeting(&greeting));
        if let Some(family) = Family::of(&greeting, features) {
            for capability in Family::TRUE_TO_FEAT {
                if self.finding(capability) == Finding::Announced {
                    self.presume(capability, Finding::Works);
                }
            }
            self.presume_all(family.quirks());
            for capability in Family::NAMES {
                self.presume(capability, Finding::Works);
            }
        }
    }

    /// Records the host that a session was logged in to, before anything is asked there.
    pub(super) fn record_host(&self, host: HostIdentity) {
        self.known().host = Some(host);
    }

    /// Returns the host of the last login. `None` before the first one.
    pub fn host(&self) -> Option<HostIdentity> {
        self.known().host
    }

    /// Records that a login took USER and PASS, and with TLS, PBSZ and PROT before them.
    pub(super) fn record_usual_login(&self) {
        self.known().is_usual_login = true;
    }

    /// Records that `host` has announced `features`.
    pub(super) fn record_features(&self, host: HostIdentity, features: &Features) {
        self.known().asked = Some(AskedHost {
            host,
            features: features.clone(),
            at: Instant::now(),
        });
    }

    /// What the last host that was asked for its features announced, if the next login can be sent
    /// in one write.
    pub(in crate::ftp) fn pipelined_login(&self) -> Option<AskedHost> {
        let is_supported =
            self.is_proven(Capability::Pipelining) && self.has(Capability::PipelinedLogin);
        let known = self.known();
        let asked = known.asked.clone();
        asked.filter(|_| is_supported && known.is_usual_login)
    }

    /// Records that a login sent in one write failed because of `why`, which the network can have
    /// caused if it `is_doubtful`. Later ones are sent one command at a time.
    pub(super) fn pipelined_login_failed(&self, why: &dyn Cause, is_doubtful: bool) {
        if is_doubtful {
            self.doubt(Capability::PipelinedLogin, MAX_LOST_LOGINS, why);
        } else if self.fails(Capability::PipelinedLogin, why) {
            self.inner.demotions.fetch_add(1, Relaxed);
        }
    }

    /// Records that a login sent in one write succeeded. Earlier ones that were lost do not count
    /// any more.
    pub(super) fn pipelined_login_succeeded(&self) {
        if let Some(strikes) = self.inner.strikes.get(Capability::PipelinedLogin.index()) {
            strikes.store(0, Relaxed);
        }
    }

    /// Whether a login has succeeded since the program started.
    pub(super) fn has_logged_in(&self) -> bool {
        self.known().announced.is_some()
    }

    fn presume_all(&self, quirks: &[(Capability, bool)]) {
        for (capability, works) in quirks {
            let finding = if *works {
                Finding::Works
            } else {
                Finding::Fails
            };
            self.presume(*capability, finding);
        }
    }

    /// Time limit for a reply while commands or a data connection were sent ahead and the server
    /// has not proved to support that.
    pub(super) fn patience(round_trip: Duration) -> Duration {
        MIN_PATIENCE.max(round_trip.saturating_mul(PATIENCE_IN_ROUND_TRIPS))
    }

    /// Evaluates the failure of a session with `flight` outstanding commands, and with or without a
    /// prepared data connection. If that explains it, nothing is sent ahead from now on. Returns
    /// whether that is new.
    pub(super) fn suspect(&self, sign: Suspicion, flight: usize, holds_data: bool) -> bool {
        let explains = |capability, is_in_use| {
            is_in_use && self.has(capability) && (sign.is_proof() || !self.is_proven(capability))
        };
        let by_pipelining = explains(Capability::Pipelining, flight > 1);
        let by_data = explains(Capability::EarlyDataConnection, holds_data);
        if !by_pipelining && !by_data {
            return false;
        }
        let why = match sign {
            Suspicion::OutOfStep => "its replies are out of step",
            Suspicion::Nonsense => "it sent nonsense",
            Suspicion::Closed => "it closed the connection",
            Suspicion::Silence => "it fell silent",
        };
        self.fails(Capability::Pipelining, &why);
        self.fails(Capability::EarlyDataConnection, &why);
        self.inner.demotions.fetch_add(1, Relaxed);
        true
    }

    /// Records that EPSV was not answered. The waiting session is lost; later ones use PASV.
    pub(super) fn extended_is_unanswered(&self) {
        self.fails(Capability::Epsv, &"it was not answered");
        self.inner.demotions.fetch_add(1, Relaxed);
    }

    /// Records that a batch of commands, including refused ones, was answered in order.
    pub(super) fn prove_pipelining(&self) {
        self.works(Capability::Pipelining);
    }

    /// Records that a transfer used a data connection prepared ahead.
    pub(super) fn record_early_transfer(&self) {
        self.record_early_proof(CARRIED);
    }

    /// Records that a command was answered while a prepared data connection was held.
    pub(super) fn record_reply_while_held(&self) {
        self.record_early_proof(ANSWERED_WHILE_HELD);
    }

    fn record_early_proof(&self, proof: u8) {
        let before = self.inner.early_proofs.fetch_or(proof, Relaxed);
        if before != before | proof && before | proof == CARRIED | ANSWERED_WHILE_HELD {
            self.presume(Capability::EarlyDataConnection, Finding::Works);
        }
    }

    /// Stores `finding` unless there is an observation.
    fn presume(&self, capability: Capability, finding: Finding) {
        if !matches!(self.finding(capability), Finding::Works | Finding::Fails) {
            self.set(capability, finding, now());
        }
    }

    /// Stores a finding. Returns whether that changed anything.
    fn set(&self, capability: Capability, finding: Finding, at: u64) -> bool {
        let Some(cell) = self.cell(capability) else {
            return false;
        };
        let before = Finding::from_bits(cell.load(Relaxed));
        if before == finding {
            return false;
        }
        cell.store(at << FINDING_BITS | finding as u64, Relaxed);
        true
    }

    fn known(&self) -> MutexGuard<'_, LoginFacts> {
        self.inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, capability: Capability) -> Option<&AtomicU64> {
        self.inner.findings.get(capability.index())
    }
}

/// What FEAT says about the capabilities that it covers.
/// The features of a host.
#[derive(Debug, Clone)]
pub(in crate::ftp) struct AskedHost {
    host: HostIdentity,
    pub(in crate::ftp) features: Features,
    /// When it was asked.
    at: Instant,
}

impl AskedHost {
    /// Whether `host` need not be asked again. It may be a different one, or have been updated.
    pub(in crate::ftp) fn answers_for(&self, host: HostIdentity) -> bool {
        self.host == host && self.at.elapsed() < MAX_AGE_OF_FEATURES
    }
}

fn announced(features: &Features) -> impl Iterator<Item = (Capability, bool)> {
    use Capability as C;
    let fact = |name: &str| {
        features.parameters("MFF").is_some_and(|facts| {
            facts
                .split(';')
                .any(|fact| fact.trim().eq_ignore_ascii_case(name))
        })
    };
    let has_feat = ["MLST", "SIZE", "MDTM", "MFMT", "REST", "UTF8", "EPSV"]
        .iter()
        .any(|feature| features.has(feature));
    // Servers without FEAT may still support these commands, so they are tried once. aioftp
    // supports MLSD and MLST.
    let worth_a_question = [C::Mlsd, C::Mlst, C::Size, C::Mdtm, C::Mfmt, C::MdtmSet];
    [
        // MLST stands for MLSD in FEAT (RFC 3659 §7.8).
        (C::Mlsd, features.has("MLST") || features.has("MLSD")),
        (C::Mlst, features.has("MLST")),
        (C::Size, features.has("SIZE")),
        (C::Mdtm, features.has("MDTM")),
        (C::Rang, features.has("RANG")),
        (C::Avbl, features.has("AVBL")),
        (C::Utf8, features.has("UTF8")),
        (C::Mfmt, features.has("MFMT")),
        (C::MffModify, fact("modify")),
        // Servers whose MDTM only reads times treat the time as part of the name and reply with
        // 550.
        (C::MdtmSet, features.has("MDTM")),
        (C::MffMode, fact("unix.mode")),
        (C::MffGroup, fact("unix.group")),
        // mod_copy announces its three commands by this one.
        (
            C::CopyPair,
            features.has("SITE COPY") || features.has("SITE CPFR"),
        ),
        (C::SiteCopy, features.has("SITE COPY")),
        (C::SiteSymlink, features.has("SITE SYMLINK")),
        (C::Xquota, features.has("XQUOTA")),
        (C::Hash, features.has("HASH")),
        (C::Xsha256, features.has("XSHA256")),
        (C::Xsha1, features.has("XSHA1")),
        (C::Xmd5, features.has("XMD5")),
        (C::Xcrc, features.has("XCRC")),
    ]
    .into_iter()
    .filter(move |(capability, _)| has_feat || !worth_a_question.contains(capability))
}

/// Returns the time in seconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;

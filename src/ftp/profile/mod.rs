//! What a server can and does: announced by FEAT, known of its kind, observed in use, remembered
//! from earlier mounts, or switched off by the user. One profile serves all sessions to a server.
//!
//! Each [`Capability`] has a [`Finding`]. What was observed outweighs what was announced, and what
//! the user switched off stays off. A server that falls out of step while several commands are
//! outstanding, or while a data connection is held ready, loses those two capabilities
//! (`ServerProfile::suspect`): its sessions then send one command at a time, and EPSV right before
//! its transfer.

mod capability;
mod family;
mod record;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::features::Features;
use super::path::NAME_MAX;
use super::reply::Reply;

pub use capability::Capability;
pub use record::{ProfileRecord, ServerIdentity};

use family::Family;

/// Bits of a stored finding; above them is the time at which it was made.
const FINDING_BITS: u32 = 3;
/// Shortest wait for a reply after which a server that has not proved pipelining is suspected.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Round trips that make up that wait where they take longer.
const PATIENCE_IN_ROUND_TRIPS: u32 = 4;
/// Proofs for [`Capability::EarlyDataConnection`]: a transfer used the connection, and another
/// command was answered while it was held.
const CARRIED: u8 = 1;
const ANSWERED_BESIDE: u8 = 2;

/// What is known about one capability of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Finding {
    /// Nothing.
    Unknown = 0,
    /// FEAT names it.
    Announced = 1,
    /// FEAT would name it, and does not.
    NotAnnounced = 2,
    /// It was seen to work, or the server is of a kind that was.
    Works = 3,
    /// It was seen to fail, or the server is of a kind that was.
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

/// A sign that a server does not bear commands or data connections sent ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// A reply that cannot be the answer to its command.
    OutOfStep,
    /// Bytes that are no reply.
    Nonsense,
    /// The control connection was closed.
    Closed,
    /// No reply within [`ServerProfile::patience`].
    Silence,
}

impl Suspicion {
    /// Whether no network failure explains it.
    fn is_proof(self) -> bool {
        matches!(self, Self::OutOfStep | Self::Nonsense)
    }
}

/// What a server can and does; a handle, shared by all sessions to it.
#[derive(Debug, Clone, Default)]
pub struct ServerProfile {
    inner: Arc<ProfileInner>,
}

#[derive(Debug)]
struct ProfileInner {
    /// [`Finding`] and time of each capability.
    findings: [AtomicU64; Capability::COUNT],
    /// Signs against a capability that are not yet a finding.
    strikes: [AtomicU8; Capability::COUNT],
    /// Capabilities that the user switched off, by index.
    without: u64,
    early_proofs: AtomicU8,
    demotions: AtomicU32,
    /// Most sessions that the server was found to allow; 0 while unknown.
    session_limit: AtomicUsize,
    /// Longest name that was kept, and shortest one that was cut; 0 while unknown. Bytes.
    name_kept: AtomicUsize,
    name_cut: AtomicUsize,
    known: Mutex<LoginFacts>,
}

/// What a login showed.
#[derive(Debug, Default)]
struct LoginFacts {
    announced: Option<Features>,
    /// Of an earlier mount, until it is known whether this is the same server.
    remembered: Option<ProfileRecord>,
    identity: Option<ServerIdentity>,
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
            name_kept: AtomicUsize::new(0),
            name_cut: AtomicUsize::new(0),
            known: Mutex::default(),
        }
    }
}

impl ServerProfile {
    /// A profile of a server about which nothing is known, with `without` switched off.
    pub fn without(without: &[Capability]) -> Self {
        let bits = without.iter().fold(0, |bits, it| bits | 1 << it.index());
        let inner = ProfileInner {
            without: bits,
            ..ProfileInner::default()
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Whether `capability` is worth using: it works, is announced, or is assumed while nothing is
    /// known.
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

    /// Whether `capability` was seen to work.
    pub fn is_proven(&self, capability: Capability) -> bool {
        self.finding(capability) == Finding::Works
    }

    /// Whether the user switched `capability` off.
    pub fn is_switched_off(&self, capability: Capability) -> bool {
        self.inner.without & (1 << capability.index()) != 0
    }

    /// `capability` was seen to work.
    pub fn works(&self, capability: Capability) {
        if self.set(capability, Finding::Works, now()) {
            log::debug!("the server's {} works", capability.name());
        }
    }

    /// `capability` was seen to fail; true where that is news, which is logged with `why`.
    pub fn fails(&self, capability: Capability, why: &dyn std::fmt::Display) -> bool {
        let is_news = self.has(capability);
        self.set(capability, Finding::Fails, now());
        if is_news {
            log::info!("the server {} ({why})", capability.absence());
        }
        is_news
    }

    /// A sign against `capability` that alone proves nothing; `most` of them are a failure. True
    /// once they are.
    pub fn doubt(&self, capability: Capability, most: u8, why: &dyn std::fmt::Display) -> bool {
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

    /// SYST's answer in lower case; empty before [`Self::identify`].
    pub fn system(&self) -> String {
        self.known().system.clone()
    }

    /// What was found out so far: each capability that the server was seen to have or to lack, or
    /// that the user switched off.
    pub fn findings(&self) -> Vec<(Capability, Finding)> {
        let all = Capability::all().map(|capability| (capability, self.finding(capability)));
        all.filter(|(_, finding)| matches!(finding, Finding::Works | Finding::Fails))
            .collect()
    }

    /// How often commands sent ahead, or EPSV, were given up. A step that failed while this grew
    /// may be repeated.
    pub fn demotions(&self) -> u32 {
        self.inner.demotions.load(Relaxed)
    }

    /// Most sessions that the server was found to allow.
    pub fn session_limit(&self) -> Option<usize> {
        Some(self.inner.session_limit.load(Relaxed)).filter(|limit| *limit > 0)
    }

    /// The server allows `limit` sessions.
    pub fn set_session_limit(&self, limit: usize) {
        self.inner.session_limit.store(limit, Relaxed);
    }

    /// Lengths in bytes of the longest name that was kept and of the shortest that was cut; 0 while
    /// unknown.
    pub fn name_lengths(&self) -> (usize, usize) {
        let load = |length: &AtomicUsize| length.load(Relaxed);
        (load(&self.inner.name_kept), load(&self.inner.name_cut))
    }

    /// A name of `length` bytes was kept.
    pub fn keeps_length(&self, length: usize) {
        self.inner.name_kept.fetch_max(length, Relaxed);
        if length >= NAME_MAX {
            self.works(Capability::LongNames);
        }
    }

    /// A name of `length` bytes was cut.
    pub fn cuts_length(&self, length: usize) {
        let shorter = |cut| (cut == 0 || length < cut).then_some(length);
        // Without a change it was known already.
        let _ = self.inner.name_cut.fetch_update(Relaxed, Relaxed, shorter);
    }

    /// What a login showed: the greeting and FEAT. The first one fills in what is announced and
    /// what is known of servers of this kind; observations stand.
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
        self.presume_all(Family::habits_of_features(features));
        if let Some(family) = Family::of(&greeting.words(), features) {
            for capability in Family::TRUE_TO_FEAT {
                if self.finding(capability) == Finding::Announced {
                    self.presume(capability, Finding::Works);
                }
            }
            self.presume_all(family.habits());
            for capability in Family::NAMES {
                self.presume(capability, Finding::Works);
            }
        }
    }

    fn presume_all(&self, habits: &[(Capability, bool)]) {
        for (capability, works) in habits {
            let finding = if *works {
                Finding::Works
            } else {
                Finding::Fails
            };
            self.presume(*capability, finding);
        }
    }

    /// How long a reply may take while commands or a data connection were sent ahead of it that the
    /// server has not yet proved to bear.
    pub(super) fn patience(round_trip: Duration) -> Duration {
        LEAST_PATIENCE.max(round_trip.saturating_mul(PATIENCE_IN_ROUND_TRIPS))
    }

    /// A session failed in a flight of `flight` commands, and with or without a data connection
    /// held ready. Where that explains it, nothing is sent ahead from now on; true where that is
    /// news.
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

    /// EPSV was not answered: a session that waits for it is lost, and the next ones ask by PASV.
    pub(super) fn extended_is_unanswered(&self) {
        self.fails(Capability::Epsv, &"it was not answered");
        self.inner.demotions.fetch_add(1, Relaxed);
    }

    /// Commands in one write were answered in order, errors among them.
    pub(super) fn prove_pipelining(&self) {
        self.works(Capability::Pipelining);
    }

    /// A data connection agreed on early carried a transfer.
    pub(super) fn carried_early(&self) {
        self.prove_early(CARRIED);
    }

    /// A command was answered while a data connection was held ready.
    pub(super) fn answered_beside(&self) {
        self.prove_early(ANSWERED_BESIDE);
    }

    fn prove_early(&self, proof: u8) {
        let before = self.inner.early_proofs.fetch_or(proof, Relaxed);
        if before != before | proof && before | proof == CARRIED | ANSWERED_BESIDE {
            self.presume(Capability::EarlyDataConnection, Finding::Works);
        }
    }

    /// Notes `finding` unless something was observed already.
    fn presume(&self, capability: Capability, finding: Finding) {
        if !matches!(self.finding(capability), Finding::Works | Finding::Fails) {
            self.set(capability, finding, now());
        }
    }

    /// Whether that changed anything.
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

/// What FEAT says about the capabilities that it would name.
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
    // A server without FEAT may have these nevertheless: they are asked for once. aioftp has MLSD
    // and MLST.
    let worth_a_question = [C::Mlsd, C::Mlst, C::Size, C::Mdtm, C::Mfmt, C::MdtmSet];
    [
        // MLSD is announced as MLST (RFC 3659 §7.8).
        (C::Mlsd, features.has("MLST") || features.has("MLSD")),
        (C::Mlst, features.has("MLST")),
        (C::Size, features.has("SIZE")),
        (C::Mdtm, features.has("MDTM")),
        (C::Rang, features.has("RANG")),
        (C::Avbl, features.has("AVBL")),
        (C::Utf8, features.has("UTF8")),
        (C::Mfmt, features.has("MFMT")),
        (C::MffModify, fact("modify")),
        // A server that only reads times takes the time for a part of the name, and says 550.
        (C::MdtmSet, features.has("MDTM")),
        (C::MffMode, fact("unix.mode")),
        (C::Hash, features.has("HASH")),
        (C::Xsha256, features.has("XSHA256")),
        (C::Xsha1, features.has("XSHA1")),
        (C::Xmd5, features.has("XMD5")),
        (C::Xcrc, features.has("XCRC")),
    ]
    .into_iter()
    .filter(move |(capability, _)| has_feat || !worth_a_question.contains(capability))
}

/// Seconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;

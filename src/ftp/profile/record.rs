//! Text form of a profile, for the next mount of the same server and login.
//!
//! One fact per line: `identity HEX`, `works NAME SECONDS`, `fails NAME SECONDS`, `limit N`, `kept
//! BYTES`. Unknown lines and names are skipped, so that older and newer versions can share the
//! file.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::family::Family;
use super::{Capability, Finding, Relaxed, ServerProfile, now};
use crate::ftp::features::Features;

/// First line of the file.
const HEADING: &str = "ftpfs server profile 1";
/// Maximum size in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Age in seconds after which a failure is probed again.
const PROBE_AFTER: u64 = 7 * 24 * 3600;

/// Identity of a server: SYST, FEAT and the TLS key. A profile applies only to the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerIdentity([u8; 32]);

impl ServerIdentity {
    /// Computes the identity from the replies to SYST and FEAT and the key of the certificate.
    pub fn of(syst: &str, features: &Features, tls_key: Option<&[u8]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(syst.trim().as_bytes());
        for name in features.names() {
            hash.update([0]);
            hash.update(name.as_bytes());
            hash.update([1]);
            hash.update(features.parameters(name).unwrap_or_default().as_bytes());
        }
        hash.update([2]);
        hash.update(tls_key.unwrap_or_default());
        Self(hash.finalize().into())
    }

    fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 2 * bytes.len() || !hex.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// The observations about a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileRecord {
    identity: Option<ServerIdentity>,
    /// Capability, whether it works, and the time of the observation in seconds since the epoch.
    findings: Vec<(Capability, bool, u64)>,
    session_limit: usize,
    /// Longest name that was preserved, in bytes.
    preserved_length: usize,
}

impl ProfileRecord {
    /// Parses the output of [`Self::format`]. Other text results in an empty record.
    pub fn parse(text: &str) -> Self {
        let mut record = Self::default();
        let mut lines = text
            .get(..MAX_BYTES.min(text.len()))
            .unwrap_or_default()
            .lines();
        if lines.next() != Some(HEADING) {
            return record;
        }
        for line in lines {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                ["identity", hex] => record.identity = ServerIdentity::parse(hex),
                [verdict @ ("works" | "fails"), name, at] => {
                    if let (Some(capability), Ok(at)) = (Capability::named(name), at.parse()) {
                        record.findings.push((capability, *verdict == "works", at));
                    }
                }
                ["kept", length] => record.preserved_length = length.parse().unwrap_or(0),
                ["limit", limit] => record.session_limit = limit.parse().unwrap_or(0),
                _ => {}
            }
        }
        record
    }

    /// Formats the record.
    pub fn format(&self) -> String {
        let mut text = format!("{HEADING}\n");
        // Writing to a String cannot fail.
        if let Some(ServerIdentity(bytes)) = self.identity {
            text.push_str("identity ");
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        for (capability, works, at) in &self.findings {
            let verdict = if *works { "works" } else { "fails" };
            let _ = writeln!(text, "{verdict} {} {at}", capability.name());
        }
        if self.preserved_length > 0 {
            let _ = writeln!(text, "kept {}", self.preserved_length);
        }
        if self.session_limit > 0 {
            let _ = writeln!(text, "limit {}", self.session_limit);
        }
        text
    }
}

impl ServerProfile {
    /// Starts with the observations of an earlier mount. Failures younger than seven days apply
    /// immediately. Everything else waits for [`Self::identify`], which decides whether it is the
    /// same server.
    pub fn remember(&self, record: ProfileRecord) {
        for (capability, works, at) in &record.findings {
            if !works && now().saturating_sub(*at) < PROBE_AFTER {
                self.set(*capability, Finding::Fails, *at);
            }
        }
        if record.session_limit > 0 {
            self.set_session_limit(record.session_limit);
        }
        self.known().remembered = Some(record);
    }

    /// Sets the identity of the server. Remembered findings are adopted for the same server and
    /// dropped for another.
    ///
    /// `system` is the SYST reply in lower case.
    pub fn identify(&self, system: &str, identity: ServerIdentity) {
        system.clone_into(&mut self.known().system);
        for (capability, works) in Family::quirks_by_system(system) {
            let finding = if *works {
                Finding::Works
            } else {
                Finding::Fails
            };
            self.presume(*capability, finding);
        }
        let Some(record) = self.known().remembered.clone() else {
            self.known().identity = Some(identity);
            return;
        };
        let is_same = record.identity == Some(identity);
        for (capability, works, at) in &record.findings {
            match (is_same, works) {
                (true, true) => {
                    if !matches!(self.finding(*capability), Finding::Works | Finding::Fails) {
                        self.set(*capability, Finding::Works, *at);
                    }
                }
                (false, false) => self.forget(*capability, *at),
                (true, false) | (false, true) => {}
            }
        }
        if !is_same {
            log::info!(
                "the server is not the one that an earlier mount saw; its profile is discarded"
            );
            if self.session_limit() == Some(record.session_limit) {
                self.set_session_limit(0);
            }
        }
        if is_same && record.preserved_length > 0 {
            self.record_preserved_length(record.preserved_length);
        }
        let mut known = self.known();
        known.identity = Some(identity);
        known.remembered = None;
    }

    /// Returns all observations, or `None` before the server was identified.
    pub fn record(&self) -> Option<ProfileRecord> {
        let identity = self.known().identity?;
        let observed = Capability::all().filter_map(|capability| {
            let bits = self.cell(capability)?.load(Relaxed);
            let works = match Finding::from_bits(bits) {
                Finding::Works => true,
                Finding::Fails => false,
                Finding::Unknown | Finding::Announced | Finding::NotAnnounced => return None,
            };
            Some((capability, works, bits >> super::FINDING_BITS))
        });
        Some(ProfileRecord {
            identity: Some(identity),
            findings: observed.collect(),
            session_limit: self.session_limit().unwrap_or(0),
            preserved_length: self.name_lengths().0,
        })
    }

    /// Drops a failure that was remembered at `at`, unless it was observed again since.
    fn forget(&self, capability: Capability, at: u64) {
        if let Some(cell) = self.cell(capability) {
            let remembered = at << super::FINDING_BITS | Finding::Fails as u64;
            let announced = self.known().announced.clone();
            let finding = announced
                .and_then(|features| super::announced(&features).find(|it| it.0 == capability))
                .map_or(Finding::Unknown, |(_, is_announced)| {
                    if is_announced {
                        Finding::Announced
                    } else {
                        Finding::NotAnnounced
                    }
                });
            // A different finding in its place is newer.
            let _ = cell.compare_exchange(remembered, finding as u64, Relaxed, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Reply, ReplyCode};

    fn features(names: &[&str]) -> Features {
        Features::named(names)
    }

    fn observed() -> (ServerProfile, ServerIdentity) {
        let profile = ServerProfile::default();
        profile.record_login(
            &Reply::new(ReplyCode(220), vec![b"hello".to_vec()]),
            &features(&["MLST type*;", "SIZE"]),
        );
        profile.fails(Capability::Pipelining, &"a test");
        profile.works(Capability::Rest);
        profile.set_session_limit(3);
        let identity =
            ServerIdentity::of("UNIX Type: L8", &features(&["MLST type*;", "SIZE"]), None);
        profile.identify("unix", identity);
        (profile, identity)
    }

    #[test]
    fn the_next_mount_of_the_same_server_starts_with_what_was_observed() {
        let (profile, identity) = observed();
        let record = profile.record().unwrap();
        let text = record.format();
        assert_eq!(ProfileRecord::parse(&text), record);

        let next = ServerProfile::default();
        next.remember(ProfileRecord::parse(&text));
        assert!(!next.has(Capability::Pipelining));
        assert!(
            !next.is_proven(Capability::Rest),
            "not before it is known to be the same"
        );
        next.identify("unix", identity);
        assert!(next.is_proven(Capability::Rest) && !next.has(Capability::Pipelining));
        assert_eq!(next.session_limit(), Some(3));
        assert_eq!(next.record().unwrap(), record);
    }

    #[test]
    fn another_server_at_the_same_place_starts_anew() {
        let (profile, _) = observed();
        let next = ServerProfile::default();
        next.remember(profile.record().unwrap());
        next.identify(
            "unix",
            ServerIdentity::of("UNIX Type: L8", &features(&["SIZE"]), None),
        );
        assert!(next.has(Capability::Pipelining) && !next.is_proven(Capability::Rest));
        assert_eq!(next.session_limit(), None);
    }

    #[test]
    fn a_failure_is_probed_again_after_seven_days() {
        let at = |age| ProfileRecord {
            findings: vec![(Capability::Epsv, false, now() - age)],
            ..ProfileRecord::default()
        };
        for (age, holds) in [
            (0, true),
            (PROBE_AFTER - 60, true),
            (PROBE_AFTER + 60, false),
        ] {
            let profile = ServerProfile::default();
            profile.remember(at(age));
            assert_eq!(profile.has(Capability::Epsv), !holds, "{age}");
        }
    }

    #[test]
    fn a_file_that_is_no_profile_says_nothing() {
        for text in ["", "nonsense", "ftpfs server profile 9\nfails epsv 1\n"] {
            assert_eq!(ProfileRecord::parse(text), ProfileRecord::default());
        }
        let odd = format!("{HEADING}\nfails\nfails epsv x\nfails nosuch 1\nlimit x\nidentity zz\n");
        assert_eq!(ProfileRecord::parse(&odd), ProfileRecord::default());
    }

    #[test]
    fn the_identity_is_that_of_syst_feat_and_key() {
        let of = |syst, names: &[&str], key| ServerIdentity::of(syst, &features(names), key);
        let one = of("UNIX", &["SIZE"], None);
        assert_eq!(one, of("UNIX ", &["SIZE"], None));
        assert_ne!(one, of("Windows_NT", &["SIZE"], None));
        assert_ne!(one, of("UNIX", &["SIZE", "MDTM"], None));
        assert_ne!(one, of("UNIX", &["SIZE"], Some(b"key")));
    }
}

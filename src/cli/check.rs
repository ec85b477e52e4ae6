//! `ftpfs check SOURCE`: what the server supports, and what that costs.
//!
//! It changes nothing on the server. A capability that the server does not list in FEAT (RFC 2389)
//! is therefore called unannounced, not missing.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::advice::Advice;
use super::login::{self, AttemptError};
use super::request::{CommandLine, Request};
use super::secrets::Environment;
use super::{Failure, build, security, trust};
use crate::ftp::profile::ProfileRecord;
use crate::ftp::tls::Security;
use crate::ftp::{
    Capability, ConnectOptions, Error, Finding, Kind, ListWith, RemotePath, ServerProfile, Session,
    UnusedLine,
};

/// Number of round trips that are measured; the fastest one counts.
const ROUND_TRIPS: usize = 5;

/// Connects, logs in, lists the directory, and prints the results.
///
/// # Errors
/// The source, the login or the directory cannot be used.
pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<ExitCode, Failure> {
    let Request {
        source,
        settings: options,
        ..
    } = CommandLine::new(matches)?.resolve()?;
    let proxy = build::proxy(&source, &options, &environment.proxies)?;
    security::port(&source, &options)?;
    let state = build::state_home();
    trust::ask(&source, &options, state.as_deref(), || {
        build::connection_without_login(&source, &options, proxy.clone(), state.as_deref())
    })?;
    let find = || build::credentials(&source, &options, environment.password.clone());
    let (mut session, connect) = login::retry(find, |login| {
        let advice = Advice::new(&source, &options, &login);
        let remote = build::remote(&source, &options, login, proxy.clone(), state.as_deref())?;
        let connect = remote.pool.connect;
        if let Some(text) = remote.profile_file.and_then(|file| file.read()) {
            connect.profile.remember(ProfileRecord::parse(&text));
        }
        match Session::connect(&connect) {
            Ok(session) => Ok((session, connect)),
            Err(error) => Err(AttemptError::new(&error, &advice)),
        }
    })?;
    let home = session.identify()?;
    let directory = source.path.resolve(&home)?;
    let round_trip = round_trip(&mut session)?;
    let listed = list(&mut session, &directory)?;

    let mut output = io::stdout().lock();
    let ConnectOptions {
        host, port, user, ..
    } = &connect;
    let way = match &connect.proxy {
        Some(proxy) => format!("through the proxy {proxy}"),
        None => format!("at {}", session.peer()),
    };
    line(&mut output, "server", &format!("{host} port {port}, {way}"))?;
    line(
        &mut output,
        "login",
        &format!("as {user}; mounting would show {directory}"),
    )?;
    for (topic, sentence) in security(&session) {
        line(&mut output, topic, &sentence)?;
    }
    line(&mut output, "root", &listed.sentence())?;
    if let Some(complaint) = listed.complaint() {
        line(&mut output, "incomplete", &complaint)?;
    }
    line(
        &mut output,
        "round trip",
        &format!("{:.1} ms", round_trip.as_secs_f64() * 1000.0),
    )?;
    let system = session.profile().system();
    if !system.is_empty() {
        line(&mut output, "system", &system)?;
    }
    let features = session.features();
    for (topic, sentence) in describe(|name| features.has(name)) {
        line(&mut output, topic, sentence)?;
    }
    for (topic, sentence) in found_out(session.profile()) {
        line(&mut output, topic, &sentence)?;
    }
    line(
        &mut output,
        "connections",
        &count_sessions(session, &connect, options.connections),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn line(output: &mut impl Write, topic: &str, sentence: &str) -> io::Result<()> {
    writeln!(output, "{topic:<12} {sentence}")
}

/// Describes the protection of the session and the certificates of the server, its own first.
fn security(session: &Session) -> Vec<(&'static str, String)> {
    let Some(security) = session.security() else {
        let offered = if session.features().has("AUTH") {
            ", though the server offers TLS: write ftpes:// or add -o tls"
        } else {
            ""
        };
        return vec![("security", format!("none: all goes in the clear{offered}"))];
    };
    let data = match security.data_resumed {
        Some(true) => "; the data connection resumed its session",
        Some(false) => "; the data connection had a handshake of its own",
        None => "",
    };
    let Security {
        version, cipher, ..
    } = &security;
    let mut lines = vec![("security", format!("{version}, {cipher}{data}"))];
    for (number, certificate) in security.certificates.iter().enumerate() {
        let topic = if number == 0 {
            "certificate"
        } else {
            "sent along"
        };
        lines.push((
            topic,
            format!("{certificate}; issued by {}", certificate.issuer),
        ));
    }
    lines
}

fn round_trip(session: &mut Session) -> Result<Duration, Error> {
    let mut quickest = Duration::MAX;
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        session.noop()?;
        quickest = quickest.min(start.elapsed());
    }
    Ok(quickest)
}

/// The contents of a directory.
#[derive(Debug, Default, PartialEq, Eq)]
struct ListedDirectory {
    files: usize,
    directories: usize,
    others: usize,
    /// Number of lines that gave no entry, and the first one.
    unused: (u64, Option<UnusedLine>),
}

impl ListedDirectory {
    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::File => self.files += 1,
            Kind::Directory => self.directories += 1,
            Kind::Symlink | Kind::Special | Kind::Unknown => self.others += 1,
        }
    }

    fn sentence(&self) -> String {
        let Self {
            files,
            directories,
            others,
            unused: _,
        } = self;
        let others = match others {
            0 => String::new(),
            others => format!(", others: {others}"),
        };
        format!("directories: {directories}, files: {files}{others}")
    }

    /// Describes the part of the listing that could not be parsed.
    fn complaint(&self) -> Option<String> {
        let (count, first) = &self.unused;
        let first = first.as_ref()?;
        let text = String::from_utf8_lossy(&first.text);
        Some(format!(
            "{count} lines of the listing gave no entry; the first one: \"{}\" ({})",
            text.escape_debug(),
            first.reason
        ))
    }
}

fn list(session: &mut Session, directory: &RemotePath) -> Result<ListedDirectory, Failure> {
    let with = if session.features().has("MLST") {
        ListWith::Mlsd
    } else {
        ListWith::List
    };
    let mut listed = ListedDirectory::default();
    let mut add = |entry: crate::ftp::Entry| {
        if entry.name != b"." && entry.name != b".." {
            listed.add(entry.kind);
        }
        ControlFlow::Continue(())
    };
    let outcome = session.list(with, directory, &mut add);
    let outcome = outcome.map_err(|error| format!("cannot list {directory}: {error}"))?;
    listed.unused = (outcome.unreadable + outcome.dropped, outcome.sample);
    Ok(listed)
}

/// Describes what the FEAT reply means for a mount.
fn describe(has: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
    let choose = |feature: &str, with: &'static str, without: &'static str| {
        if has(feature) { with } else { without }
    };
    vec![
        (
            "listings",
            choose(
                "MLST",
                "MLSD: exact sizes, times and kinds, also of a single file",
                "LIST: times to the minute or the day, a single file costs its directory's listing",
            ),
        ),
        (
            "resuming",
            choose(
                "REST",
                "REST: reads start anywhere, broken ones go on where they stopped",
                "REST is unannounced: it is tried, and without it reads start at the beginning",
            ),
        ),
        (
            "data",
            choose(
                "EPSV",
                "EPSV: data connections over any address and through NAT",
                "EPSV is unannounced: it is tried first, then PASV, which costs one round trip once",
            ),
        ),
        (
            "setting times",
            match (has("MFMT"), has("SITE UTIME"), has("MDTM")) {
                (true, _, _) => "MFMT: exact, touch and rsync -t work",
                (false, true, _) => "SITE UTIME: exact, touch and rsync -t work",
                (false, false, true) => {
                    "unannounced: MDTM with a time is tried, and without it touch is refused"
                }
                (false, false, false) => "unannounced: refused where no command for it works",
            },
        ),
        (
            "setting modes",
            match (has("SITE CHMOD"), has("MFF")) {
                (true, _) => "SITE CHMOD: chmod works",
                (false, true) => "MFF: chmod works where it takes UNIX.mode",
                (false, false) => {
                    "unannounced: SITE CHMOD is tried, and without it chmod is refused"
                }
            },
        ),
        (
            "names",
            choose(
                "UTF8",
                "UTF-8",
                "not said to be UTF-8: where they look wrong, use -o charset=",
            ),
        ),
        (
            "free space",
            choose(
                "AVBL",
                "AVBL: df tells the truth",
                "unknown: df shows a round number",
            ),
        ),
    ]
}

/// Describes what this and earlier mounts found out, whatever the server announces. Every
/// capability is in one of the lines.
fn found_out(profile: &ServerProfile) -> Vec<(&'static str, String)> {
    let (mut works, mut open, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for capability in Capability::all() {
        let name = capability.name();
        match profile.finding(capability) {
            Finding::Works => works.push(name),
            Finding::Unknown | Finding::Announced | Finding::NotAnnounced => open.push(name),
            Finding::Fails if profile.is_switched_off(capability) => {
                lines.push(("quirk", format!("{name}: switched off by -o without")));
            }
            Finding::Fails => {
                let absence = capability.absence();
                lines.push(("quirk", format!("{name}: the server {absence}")));
            }
        }
    }
    lines.push(("seen to work", works.join(", ")));
    lines.push(("not yet seen", open.join(", ")));
    lines.retain(|(_, sentence)| !sentence.is_empty());
    lines
}

/// Opens sessions in addition to the first one until there are enough or the server refuses.
fn count_sessions(first: Session, connect: &ConnectOptions, wanted: usize) -> String {
    let mut sessions = vec![first];
    let mut refusal = None;
    while sessions.len() < wanted && refusal.is_none() {
        match Session::connect(connect) {
            Ok(session) => sessions.push(session),
            Err(error) => refusal = Some(error),
        }
    }
    let open = sessions.len();
    for session in sessions {
        session.quit();
    }
    match refusal {
        None => format!("{open} at once, as many as wanted (-o connections={wanted})"),
        Some(error) => format!("{open} at once; one more: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_told_whatever_the_server_announces() {
        let (all, nothing) = (describe(|_| true), describe(|_| false));
        assert_eq!(all.len(), nothing.len());
        for ((topic, with), (same, without)) in all.into_iter().zip(nothing) {
            assert_eq!(topic, same);
            assert_ne!(with, without, "{topic}");
        }
    }

    #[test]
    fn every_capability_is_in_one_line() {
        let profile = ServerProfile::without(&[Capability::Mlsd]);
        profile.works(Capability::Rest);
        profile.fails(Capability::Epsv, &"a test");
        let lines = found_out(&profile);
        for capability in Capability::all() {
            let name = capability.name();
            let has_it = |sentence: &str| {
                let words = sentence.split([',', ' ', ':']);
                words
                    .take_while(|word| *word != "the")
                    .any(|word| word == name)
            };
            let found = lines.iter().filter(|(_, sentence)| has_it(sentence));
            assert_eq!(found.count(), 1, "{name}: {lines:?}");
        }
        let text = format!("{lines:?}");
        assert!(
            text.contains("mlsd: switched off") && text.contains("epsv: the server has no EPSV")
        );
    }

    #[test]
    fn other_kinds_are_told_only_when_there_are_some() {
        let mut listed = ListedDirectory::default();
        listed.add(Kind::File);
        listed.add(Kind::Directory);
        assert_eq!(listed.sentence(), "directories: 1, files: 1");
        listed.add(Kind::Symlink);
        assert_eq!(listed.sentence(), "directories: 1, files: 1, others: 1");
    }
}

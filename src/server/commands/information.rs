//! FEAT (RFC 2389), HELP, SYST, NOOP (RFC 959), AVBL
//! (draft-peterson-streamlined-ftp-command-extensions).

use super::VERBS;
use crate::server::reply::{Answer, Reply};
use crate::server::session::Session;
use crate::server::tree::LastLink;

/// Features that are not verbs: paths with `/`, and names in UTF-8 if those of the files are.
const PROPERTIES: [&str; 2] = ["TVFS", "UTF8"];

pub(super) fn feat(session: &mut Session, _: &[u8]) -> Answer {
    let serving = &session.serving;
    let verbs = VERBS
        .iter()
        .filter_map(|verb| Some((verb.name, verb.feature?)));
    let properties = PROPERTIES.iter().map(|name| (*name, *name));
    let lines = verbs
        .chain(properties)
        .filter(|(name, line)| {
            !super::is_disabled(serving, name) && !super::is_disabled(serving, line)
        })
        // RFC 3659 §7.8: one line stands for both MLST and MLSD.
        .filter(|(name, _)| *name != "MLST" || !super::is_disabled(serving, "MLSD"))
        .map(|(name, line)| match name {
            "MLST" => format!("MLST {}", session.facts.marked()).into_bytes(),
            _ => line.into(),
        })
        .collect();
    Ok(Reply::of_lines(211, "Features:", lines, "End"))
}

pub(super) fn help(session: &mut Session, _: &[u8]) -> Answer {
    let names: Vec<&str> = VERBS
        .iter()
        .map(|verb| verb.name)
        .filter(|name| !super::is_disabled(&session.serving, name))
        .collect();
    let lines = names
        .chunks(8)
        .map(|row| row.join(" ").into_bytes())
        .collect();
    Ok(Reply::of_lines(214, "Commands:", lines, "End"))
}

pub(super) fn syst(_: &mut Session, _: &[u8]) -> Answer {
    Ok(Reply::new(215, "UNIX Type: L8"))
}

pub(super) fn noop(_: &mut Session, _: &[u8]) -> Answer {
    Ok(Reply::new(200, "OK"))
}

/// Reports the number of bytes available in a directory.
pub(super) fn avbl(session: &mut Session, argument: &[u8]) -> Answer {
    let available = session.place(argument, LastLink::Followed)?.available()?;
    Ok(Reply::new(213, available.to_string()))
}

//! TYPE, MODE, STRU, ALLO (RFC 959), REST (RFC 3659 §5), RANG (draft-bryan-ftp-range), OPTS (RFC
//! 2389).

use crate::server::reply::{Answer, Reply, refused};
use crate::server::session::{RestartMarker, Session};

/// Accepts image and ASCII type, and transfers the bytes unchanged in both: local files have Unix
/// line ends, and a text comes back as it was stored. SIZE is therefore correct for both types.
pub(super) fn transfer_type(_: &mut Session, argument: &[u8]) -> Answer {
    match argument.to_ascii_uppercase().as_slice() {
        b"I" | b"L 8" => Ok(Reply::new(200, "Type is image")),
        b"A" | b"A N" => Ok(Reply::new(
            200,
            "Type is ASCII, octets are sent as they are",
        )),
        _ => Err(refused(504, "Only types I and A are known")),
    }
}

pub(super) fn mode(_: &mut Session, argument: &[u8]) -> Answer {
    only(argument, b"S", "Mode is stream", "Only mode S is known")
}

pub(super) fn stru(_: &mut Session, argument: &[u8]) -> Answer {
    only(
        argument,
        b"F",
        "Structure is file",
        "Only structure F is known",
    )
}

/// Sets the offset of the next transfer. Other commands in between do not reset it.
pub(super) fn rest(session: &mut Session, argument: &[u8]) -> Answer {
    let marker = std::str::from_utf8(argument)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    // No file of the system extends beyond 2^63.
    let Some(marker) = marker.and_then(|marker| u64::try_from(marker).ok()) else {
        return Err(refused(501, "Not a restart marker"));
    };
    session.marker = RestartMarker {
        start: marker,
        end: None,
    };
    Ok(Reply::new(350, format!("Restarting at {marker}")))
}

/// Sets the first and last byte of the next RETR; `RANG 1 0` resets the range.
pub(super) fn rang(session: &mut Session, argument: &[u8]) -> Answer {
    let octet = |text: &str| {
        text.parse::<i64>()
            .ok()
            .and_then(|it| u64::try_from(it).ok())
    };
    let octets = std::str::from_utf8(argument)
        .ok()
        .and_then(|text| text.split_once(' '))
        .and_then(|(first, last)| Some((octet(first)?, octet(last)?)));
    session.marker = match octets {
        Some((1, 0)) => RestartMarker::default(),
        Some((first, last)) if first <= last => RestartMarker {
            start: first,
            end: Some(last + 1),
        },
        _ => return Err(refused(501, "Not a range of octets")),
    };
    Ok(Reply::new(350, "The range holds for the next RETR"))
}

pub(super) fn allo(_: &mut Session, _: &[u8]) -> Answer {
    Ok(Reply::new(202, "No storage needs to be allocated"))
}

pub(super) fn opts(session: &mut Session, argument: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(argument);
    let (name, value) = text.split_once(' ').unwrap_or((&text, ""));
    let name = name.to_ascii_uppercase();
    if super::is_disabled(&session.serving, &name) {
        return Err(refused(502, format!("{name} is switched off")));
    }
    match name.as_str() {
        "UTF8" if value.eq_ignore_ascii_case("ON") => {
            Ok(Reply::new(200, "Names are sent as they are"))
        }
        "MLST" => {
            session.facts.choose(value);
            Ok(Reply::new(
                200,
                format!("MLST OPTS {}", session.facts.chosen()),
            ))
        }
        _ => Err(refused(501, "No such option")),
    }
}

fn only(argument: &[u8], known: &[u8], accepted: &str, otherwise: &str) -> Answer {
    if argument.eq_ignore_ascii_case(known) {
        Ok(Reply::new(200, accepted))
    } else {
        Err(refused(504, otherwise))
    }
}

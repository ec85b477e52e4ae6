//! The honest server's answer to each verb.

use super::answer::{Answer, Request, Step};
use super::file_tree::parent;
use super::listing;
use super::quirks::Quirks;
use super::session::State;

const MISSING: &str = "550 No such file or directory";

/// Answers as specified by RFC 959, 2389, 2428 and 3659.
pub(super) fn answer(request: &Request, state: &mut State<'_>, quirks: &Quirks) -> Answer {
    let argument = request.argument.as_str();
    if let Some(lines) = greet(&request.verb, quirks) {
        return Answer::say(lines);
    }
    match request.verb.as_str() {
        "PWD" => Answer::say(format!(
            "257 \"{}\" is the current directory",
            state.directory
        )),
        "CWD" => change_directory(state, argument),
        "CDUP" => change_directory(state, ".."),
        "EPSV" => state.listen().map_or_else(
            || Answer::say("425 Cannot listen"),
            |port| Answer::say(format!("229 Entering Extended Passive Mode (|||{port}|)")),
        ),
        "PASV" => state.listen().map_or_else(
            || Answer::say("425 Cannot listen"),
            |port| {
                let (high, low) = (port >> 8, port & 255);
                Answer::say(format!(
                    "227 Entering Passive Mode (127,0,0,1,{high},{low})."
                ))
            },
        ),
        "REST" => match argument.parse() {
            Ok(offset) => {
                state.rest = offset;
                Answer::say(format!("350 Restarting at {offset}"))
            }
            Err(_) => Answer::say("501 Not a number"),
        },
        "LIST" | "NLST" | "MLSD" | "MLST" | "STAT" => list(request, state, quirks),
        "SIZE" | "MDTM" => look(request, state),
        "MFMT" | "SITE" => set(request, state),
        "RETR" => retrieve(state, argument),
        "STOR" | "APPE" => store(request, state),
        _ => change(request, state),
    }
}

/// Answers verbs that involve no files.
fn greet(verb: &str, quirks: &Quirks) -> Option<String> {
    let lines = match verb {
        "CONNECT" => "220 Ready",
        "USER" => "331 Password required",
        "PASS" => "230 Logged in",
        "SYST" => "215 UNIX Type: L8",
        "FEAT" => {
            let features = quirks
                .features
                .iter()
                .map(|feature| format!(" {feature}\r\n"));
            return Some(format!(
                "211-Features:\r\n{}211 End",
                features.collect::<String>()
            ));
        }
        "OPTS" | "TYPE" | "MODE" | "STRU" | "NOOP" => "200 Done",
        "ALLO" => "202 Not needed",
        "ABOR" => "226 Nothing to abort",
        "QUIT" => "221 Goodbye",
        _ => return None,
    };
    Some(lines.to_owned())
}

fn change_directory(state: &mut State<'_>, path: &str) -> Answer {
    let path = state.resolve(path);
    if !state.is_directory(&path) {
        return Answer::say("550 Failed to change directory");
    }
    *state.directory = path;
    Answer::say("250 Directory changed")
}

fn list(request: &Request, state: &mut State<'_>, quirks: &Quirks) -> Answer {
    let given = if quirks.ignores_path.contains(&request.verb.as_str()) {
        ""
    } else {
        request.path()
    };
    let path = state.resolve(given);
    let options = request
        .argument
        .strip_suffix(request.path())
        .unwrap_or_default();
    let with_dots = options.contains('a');
    let tree = &state.tree;
    let lines = match request.verb.as_str() {
        "STAT" if request.argument.is_empty() => return Answer::say("211 All is well"),
        "STAT" => {
            return listing::unix(tree, &path, with_dots).map_or_else(
                || Answer::say("450 No such file or directory"),
                |lines| {
                    Answer::say(format!(
                        "213-Status of {path}:\r\n{}213 End",
                        quirks.shown(&lines)
                    ))
                },
            );
        }
        "MLST" => {
            return tree.node(&path).map_or_else(
                || Answer::say(MISSING),
                |node| {
                    Answer::say(format!(
                        "250-Begin\r\n {}{path}\r\n250 End",
                        listing::facts(node)
                    ))
                },
            );
        }
        "MLSD" => listing::machine(tree, &path),
        "NLST" => listing::names(tree, &path),
        _ => listing::unix(tree, &path, with_dots),
    };
    lines.map_or_else(
        || Answer::say(MISSING),
        |lines| Answer::send(quirks.shown(&lines)),
    )
}

fn look(request: &Request, state: &State<'_>) -> Answer {
    let path = state.resolve(&request.argument);
    let Some(node) = state.tree.node(&path).filter(|node| !node.is_directory()) else {
        return Answer::say("550 Could not get file information");
    };
    Answer::say(match request.verb.as_str() {
        "SIZE" => format!("213 {}", node.size()),
        _ => format!("213 {}", listing::utc(node.modified)),
    })
}

fn set(request: &Request, state: &mut State<'_>) -> Answer {
    let mut words = request.argument.splitn(3, ' ');
    let (first, second, third) = (words.next(), words.next(), words.next());
    if request.verb == "MFMT" {
        let path = request
            .argument
            .split_once(' ')
            .map_or("", |(_, path)| path);
        let path = state.resolve(path);
        let time = first.and_then(listing::parse_utc);
        let (Some(time), Some(node)) = (time, state.tree.node_mut(&path)) else {
            return Answer::say(MISSING);
        };
        node.modified = time;
        return Answer::say(format!("213 Modify={}; {path}", listing::utc(time)));
    }
    let mode = second.and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let (Some("CHMOD"), Some(mode)) = (first, mode) else {
        return Answer::say("500 Unknown SITE command");
    };
    let path = state.resolve(third.unwrap_or_default());
    let Some(node) = state.tree.node_mut(&path) else {
        return Answer::say(MISSING);
    };
    node.mode = mode;
    Answer::say("200 Mode changed")
}

fn retrieve(state: &State<'_>, path: &str) -> Answer {
    let content = state.tree.content(&state.resolve(path));
    let Some(content) = content else {
        return Answer::say("550 Failed to open file");
    };
    Answer::send(content.get(state.rest as usize..).unwrap_or_default())
}

fn store(request: &Request, state: &mut State<'_>) -> Answer {
    let path = state.resolve(&request.argument);
    let from = match request.verb.as_str() {
        "APPE" => state
            .tree
            .content(&path)
            .map_or(0, |content| content.len() as u64),
        _ => state.rest,
    };
    match state.tree.open(&path, from) {
        Ok(()) => Answer::say("150 Ready to receive")
            .then(Step::Receive(path, from))
            .then_say("226 Transfer complete"),
        Err(words) => Answer::say(format!("553 {words}")),
    }
}

fn change(request: &Request, state: &mut State<'_>) -> Answer {
    let path = state.resolve(&request.argument);
    let renamed = state.rename_from.take();
    let outcome = match request.verb.as_str() {
        "DELE" => state.tree.delete(&path),
        "RMD" => state.tree.remove_directory(&path),
        "MKD" => match state.tree.make_directory(&path) {
            Ok(()) => return Answer::say(format!("257 \"{path}\" created")),
            Err(words) => Err(words),
        },
        "RNFR" if state.tree.node(&path).is_some() => {
            *state.rename_from = Some(path);
            return Answer::say("350 Ready for RNTO");
        }
        "RNFR" => Err("No such file or directory"),
        "RNTO" => {
            let Some(from) = renamed else {
                return Answer::say("503 RNFR first");
            };
            // The new spelling of the name counts, not the existing one.
            let name = request.argument.rsplit('/').next().unwrap_or_default();
            let target = if from == path {
                format!("{}/{name}", parent(&path).trim_end_matches('/'))
            } else {
                path
            };
            state.tree.rename(&from, &target)
        }
        _ => return Answer::say("500 Unknown command"),
    };
    match outcome {
        Ok(()) => Answer::say("250 Done"),
        Err(words) => Answer::say(format!("550 {words}")),
    }
}

//! Servers that resume an upload in unusual ways after its connection broke: the stored file equals
//! the written one.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::row::{Row, group, row};
use crate::support::{Answer, FileTree, Quirks, Request, State, Step};

/// Number of bytes that the server keeps of an interrupted upload.
const KEPT: usize = 100_000;

/// Stores the data that arrives after a REST with an offset, in an unusual way.
type Resume = fn(&str, usize, &mut FileTree) -> Result<Step, &'static str>;

/// Empties the file and leaves a hole, like npm's ftp-srv.
fn empties(path: &str, offset: usize, tree: &mut FileTree) -> Result<Step, &'static str> {
    tree.open(path, 0)?;
    tree.open(path, offset as u64)?;
    Ok(Step::Receive(path.to_owned(), offset as u64))
}

/// Ignores the offset.
fn starts_again(path: &str, _: usize, tree: &mut FileTree) -> Result<Step, &'static str> {
    tree.open(path, 0)?;
    Ok(Step::Receive(path.to_owned(), 0))
}

/// Omits one byte of the beginning.
fn is_off_by_one(path: &str, offset: usize, tree: &mut FileTree) -> Result<Step, &'static str> {
    let content = tree.content(path).unwrap_or_default();
    let from = offset - 1;
    tree.open(path, 0)?;
    tree.append(path, content.get(1..).unwrap_or_default());
    Ok(Step::Receive(path.to_owned(), from as u64))
}

/// Keeps the beginning, but with different bytes.
fn garbles(path: &str, offset: usize, tree: &mut FileTree) -> Result<Step, &'static str> {
    let content = tree.content(path).unwrap_or_default();
    tree.open(path, 0)?;
    tree.append(path, &content.iter().map(|byte| !byte).collect::<Vec<_>>());
    Ok(Step::Receive(path.to_owned(), offset as u64))
}

/// Stores only part of every second upload and reports that it broke.
fn breaks() -> Quirks {
    let uploads = AtomicUsize::new(0);
    Quirks::none().hook(move |request, state| {
        let is_upload = request.verb == "STOR" && state.rest == 0;
        if !is_upload || uploads.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            return None;
        }
        let path = state.resolve(&request.argument);
        state.tree.open(&path, 0).ok()?;
        let cut = path.clone();
        let answer = Answer::say("150 Ready to receive")
            .then(Step::Receive(path, 0))
            .then(Step::Change(Box::new(move |tree| {
                tree.open(&cut, KEPT as u64).unwrap();
            })))
            .then_say("426 Connection closed; transfer aborted");
        Some(answer)
    })
}

fn resumes(verb: &'static str, quirks: Quirks, resume: Resume) -> Quirks {
    quirks.hook(move |request: &Request, state: &mut State<'_>| {
        let path = state.resolve(&request.argument);
        let offset = match request.verb.as_str() {
            "APPE" => state.tree.content(&path).map_or(0, |content| content.len()),
            _ => state.rest as usize,
        };
        if request.verb != verb || offset == 0 {
            return None;
        }
        let received = match resume(&path, offset, &mut state.tree) {
            Ok(step) => step,
            Err(words) => return Some(Answer::say(format!("553 {words}"))),
        };
        let answer = Answer::say("150 Ready to receive").then(received);
        Some(answer.then_say("226 Transfer complete"))
    })
}

/// The rows run side by side. Each has a server of its own, for which `quirks` counts uploads.
fn rows(what: &str, quirks: &dyn Fn() -> Quirks) -> Vec<Row> {
    let text = || (1..=50_000).map(|number| format!("{number}\n"));
    let written = row(format!("written: {what}"), quirks(), move |t| {
        t.run("cp <(seq 1 50000) local.txt; cmp local.txt <(seq 1 50000)");
        t.holds("/local.txt", &text().collect::<String>());
        t.names("/", "docs empty local.txt");
    });
    // The server holds a hole where the file has one, and more after it.
    let with_hole = row(format!("with a hole: {what}"), quirks(), move |t| {
        t.run("cp <(head -c 90000 /dev/zero; seq 1 50000) file");
        let whole = "\0".repeat(90_000) + &text().collect::<String>();
        t.holds("/file", &whole);
    });
    let twice = row(format!("two files: {what}"), quirks(), move |t| {
        t.run("cp <(seq 1 50000) docs/a.txt; cp <(seq 1 50000) docs/b.txt");
        t.holds("/docs/a.txt", &text().collect::<String>());
        t.holds("/docs/b.txt", &text().collect::<String>());
        t.names("/docs", "a.txt b.txt");
    });
    vec![written, with_hole, twice]
}

#[test]
fn a_resumed_upload_is_whole_however_the_server_resumes() {
    let ways: [(&str, Resume); 4] = [
        ("it empties the file", empties),
        ("it starts again", starts_again),
        ("it is off by one", is_off_by_one),
        ("it garbles the beginning", garbles),
    ];
    let mut all = rows("as it should", &breaks);
    for (what, way) in ways {
        let by_rest = || resumes("STOR", breaks(), way);
        all.extend(rows(&format!("after REST {what}"), &by_rest));
        let by_append = || resumes("APPE", breaks().without("REST"), way);
        all.extend(rows(&format!("at APPE {what}"), &by_append));
        let by_both = || resumes("APPE", by_rest(), way);
        all.extend(rows(&format!("always {what}"), &by_both));
    }
    group(all);
}

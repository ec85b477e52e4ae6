//! Servers that change the names they are given: a file keeps its name or is refused, and never
//! replaces another one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Answer, Mount, Quirks, QuirkyServer, assert_errno, lines, shell, wait_for};

fn mounted(quirks: Quirks) -> (QuirkyServer, Mount) {
    let server = QuirkyServer::start(quirks);
    server.tree().file("/old", "old");
    let mount = Mount::of_url(&server.url(), "secret", &[]);
    (server, mount)
}

/// Writes a file and waits for the server's answer, which std ignores when it closes the file.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Drops words with a leading dash, as npm's ftp-srv does because it takes them for options.
fn without_dash_words(name: &str) -> String {
    let words = name.split(' ').filter(|word| !word.starts_with('-'));
    words.collect::<Vec<_>>().join(" ")
}

fn cut(name: &str, length: usize) -> String {
    name.chars().take(length).collect()
}

fn cut_to_20(name: &str) -> String {
    cut(name, 20)
}

fn cut_to_64(name: &str) -> String {
    cut(name, 64)
}

fn cut_to_8_and_3(name: &str) -> String {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let base = base.replace('.', "_");
    let (base, extension) = (cut(&base, 8), cut(extension, 3));
    if extension.is_empty() {
        base
    } else {
        format!("{base}.{extension}")
    }
}

fn ascii_only(name: &str) -> String {
    let plain = name.chars().map(|c| if c.is_ascii() { c } else { '?' });
    plain.collect()
}

fn without_edges(name: &str) -> String {
    name.trim_end_matches([' ', '.']).to_owned()
}

fn first_word(name: &str) -> String {
    name.split(' ').next().unwrap_or_default().to_owned()
}

/// How a server changes a name.
type Mangling = fn(&str) -> String;

/// For each server: what it does, the name of an existing file, and a new name that becomes it.
const CHANGES: &[(&str, Mangling, &str, &str)] = &[
    ("drops dash words", without_dash_words, "a", "a -b.txt"),
    ("drops dash words", without_dash_words, "a b", "a -n b"),
    ("keeps the first word", first_word, "a", "a b"),
    (
        "cuts to 20",
        cut_to_20,
        "name-of-20-character",
        "name-of-20-characters-and-more",
    ),
    (
        "cuts to 64",
        cut_to_64,
        "0123456789012345678901234567890123456789012345678901234567890123",
        "0123456789012345678901234567890123456789012345678901234567890123-second",
    ),
    (
        "cuts to 8.3",
        cut_to_8_and_3,
        "longname.txt",
        "longname-2.txt",
    ),
    ("cuts to 8.3", cut_to_8_and_3, "a.jpe", "a.jpeg"),
    ("has only ASCII", ascii_only, "caf?", "café"),
    ("drops dots at the end", without_edges, "a", "a."),
    ("drops blanks at the end", without_edges, "a", "a "),
];

#[test]
fn a_new_file_never_replaces_another() {
    for (what, change, there, new) in CHANGES {
        let (server, mount) = mounted(Quirks::none().changes_names(*change));
        server.tree().file(&format!("/{there}"), "precious");
        let refused = write(&mount.path().join(new), "new");
        // The server reports that the name exists, or that it is not possible.
        assert!(refused.is_err(), "{what}: {new} was stored");
        let is_whole = server.tree().text(&format!("/{there}")).unwrap() == "precious";
        assert!(is_whole, "{what}: {new} replaced {there}");
        let mut expected = vec!["old".to_owned(), (*there).to_owned()];
        expected.sort();
        assert_eq!(
            server.tree().names("/"),
            expected,
            "{what}: nothing is left"
        );
    }
}

#[test]
fn a_renamed_file_never_replaces_another() {
    for (what, change, there, new) in CHANGES {
        let (server, mount) = mounted(Quirks::none().changes_names(*change));
        server.tree().file(&format!("/{there}"), "precious");
        let refused = fs::rename(mount.path().join("old"), mount.path().join(new));
        assert_errno(refused, libc::EINVAL);
        assert_eq!(server.tree().text("/old").unwrap(), "old", "{what}");
        assert_eq!(
            server.tree().text(&format!("/{there}")).unwrap(),
            "precious",
            "{what}"
        );
        assert_errno(fs::create_dir(mount.path().join(new)), libc::EINVAL);
        assert_eq!(server.tree().names("/").len(), 2, "{what}");
    }
}

#[test]
fn names_that_such_servers_keep_are_stored() {
    for (what, change, there, _) in CHANGES {
        let (server, mount) = mounted(Quirks::none().changes_names(*change));
        write(&mount.path().join(there), "kept").unwrap();
        write(&mount.path().join("old"), "new").unwrap();
        assert_eq!(
            server.tree().text(&format!("/{there}")).unwrap(),
            "kept",
            "{what}"
        );
        assert_eq!(server.tree().text("/old").unwrap(), "new", "{what}");
        assert_eq!(server.tree().names("/").len(), 2, "{what}: nothing is left");
    }
}

#[test]
fn what_is_not_listed_is_not_removed_as_another() {
    let (server, mount) = mounted(Quirks::none().changes_names(without_dash_words));
    server.tree().file("/a", "precious");
    assert_errno(fs::remove_file(mount.path().join("a -b.txt")), libc::ENOENT);
    assert_errno(fs::read(mount.path().join("a -x")), libc::ENOENT);
    assert_eq!(server.tree().text("/a").unwrap(), "precious");
}

#[test]
fn each_kind_is_tried_once() {
    let (server, mount) = mounted(Quirks::none());
    shell(
        mount.path(),
        "for n in 1 2 3; do echo x > \"My File $n\"; echo x > \"a -b $n\"; mkdir \"Dir é $n\"; done; mv 'My File 1' 'What? $1.'",
    );
    let trials = server
        .commands()
        .iter()
        .filter(|command| command.starts_with("STOR") && command.contains(".try"))
        .count();
    assert!((1..=5).contains(&trials), "{trials} trials");
    assert_eq!(lines(&shell(mount.path(), "ls -A")).len(), 10);
    assert_eq!(server.tree().names("/").len(), 10);
}

#[test]
fn a_case_blind_server_is_served_as_such() {
    for quirks in [
        Quirks::none().case_blind(),
        Quirks::none().case_blind().without_facts(),
    ] {
        let (server, mount) = mounted(quirks);
        server.tree().file("/foo", "precious");
        server.tree().directory("/Dir");
        server.tree().file("/Dir/x", "x");
        shell(mount.path(), "ls -l");
        let exclusive = File::options()
            .write(true)
            .create_new(true)
            .open(mount.path().join("FOO"));
        assert_errno(exclusive, libc::EEXIST);
        assert_errno(fs::create_dir(mount.path().join("dir")), libc::EEXIST);
        let read = |name: &str| fs::read_to_string(mount.path().join(name)).unwrap();
        assert_eq!(read("FOO"), "precious");
        assert_eq!(read("dir/X"), "x");
        assert_errno(fs::metadata(mount.path().join("FO")), libc::ENOENT);
        assert_eq!(lines(&shell(mount.path(), "ls -A")), ["Dir", "foo", "old"]);

        shell(mount.path(), "echo changed > FOO");
        assert_eq!(server.tree().text("/foo").unwrap(), "changed\n");
        assert_eq!(read("foo"), "changed\n");
        assert_errno(
            fs::rename(mount.path().join("Dir"), mount.path().join("dir/sub")),
            libc::EINVAL,
        );
        shell(mount.path(), "mv foo Foo && mv Dir dir");
        assert_eq!(server.tree().names("/"), ["Foo", "dir", "old"]);
        assert_eq!(lines(&shell(mount.path(), "ls -A")), ["Foo", "dir", "old"]);
        shell(mount.path(), "rm FOO");
        assert_eq!(server.tree().names("/"), ["dir", "old"]);
        // The kernel keeps the other spelling for a moment.
        let is_gone = || fs::metadata(mount.path().join("Foo")).is_err();
        assert!(wait_for(Duration::from_secs(30), is_gone));
    }
}

#[test]
fn a_case_only_rename_that_the_server_refuses_goes_by_way_of_a_temporary_name() {
    let quirks = Quirks::none().case_blind().hook(|request, state| {
        let is_there = request.verb == "RNTO" && state.is_file(&request.argument);
        is_there.then(|| crate::support::Answer::say("550 File exists"))
    });
    let (server, mount) = mounted(quirks);
    shell(mount.path(), "ls && test -e OLD && mv old Old");
    assert_eq!(server.tree().names("/"), ["Old"]);
    assert_eq!(server.tree().text("/Old").unwrap(), "old");
    shell(mount.path(), "echo new > OLD");
    assert_eq!(server.tree().names("/").len(), 1);
    assert_eq!(
        fs::read_to_string(mount.path().join("Old")).unwrap(),
        "new\n"
    );
}

#[test]
fn a_server_that_minds_case_keeps_both() {
    let (server, mount) = mounted(Quirks::none());
    shell(
        mount.path(),
        "ls; echo one > foo; echo two > FOO; echo three > Foo",
    );
    assert_eq!(server.tree().names("/"), ["FOO", "Foo", "foo", "old"]);
    assert_eq!(server.tree().text("/foo").unwrap(), "one\n");
}

/// The server disappears while it is asked whether it preserves such a name. That counts as no
/// answer, and the file is stored when the server is back.
#[test]
fn a_name_that_could_not_be_tried_is_stored_later() {
    let (is_up, goes_away) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    let server = QuirkyServer::start(Quirks::none().hook({
        let (is_up, goes_away) = (Arc::clone(&is_up), Arc::clone(&goes_away));
        move |request, _| {
            if request.verb == "STOR" && goes_away.swap(false, Ordering::Relaxed) {
                is_up.store(false, Ordering::Relaxed);
            }
            (!is_up.load(Ordering::Relaxed)).then(Answer::close)
        }
    }));
    server.tree().file("/old", "old");
    let mount = Mount::of_url(&server.url(), "secret", &["writeback", "timeout=3"]);
    fs::write(mount.join("back\\slash"), "content").unwrap();
    let soon = Duration::from_secs(60);
    assert!(wait_for(soon, || !is_up.load(Ordering::Relaxed)));
    let tried = server.sessions().len();
    assert!(wait_for(soon, || server.sessions().len() > tried + 2));
    is_up.store(true, Ordering::Relaxed);
    let is_stored = || server.tree().text("/back\\slash").as_deref() == Some("content");
    assert!(wait_for(soon, is_stored), "{}", mount.log());
}

//! Servers on which files must be stored in another way than usual: they refuse or hide names with
//! a leading dot, cannot rename, or send misleading refusals.

use std::fs;
use std::io::Write;
use std::time::Duration;

use crate::support::{
    Answer, Mount, Quirks, QuirkyServer, Request, Step, assert_errno, lines, shell,
};

/// Whether a command concerns a name with a leading dot.
fn is_about_hidden(request: &Request) -> bool {
    let name = request.argument.rsplit('/').next().unwrap_or_default();
    name.starts_with('.')
}

fn is_temporary(name: &str) -> bool {
    name.contains("ftpfs-")
}

/// Mounts a server with these quirks and a file `old`.
fn mounted(quirks: Quirks, options: &[&str]) -> (QuirkyServer, Mount) {
    let server = QuirkyServer::start(quirks);
    server.tree().file("/old", "old");
    let mount = Mount::of_url(&server.url(), "secret", options);
    (server, mount)
}

/// Writes a new file, replaces an old one, and asserts that the server has both and nothing else.
fn store_two(server: &QuirkyServer, mount: &Mount) {
    shell(mount.path(), "echo one > first && echo two > old");
    assert_eq!(server.tree().text("/first").unwrap(), "one\n");
    assert_eq!(server.tree().text("/old").unwrap(), "two\n");
    shell(
        mount.path(),
        "mkdir dir && cp old dir/copy && mv first dir/moved",
    );
    assert_eq!(server.tree().text("/dir/copy").unwrap(), "two\n");
    assert_eq!(server.tree().names("/dir"), ["copy", "moved"]);
    assert_eq!(server.tree().names("/"), ["dir", "old"]);
}

#[test]
fn names_that_begin_with_a_dot_are_refused() {
    for refusal in [
        "550 No such file or directory",
        "553 Prohibited file name",
        "451 Local error",
        "500 Syntax error",
        "501 Bad file name",
    ] {
        let quirks = Quirks::none().hook(move |request, _| {
            (request.verb == "STOR" && is_about_hidden(request)).then(|| Answer::say(refusal))
        });
        let (server, mount) = mounted(quirks, &[]);
        store_two(&server, &mount);
        let in_root = server.count("STOR /.ftpfs-");
        let in_directory = server.count("STOR /dir/.ftpfs-");
        if refusal.starts_with('4') {
            // One of these refusals may be temporary.
            shell(mount.path(), "echo 1 > old && echo 2 > old && echo 3 > old");
            let all = server.count("STOR /.ftpfs-") + in_directory;
            assert_eq!(all, 3, "{refusal}: tried three times");
        } else {
            assert_eq!(in_root, 1, "{refusal}: tried once");
            assert_eq!(in_directory, 0, "{refusal}");
        }
        assert!(server.count("STOR /ftpfs-") > 0, "{refusal}");
    }
}

/// Refuses STOR of temporary names with `refusal` this many times.
fn refuses_some(times: usize, refusal: &'static str) -> Quirks {
    let left = std::sync::atomic::AtomicUsize::new(times);
    let take = std::sync::atomic::Ordering::SeqCst;
    Quirks::none().hook(move |request, _| {
        let is_refused = request.verb == "STOR"
            && is_temporary(&request.argument)
            && left
                .fetch_update(take, take, |left| left.checked_sub(1))
                .is_ok();
        is_refused.then(|| Answer::say(refusal))
    })
}

#[test]
fn a_passing_refusal_leaves_the_old_file_and_is_forgotten() {
    for refusal in ["450 Busy", "451 Local error"] {
        let (server, mount) = mounted(refuses_some(2, refusal), &[]);
        let written = fs::File::options()
            .write(true)
            .truncate(true)
            .open(mount.path().join("old"))
            .and_then(|mut file| {
                file.write_all(b"new")?;
                file.sync_all()
            });
        assert_eq!(server.count("STOR /old"), 0, "{refusal}: {written:?}");
        shell(mount.path(), "echo later > other && echo two > old");
        assert_eq!(server.tree().text("/old").unwrap(), "two\n", "{refusal}");
        assert_eq!(server.count("STOR /o"), 0, "{refusal}");
        assert!(server.count("STOR /.ftpfs-") > 1, "{refusal}: remembered");
        assert_eq!(server.tree().names("/"), ["old", "other"], "{refusal}");
    }
}

#[test]
fn one_passing_refusal_is_no_trait_of_the_server() {
    let (server, mount) = mounted(refuses_some(1, "451 Local error"), &[]);
    shell(mount.path(), "echo one > first && echo two > second");
    assert!(server.count("STOR /.ftpfs-") > 1, "still the first choice");
    assert_eq!(server.count("STOR /ftpfs-"), 1);
}

/// Omits names with a leading dot from listings but from no other command; there is no MLST.
fn hides_dots_from_listings() -> Quirks {
    Quirks::none()
        .without_facts()
        .hides(|name| name.starts_with(".ftpfs-"))
}

#[test]
fn a_save_is_not_taken_for_done_where_listings_hide_it() {
    for refusal in ["550 File exists", "550 Permission denied", "553 Failed"] {
        let quirks = hides_dots_from_listings().hook(move |request, state| {
            let is_refused = request.verb == "RNTO" && state.is_file(&request.argument);
            is_refused.then(|| Answer::say(refusal))
        });
        let (server, mount) = mounted(quirks, &[]);
        shell(mount.path(), "ls -a && echo new > old && echo newer > old");
        assert_eq!(
            server.tree().text("/old").as_deref(),
            Some("newer\n"),
            "{refusal}"
        );
        assert_eq!(
            lines(&shell(mount.path(), "cat old")),
            ["newer"],
            "{refusal}"
        );
        assert_eq!(server.tree().names("/"), ["old"], "{refusal}");
    }
}

#[test]
fn a_file_moved_aside_comes_back_where_listings_hide_it() {
    for (refusal, is_moved_aside) in [
        (
            "550 The process cannot access the file because it is being used by another process.",
            false,
        ),
        ("550 Permission denied", true),
    ] {
        let quirks = hides_dots_from_listings().hook(move |request, state| {
            let is_refused =
                request.verb == "RNTO" && state.rename_from.as_deref() == Some("/source");
            is_refused.then(|| Answer::say(refusal))
        });
        let (server, mount) = mounted(quirks, &[]);
        server.tree().file("/source", "source");
        shell(mount.path(), "ls -a && ! mv -f source old");
        assert_eq!(
            server.tree().text("/old").as_deref(),
            Some("old"),
            "{refusal}"
        );
        assert_eq!(server.tree().names("/"), ["old", "source"], "{refusal}");
        let is_aside =
            |line: &String| line.starts_with("RNTO ") && line.as_bytes().ends_with(b".old");
        let was_moved_aside = server.commands().iter().any(is_aside);
        assert_eq!(was_moved_aside, is_moved_aside, "{refusal}");
    }
}

#[test]
fn names_that_begin_with_a_dot_are_taken_and_not_found() {
    for answer in ["250-Begin\n250 End", "550 No such file or directory"] {
        let quirks = Quirks::none()
            .hook(move |request, _| {
                (request.is(&["MLST", "SIZE", "RNFR"]) && is_about_hidden(request))
                    .then(|| Answer::say(answer))
            })
            .hides(|name| name.starts_with('.'));
        let (server, mount) = mounted(quirks, &[]);
        store_two(&server, &mount);
        assert_eq!(server.count("STOR /.ftpfs-"), 1, "{answer}: tried once");
        assert_eq!(server.count("STOR /dir/.ftpfs-"), 0, "{answer}");
    }
}

#[test]
fn visible_temporary_names_are_not_shown() {
    let quirks = Quirks::none().hook(|request, _| {
        (request.verb == "STOR" && is_about_hidden(request))
            .then(|| Answer::say("553 Prohibited file name"))
    });
    let server = QuirkyServer::start(quirks);
    server.tree().file("/ftpfs-0123456789abcdef.part", "theirs");
    server.tree().file("/ftpfs-notes.part", "a user's");
    let mount = Mount::of_url(&server.url(), "secret", &[]);
    assert_eq!(lines(&shell(mount.path(), "ls -A")), ["ftpfs-notes.part"]);
}

/// Makes a server to which files can be uploaded, and nothing more.
fn drop_box(rename: &'static str) -> Quirks {
    Quirks::none()
        .says("RNFR", rename)
        .says("DELE", "550 Permission denied")
}

#[test]
fn nothing_can_be_renamed_or_deleted() {
    for rename in [
        "550 Permission denied",
        "502 Command not implemented",
        "553 Renaming is forbidden",
    ] {
        let (server, mount) = mounted(drop_box(rename), &[]);
        shell(
            mount.path(),
            "echo one > first && echo two > second && echo new > old && mkdir d && echo three > d/third",
        );
        let left = server.tree().names("/");
        let left: Vec<_> = left.iter().filter(|name| is_temporary(name)).collect();
        assert!(left.len() <= 1, "{rename}: {left:?}");
        for (path, text) in [
            ("/first", "one\n"),
            ("/second", "two\n"),
            ("/old", "new\n"),
            ("/d/third", "three\n"),
        ] {
            assert_eq!(
                server.tree().text(path).as_deref(),
                Some(text),
                "{rename}: {path}"
            );
        }
        assert_eq!(server.tree().names("/d"), ["third"], "{rename}");
        assert_eq!(
            lines(&shell(mount.path(), "cat first second old d/third")),
            ["new", "one", "three", "two"]
        );
    }
}

#[test]
fn what_must_be_atomic_is_not_overwritten_in_place() {
    let (server, mount) = mounted(drop_box("550 Permission denied"), &["atomic=require"]);
    let written = fs::write(mount.path().join("old"), "new").and_then(|()| {
        let file = fs::File::options()
            .write(true)
            .open(mount.path().join("old"))?;
        file.sync_all()
    });
    // The close whose result std ignores may have been the one that failed.
    drop(written);
    assert_eq!(server.tree().text("/old").unwrap(), "old");
}

#[test]
fn a_refused_directory_says_nothing_about_others() {
    let quirks = Quirks::none().hook(|request, _| {
        let is_there = request.argument.starts_with("/closed/");
        (is_there && request.is(&["STOR", "RNTO", "MKD"]))
            .then(|| Answer::say("550 Permission denied"))
    });
    let server = QuirkyServer::start(quirks);
    server.tree().directory("/closed");
    server.tree().directory("/open");
    let mount = Mount::of_url(&server.url(), "secret", &[]);
    let closed = fs::File::create(mount.path().join("closed/x"));
    let stored = closed.and_then(|file| file.sync_all());
    assert_errno(stored, libc::EACCES);
    shell(mount.path(), "echo x > open/x");
    assert_eq!(server.tree().names("/open"), ["x"]);
    let usual = server.count("STOR /open/.ftpfs-");
    assert!(usual > 0, "the usual way is still the first");
    assert!(server.tree().names("/closed").is_empty());
}

#[test]
fn a_full_disk_is_not_taken_for_a_name_that_is_refused() {
    for (refusal, errno) in [
        ("552 Disk full", libc::ENOSPC),
        ("552 Quota exceeded", libc::EDQUOT),
        ("452 Insufficient storage space", libc::ENOSPC),
    ] {
        let (server, mount) = mounted(Quirks::none().says("STOR", refusal), &[]);
        let stored = fs::File::create(mount.path().join("x")).and_then(|file| file.sync_all());
        assert_errno(stored, errno);
        assert_eq!(server.count("STOR /ftpfs-"), 0, "{refusal}");
        assert_eq!(server.tree().names("/"), ["old"], "{refusal}");
    }
}

#[test]
fn a_rename_is_refused_and_done() {
    let (server, mount) = mounted(Quirks::none().does_and_says("RNTO", "553 Failed"), &[]);
    store_two(&server, &mount);
    shell(mount.path(), "mv old new && mv dir other && rm new");
    assert_eq!(server.tree().names("/"), ["other"]);
}

#[test]
fn a_rename_is_refused_and_done_a_moment_later() {
    let quirks = Quirks::none().hook(|request, state| {
        if request.verb != "RNTO" {
            return None;
        }
        let (from, to) = (state.rename_from.take()?, state.resolve(&request.argument));
        let done = Step::Later(
            Duration::from_millis(400),
            Box::new(move |tree| tree.rename(&from, &to).unwrap()),
        );
        Some(Answer::say("553 Rename failed").after(done))
    });
    let (server, mount) = mounted(quirks, &[]);
    store_two(&server, &mount);
}

fn do_all_with_odd_codes(quirks: Quirks) {
    let (server, mount) = mounted(quirks, &[]);
    store_two(&server, &mount);
    shell(
        mount.path(),
        "mkdir more && mv old more && rm more/old && rmdir more",
    );
    assert_eq!(server.tree().names("/"), ["dir"]);
}

#[test]
fn rnfr_is_answered_with_250() {
    do_all_with_odd_codes(Quirks::none().does_and_says("RNFR", "250 Ready"));
}

#[test]
fn a_150_comes_before_the_answer_to_dele() {
    do_all_with_odd_codes(Quirks::none().says_before("DELE", "150 About to delete"));
}

#[test]
fn a_150_comes_before_the_answer_to_mkd() {
    do_all_with_odd_codes(Quirks::none().says_before("MKD", "150 About to make it"));
}

#[test]
fn an_upload_is_acknowledged_twice() {
    do_all_with_odd_codes(Quirks::none().says_after("STOR", "226 And again"));
}

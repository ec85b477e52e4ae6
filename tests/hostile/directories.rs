//! A CWD that says what is not so: it goes nowhere, takes anything, or comes out somewhere else.

use super::*;

/// A server without facts that says 250 to every CWD, stays where it is, and says `inside` to a PWD
/// after one.
fn goes_anywhere(inside: &'static str) -> Scripted {
    let went = AtomicUsize::new(0);
    Scripted::start(move |line| {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "FEAT" => Act::say("211-Features\n SIZE\n211 End"),
            "MLSD" | "MLST" | "STAT" => Act::say("500 unknown here"),
            "PWD" if went.load(Ordering::Relaxed) > 0 => Act::say(inside),
            "CWD" => {
                went.fetch_add(1, Ordering::Relaxed);
                Act::say("250 as you like")
            }
            "DELE" => Act::say("250 as you like"),
            "LIST" => match listed(argument.trim_start_matches("-a").trim_start()) {
                Some(lines) => Act::send(lines.replace('\n', "\r\n")),
                None => Act::say("550 no such directory"),
            },
            _ => None,
        }
    })
}

const ROOT: &str = "drwxr-xr-x 2 o g 4096 Jan  2  2026 good\n\
                    drwxr-xr-x 2 o g 4096 Jan  2  2026 a b\n\
                    lrwxrwxrwx 1 o g    9 Jan  2  2026 link -> somewhere\n\
                    -rw-r--r-- 1 o g    5 Jan  2  2026 precious\n";
const GOOD: &str = "-rw-r--r-- 1 o g 8 Jan  2  2026 alive\n";

/// The root's listing for whoever names no directory: who went nowhere is still there.
fn listed(argument: &str) -> Option<&'static str> {
    match argument {
        "" | "/" => Some(ROOT),
        "/good" => Some(GOOD),
        _ => None,
    }
}

/// What is shown in the directory is the server's lie; what is done to it is done to no file
/// elsewhere.
#[test]
fn what_is_removed_below_a_cwd_that_went_nowhere_is_named_by_its_whole_path() {
    let victim = Victim::of(goes_anywhere("257 \"/\""));
    let entered = victim.mount.join("a b");
    assert!(names(&entered).unwrap().contains(&"precious".into()));
    assert!(victim.server.commands().contains(&"CWD /a b".to_owned()));
    fs::remove_file(entered.join("precious")).unwrap();
    let commands = victim.server.commands();
    let removed: Vec<&String> = commands
        .iter()
        .filter(|it| it.starts_with("DELE"))
        .collect();
    assert_eq!(removed, ["DELE /a b/precious"]);
    assert!(victim.mount.join("precious").exists());
    victim.lives_within(MODEST);
}

#[test]
fn a_cwd_that_takes_anything_makes_no_directory_of_what_is_not_there() {
    let victim = Victim::of(goes_anywhere("257 \"/\""));
    assert_errno(fs::metadata(victim.mount.join("absent")), libc::ENOENT);
    assert_errno(fs::metadata(victim.mount.join("good/absent")), libc::ENOENT);
    assert!(
        fs::metadata(victim.mount.join("precious"))
            .unwrap()
            .is_file()
    );
    assert_errno(fs::read_dir(victim.mount.join("precious")), libc::ENOTDIR);
    victim.lives_within(MODEST);
}

/// It stays a link where the server says that it leads to where it is, and is a directory with
/// nothing in it where it leads nowhere.
#[test]
fn a_followed_link_whose_cwd_lies_is_no_tree_without_an_end() {
    let link = |inside| {
        let victim = Victim::with(goes_anywhere(inside), &["symlinks=follow"]);
        let entries = names(victim.mount.path()).unwrap();
        assert!(entries.contains(&"link".into()), "{inside}");
        victim
    };
    let victim = link("257 \"/\"");
    let kind = fs::symlink_metadata(victim.mount.join("link")).unwrap();
    assert!(kind.is_symlink(), "{kind:?}");
    victim.lives_within(MODEST);
    for inside in ["257 \"/elsewhere\"", "257 no quotes", "550 no"] {
        let victim = link(inside);
        let listed = names(&victim.mount.join("link")).unwrap_or_default();
        assert!(listed.is_empty(), "{inside}: {listed:?}");
        victim.lives_within(MODEST);
    }
}

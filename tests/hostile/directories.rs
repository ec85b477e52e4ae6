//! Wrong replies to CWD: it goes nowhere, accepts anything, or leads to another directory.

use super::*;

/// Starts a server without facts that answers every CWD with 250, stays where it is, and answers a
/// PWD after a CWD with `inside`.
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

/// Returns the root's listing if no directory is given: a CWD that went nowhere leaves it current.
fn listed(argument: &str) -> Option<&'static str> {
    match argument {
        "" | "/" => Some(ROOT),
        "/good" => Some(GOOD),
        _ => None,
    }
}

/// The directory shows what the server pretends, but operations in it affect no file elsewhere.
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

/// A followed link stays a link if the server says that it leads to the current directory, and is
/// an empty directory if it leads nowhere.
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

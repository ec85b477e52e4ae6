use super::*;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn paths(texts: &[&str]) -> Vec<RemotePath> {
    texts.iter().map(|text| path(text)).collect()
}

fn walk(now: Instant) -> TreeWalk {
    TreeWalk::new(1 << 20, now)
}

#[test]
fn a_directory_opened_from_its_parent_begins_a_walk_and_another_does_not() {
    let now = Instant::now();
    let mut walk = walk(now);
    assert_eq!(walk.opened(&path("/"), now), WalkStep::Stray);
    assert_eq!(walk.opened(&path("/x/y"), now), WalkStep::Stray);
    assert_eq!(walk.opened(&path("/a"), now), WalkStep::Unexpected);
    walk.add(paths(&["/a/1", "/a/2", "/b"]));
    assert_eq!(walk.take(1, now), paths(&["/a/1"]));
    walk.listed(path("/a/1"), 100, Vec::new());
    assert_eq!(walk.opened(&path("/a/1"), now), WalkStep::Expected);
    let later = now + LATELY;
    assert_eq!(walk.opened(&path("/b"), later), WalkStep::Stray);
}

#[test]
fn names_looked_up_in_one_directory_after_the_other_begin_a_walk() {
    let now = Instant::now();
    let mut walk = walk(now);
    assert_eq!(walk.looked_up(&path("/a"), false, now), WalkStep::Stray);
    assert!(walk.has_looked(&path("/a"), now));
    assert!(!walk.has_looked(&path("/a"), now + LIVES));
    assert_eq!(walk.looked_up(&path("/x"), false, now), WalkStep::Stray);
    assert_eq!(walk.looked_up(&path("/b"), true, now), WalkStep::Unexpected);
    walk.add(paths(&["/a", "/b", "/c", "/d"]));
    assert_eq!(walk.take(10, now), paths(&["/c", "/d"]));
    assert_eq!(walk.looked_up(&path("/c"), false, now), WalkStep::Expected);
    assert!(walk.leads_on_from(&path("/c"), now), "one is being listed");
    walk.listed(path("/d"), 100, Vec::new());
    assert!(walk.leads_on_from(&path("/c"), now));
    assert!(!walk.leads_on_from(&path("/d"), now));
    assert!(!walk.leads_on_from(&path("/c/1"), now));
    walk.given_up(&path("/c"));
    assert!(walk.reaches(&path("/d"), now) && walk.is_idle());
    assert!(walk.leads_on_from(&path("/c"), now), "it came to /d");
    assert!(!walk.leads_on_from(&path("/c"), now + LIVES));
    assert!(!walk.reaches(&path("/d"), now));
}

#[test]
fn a_name_looked_up_below_a_combed_directory_begins_a_walk() {
    let now = Instant::now();
    let mut walk = walk(now);
    assert!(walk.combed(&path("/a"), now));
    assert!(!walk.combed(&path("/a"), now));
    assert!(!walk.is_parent_combed(&path("/a/1/x"), now));
    assert!(!walk.is_parent_combed(&path("/a/1"), now + LIVES));
    assert!(walk.is_parent_combed(&path("/a/1"), now));
    let step = |walk: &mut TreeWalk, follows| walk.looked_up(&path("/a/1"), follows, now);
    assert_eq!(step(&mut walk, false), WalkStep::Stray);
    assert_eq!(step(&mut walk, true), WalkStep::Unexpected);
    for number in 0..MOST_COMBED {
        walk.combed(&path(&format!("/{number}")), now);
    }
    assert!(!walk.is_parent_combed(&path("/a/2"), now));
}

#[test]
fn directories_looked_into_again_are_those_below_and_the_one_above() {
    let now = Instant::now();
    let mut walk = walk(now);
    for directory in ["/t", "/t/git", "/t/src"] {
        walk.looked_up(&path(directory), false, now);
    }
    assert!(walk.has_looked_beside(&path("/t/doc"), now));
    assert!(!walk.has_looked_beside(&path("/t/git/x"), now));
    let again = |walk: &TreeWalk, now| {
        let mut again = walk.looked_below(&path("/t/git"), now);
        again.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        again
    };
    walk.looked_up(&path("/t/git/refs"), false, now);
    assert!(again(&walk, now).is_empty(), "one by chance");
    walk.looked_up(&path("/t/git/info"), true, now);
    walk.add(paths(&["/t/git/logs"]));
    assert_eq!(walk.take(1, now), paths(&["/t/git/logs"]));
    walk.listed(path("/t/git/logs"), 100, Vec::new());
    let below = ["/t", "/t/git/info", "/t/git/logs", "/t/git/refs"];
    assert_eq!(again(&walk, now), paths(&below));
    assert!(again(&walk, now + LATELY).is_empty());
    for number in 0..MOST_LOOKED {
        walk.looked_up(&path(&format!("/t/git/{number}")), false, now);
    }
    assert_eq!(again(&walk, now).len(), MOST_AGAIN);
}

#[test]
fn a_path_is_gone_along_from_a_directory_looked_into_or_listed_with_its_parent() {
    let now = Instant::now();
    let mut walk = walk(now);
    assert!(!walk.is_along_path(&path("/a"), now));
    walk.looked_up(&path("/"), false, now);
    assert!(walk.is_along_path(&path("/a"), now));
    assert!(!walk.is_along_path(&path("/a/b/c"), now));
    walk.goes_along(&path("/a/b"), now);
    assert!(walk.has_looked(&path("/a/b"), now));
    assert!(walk.is_along_path(&path("/a/b/c"), now));
    assert!(!walk.is_along_path(&path("/a/b/c"), now + LIVES));
}

#[test]
fn a_file_at_the_end_of_a_path_is_no_directory_that_was_looked_into() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.looked_up(&path("/git"), false, now);
    walk.goes_along(&path("/git/HEAD"), now);
    assert!(walk.has_looked_beside(&path("/git/refs"), now));
    walk.does_not_go_along(&path("/git/HEAD"));
    assert!(!walk.has_looked_beside(&path("/git/refs"), now));
    assert!(walk.is_along_path(&path("/git/refs"), now));
}

#[test]
fn a_walk_by_names_comes_to_the_few_directories_beside_it_in_any_order() {
    let now = Instant::now();
    let few = || paths(&["/git/hooks", "/git/info", "/git/logs"]);
    let mut walk = walk(now);
    walk.looked_up(&path("/git/info"), true, now);
    walk.add_beside(few());
    assert_eq!(walk.take(9, now), paths(&["/git/logs", "/git/hooks"]));

    // A program that opens one directory after the other does not come back.
    let mut walk = self::walk(now);
    walk.opened(&path("/git"), now);
    walk.opened(&path("/git/info"), now);
    walk.add_beside(few());
    assert_eq!(walk.take(9, now), paths(&["/git/logs"]));
}

#[test]
fn of_many_directories_those_without_digests_are_listed_ahead() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.looked_up(&path("/git/info"), true, now);
    walk.add(paths(&["/git/objects"]));
    walk.take(1, now);
    let spread = (0..=255).map(|number| path(&format!("/git/objects/{number:02x}")));
    let other = paths(&["/git/objects/info", "/git/objects/pack"]);
    walk.listed(
        path("/git/objects"),
        100,
        spread.chain(other.clone()).collect(),
    );
    assert_eq!(walk.take(10, now), other);
}

#[test]
fn a_walk_by_names_does_not_list_many_directories_below_one() {
    let now = Instant::now();
    let many = || -> Vec<_> {
        let names = 0..=MOST_BESIDE;
        names
            .map(|number| path(&format!("/b/{number:02}")))
            .collect()
    };
    let mut walk = walk(now);
    walk.looked_up(&path("/a"), true, now);
    walk.add(paths(&["/b", "/c"]));
    assert_eq!(walk.take(2, now), paths(&["/b", "/c"]));
    walk.listed(path("/b"), 100, many());
    walk.listed(path("/c"), 100, paths(&["/c/1"]));
    assert_eq!(walk.take(2, now), paths(&["/c/1"]));
    // A program that opens directories comes to all of them.
    walk.opened(&path("/c"), now);
    walk.add(paths(&["/d"]));
    walk.take(1, now);
    walk.listed(
        path("/d"),
        100,
        (0..40).map(|it| path(&format!("/d/{it}"))).collect(),
    );
    assert!(walk.wanted(now) > 0);
}

#[test]
fn siblings_looked_into_in_no_order_are_all_listed() {
    let now = Instant::now();
    let mut walk = walk(now);
    for directory in ["/o/7f", "/o/03", "/o/info", "/o/e1"] {
        assert_eq!(
            walk.looked_up(&path(directory), false, now),
            WalkStep::Stray
        );
    }
    let scattered = walk.looked_up(&path("/o/52"), false, now);
    assert_eq!(scattered, WalkStep::Scattered);
    walk.add_scattered(paths(&["/o/00", "/o/ff"]));
    assert_eq!(walk.take(10, now), paths(&["/o/00", "/o/ff"]));
    assert_eq!(
        walk.looked_up(&path("/o/ff"), false, now),
        WalkStep::Expected
    );
    let later = now + LIVES;
    assert_eq!(
        walk.looked_up(&path("/o/53"), false, later),
        WalkStep::Stray
    );
    for hour in ["07", "22", "03", "16", "11"] {
        let step = walk.looked_up(&path(&format!("/log/{hour}")), false, later);
        assert_eq!(step, WalkStep::Stray);
    }
}

#[test]
fn what_comes_next_in_a_depth_first_walk_is_listed_first() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.opened(&path("/"), now);
    walk.opened(&path("/b"), now);
    walk.add(paths(&["/c", "/b/2", "/b-", "/b/1", "/a", "/b/1/x"]));
    let expected = paths(&["/b/1", "/b/1/x", "/b/2", "/b-", "/c"]);
    assert_eq!(walk.take(10, now), expected, "and nothing that lies behind");
}

#[test]
fn the_window_bounds_what_is_ahead_and_grows_with_what_is_used() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.opened(&path("/"), now);
    walk.opened(&path("/0"), now);
    let many = (0..2000).map(|number| path(&format!("/d{number:04}")));
    walk.add(many);
    let first = walk.take(5000, now);
    assert_eq!(first.len(), FIRST_WINDOW);
    assert_eq!(walk.wanted(now), 0);
    for directory in &first {
        walk.listed(directory.clone(), 100, Vec::new());
    }
    assert_eq!(walk.wanted(now), 0, "listed and not opened");
    for directory in &first {
        walk.opened(directory, now);
    }
    assert_eq!(walk.wanted(now), LARGEST_WINDOW);
}

#[test]
fn what_lies_on_a_way_that_was_left_does_not_stop_the_new_one() {
    let now = Instant::now();
    let below = |directory: &str, count: usize| -> Vec<_> {
        let names = (0..count).map(|number| path(&format!("{directory}/{number:02}")));
        names.collect()
    };
    let mut walk = walk(now);
    walk.looked_up(&path("/a"), true, now);
    walk.add(below("/a", FIRST_WINDOW + 1));
    let first = walk.take(100, now);
    for directory in &first[..FIRST_WINDOW - 1] {
        walk.listed(directory.clone(), 100, Vec::new());
    }
    // One is still being listed.
    assert_eq!(walk.wanted(now), 0);

    assert_eq!(walk.looked_up(&path("/b"), true, now), WalkStep::Unexpected);
    walk.add(below("/b", FIRST_WINDOW * 2));
    assert_eq!(walk.take(100, now), &below("/b", FIRST_WINDOW)[..]);
    assert_eq!(walk.wanted(now), 0, "the new way has a window, too");
    walk.listed(first[FIRST_WINDOW - 1].clone(), 100, Vec::new());
    for directory in below("/b", FIRST_WINDOW) {
        walk.listed(directory, 100, Vec::new());
    }
    assert_eq!(walk.wanted(now), 0);

    // The program may come back.
    assert!(walk.reaches(&path("/a/00"), now) && !walk.is_idle());
    for directory in below("/b", FIRST_WINDOW).iter().chain(&first[1..]) {
        assert!(walk.reaches(directory, now));
    }
    assert_eq!(walk.ahead_bytes, 0);
}

#[test]
fn listings_beyond_their_bytes_stop_a_new_way_too() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.looked_up(&path("/a"), true, now);
    walk.add(paths(&["/a/1"]));
    assert_eq!(walk.take(1, now), paths(&["/a/1"]));
    walk.listed(path("/a/1"), 1 << 20, Vec::new());
    walk.looked_up(&path("/b"), true, now);
    walk.add(paths(&["/b/1"]));
    assert_eq!(walk.wanted(now), 0);
}

#[test]
fn listings_beyond_their_bytes_wait_for_those_before_to_be_opened() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.opened(&path("/"), now);
    walk.opened(&path("/a"), now);
    walk.add(paths(&["/b", "/c"]));
    assert_eq!(walk.take(1, now), paths(&["/b"]));
    walk.listed(path("/b"), 1 << 20, Vec::new());
    assert_eq!(walk.wanted(now), 0);
    walk.opened(&path("/b"), now);
    assert_eq!(walk.wanted(now), 1);
}

#[test]
fn a_walk_that_stopped_lists_nothing_more() {
    let now = Instant::now();
    let mut walk = walk(now);
    walk.opened(&path("/"), now);
    walk.opened(&path("/a"), now);
    walk.add(paths(&["/b", "/c"]));
    walk.touch(now + LIVES / 2);
    assert_eq!(walk.wanted(now + LIVES), 2);
    assert_eq!(walk.wanted(now + LIVES * 2), 0);
    assert!(walk.take(10, now + LIVES * 2).is_empty());
}

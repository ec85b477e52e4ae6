use super::*;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

#[test]
fn one_is_about_its_old_name_and_about_the_directories_above_it() {
    let orphan = Orphan::Aside(path("/a/b/.old"), path("/a/b/c"), None);
    for (of, expected) in [
        ("/a/b/c", true),
        ("/a/b", true),
        ("/a", true),
        ("/a/b/d", false),
        ("/a/b/c/d", false),
    ] {
        assert_eq!(orphan.is_about(&path(of)), expected, "{of}");
    }
    assert!(!Orphan::Part(path("/a/.part")).is_about(&path("/a/.part")));
}

#[test]
fn what_is_taken_is_waited_for_and_what_failed_is_taken_again() {
    let (orphans, now) = (Orphans::default(), Instant::now());
    let orphan = Orphan::Aside(path("/.old"), path("/a"), None);
    orphans.add(orphan.clone(), now);
    let taken = orphans.take(Some(now)).unwrap();
    let again = std::thread::scope(|scope| {
        let other = scope.spawn(|| orphans.take_about(&path("/a"), &[]));
        assert_eq!(orphans.take_about(&path("/b"), &[]), None, "not waited for");
        orphans.put(&taken, Cleared::Refused(orphan.clone()), now);
        other.join().unwrap().unwrap()
    });
    assert_eq!(again.orphan, orphan);
    orphans.put(&again, Cleared::Done, now);
    assert_eq!(
        (orphans.count(), orphans.take_about(&path("/a"), &[])),
        (0, None)
    );
}

#[test]
fn what_is_refused_is_tried_more_and_more_rarely() {
    let (orphans, start) = (Orphans::default(), Instant::now());
    let (stubborn, other) = (
        Orphan::Part(path("/stubborn.part")),
        Orphan::Part(path("/other.part")),
    );
    orphans.add(stubborn.clone(), start);
    let (mut now, mut pauses) = (start, Vec::new());
    for _ in 0..12 {
        let taken = orphans.take(Some(now)).unwrap();
        orphans.put(&taken, Cleared::Refused(stubborn.clone()), now);
        assert_eq!(orphans.take(Some(now)), None);
        let pause = orphans.leftovers(now)[0].next;
        pauses.push(pause.as_secs());
        now += pause;
    }
    let expected = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600];
    assert_eq!(pauses, expected);

    let taken = orphans.take(Some(now)).unwrap();
    orphans.put(&taken, Cleared::Unasked(stubborn.clone()), now);
    assert!(orphans.take(Some(now)).is_some(), "it was not asked");
    orphans.put(&taken, Cleared::Refused(stubborn.clone()), now);
    orphans.add(other.clone(), now);
    let due = orphans.take(Some(now)).unwrap();
    assert_eq!(due.orphan, other, "each has its own pauses");
    assert_eq!(orphans.take(None).unwrap().orphan, stubborn, "at the end");
    assert_eq!(pause_after(u32::MAX), MAX_PAUSE);
}

#[test]
fn attempts_before_their_time_do_not_lengthen_the_pause() {
    let (orphans, now) = (Orphans::default(), Instant::now());
    let orphan = Orphan::Aside(path("/d/.old"), path("/d/a"), None);
    orphans.add(orphan.clone(), now);
    for _ in 0..9 {
        let taken = orphans.take_about(&path("/d/a"), &[]).unwrap();
        orphans.put(&taken, Cleared::Refused(orphan.clone()), now);
        assert_eq!(orphans.leftovers(now)[0].next, FIRST_PAUSE);
    }
}

#[test]
fn what_the_server_may_still_create_is_looked_for_until_it_cannot_any_more() {
    let (orphans, start) = (Orphans::default(), Instant::now());
    let part = Orphan::Part(path("/late.part"));
    orphans.add_late(part.clone(), start, Duration::from_secs(30));
    let (mut now, mut looks) = (start, Vec::new());
    while let Some(next) = orphans.leftovers(now).first().map(|it| it.next) {
        now += next;
        looks.push(now.duration_since(start).as_secs());
        let taken = orphans.take(Some(now)).unwrap();
        let is_over = taken.may_appear_until.unwrap() <= now;
        let cleared = if is_over {
            Cleared::Done
        } else {
            Cleared::NotYetThere(part.clone())
        };
        orphans.put(&taken, cleared, now);
    }
    assert_eq!(looks, [5, 10, 20, 30]);
}

#[test]
fn a_look_before_its_time_changes_no_later_one_and_is_made_once_per_change() {
    let (orphans, now) = (Orphans::default(), Instant::now());
    let part = Orphan::Part(path("/d/late.part"));
    orphans.add_late(part.clone(), now, Duration::from_secs(30));
    let taken = orphans.take_about(&path("/d"), &[]).unwrap();
    orphans.put(&taken, Cleared::NotYetThere(part.clone()), now);
    assert_eq!(orphans.take_about(&path("/d"), &[part]), None);
    assert_eq!(orphans.leftovers(now)[0].next, FIRST_PAUSE);
    assert_eq!(orphans.take_about(&path("/d"), &[]), Some(taken));
}

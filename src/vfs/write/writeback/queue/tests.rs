use super::*;

#[derive(Debug)]
struct Fake(u64);

impl Numbered for Fake {
    fn ino(&self) -> Ino {
        Ino(self.0)
    }
}

const DEBOUNCE: Duration = Duration::from_millis(200);

fn failure() -> StoreFailure {
    StoreFailure {
        errno: Errno::IO,
        reason: "552 over quota".to_owned(),
    }
}

fn queue(inos: &[u64], now: Instant) -> Queue<Fake> {
    let mut queue = Queue::default();
    for ino in inos {
        assert!(queue.add(&Arc::new(Fake(*ino)), now, now + DEBOUNCE));
    }
    queue
}

fn try_once(queue: &mut Queue<Fake>, ino: u64, outcome: StoreOutcome, now: Instant) -> bool {
    assert!(queue.start(Ino(ino)).is_some());
    queue.done(Ino(ino), outcome, now, DEBOUNCE).is_some()
}

#[test]
fn a_file_is_due_when_it_has_settled_and_gone_when_it_is_stored() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    assert_eq!(queue.due(now), Err(Some(DEBOUNCE)));
    assert_eq!(queue.due(now + DEBOUNCE), Ok(Ino(7)));
    assert!(try_once(&mut queue, 7, StoreOutcome::Stored, now));
    assert_eq!((queue.len(), queue.running(), queue.completed()), (0, 0, 1));
    assert_eq!(queue.due(now), Err(None));
}

#[test]
fn a_file_closed_again_while_it_is_stored_is_stored_again() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    assert!(queue.start(Ino(7)).is_some());
    assert!(!queue.add(&Arc::new(Fake(7)), now, now));
    assert!(
        queue
            .done(Ino(7), StoreOutcome::Stored, now, DEBOUNCE)
            .is_none()
    );
    assert_eq!(queue.due(now), Ok(Ino(7)));
}

#[test]
fn files_that_are_due_together_are_stored_in_the_order_of_their_closes() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for (ino, millis) in [(9, 0), (3, 1), (5, 2)] {
        let closed = now + Duration::from_millis(millis);
        queue.add(&Arc::new(Fake(ino)), closed, closed + DEBOUNCE);
    }
    queue.expedite_all(now);
    for ino in [9, 3, 5] {
        assert_eq!(queue.due(now), Ok(Ino(ino)));
        assert!(queue.start(Ino(ino)).is_some());
    }
}

#[test]
fn a_file_that_a_program_waits_for_is_stored_before_others() {
    let start = Instant::now();
    let now = start + DEBOUNCE;
    let mut queue = queue(&[6, 7, 8], start);
    queue.expedite(&[Ino(8)], now);
    assert_eq!(queue.due(now), Ok(Ino(8)));
    assert_eq!(queue.some_due(now).first(), Some(&Ino(8)));
    // The next attempt is one among others, unless a program waits for that, too.
    let again = StoreOutcome::Requeue;
    assert!(!try_once(&mut queue, 8, again, start));
    assert_eq!(queue.due(now), Ok(Ino(6)));
    assert!(queue.start(Ino(8)).is_some());
    queue.expedite(&[Ino(8)], now);
    assert!(
        queue
            .done(Ino(8), StoreOutcome::Stored, now, DEBOUNCE)
            .is_none()
    );
    assert_eq!(queue.due(now), Ok(Ino(8)));
}

#[test]
fn who_waits_for_an_attempt_waits_for_one_that_is_not_interrupted() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    let tried = queue.expedite(&[Ino(7)], now);
    for _ in 0..3 {
        assert!(!try_once(&mut queue, 7, StoreOutcome::Interrupted, now));
        assert!(queue.is_undecided(Ino(7), &tried));
    }
    assert!(try_once(&mut queue, 7, StoreOutcome::Stored, now));
    assert!(!queue.is_undecided(Ino(7), &tried));
}

/// The attempt that was running when the wait began does not count because it is interrupted.
#[test]
fn a_wait_ends_with_a_refusal_after_an_interrupted_attempt() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    assert!(queue.start(Ino(7)).is_some());
    let tried = queue.expedite(&[Ino(7)], now);
    queue.done(Ino(7), StoreOutcome::Interrupted, now, DEBOUNCE);
    assert!(queue.is_undecided(Ino(7), &tried));
    let refused = StoreOutcome::Failed(failure());
    assert!(!try_once(&mut queue, 7, refused, now));
    assert!(!queue.is_undecided(Ino(7), &tried));
    assert_eq!(queue.failure(Ino(7)), Some(Errno::IO));
}

#[test]
fn a_failure_that_may_pass_is_tried_again_ever_more_seldom() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(!try_once(
            &mut queue,
            7,
            StoreOutcome::RetryLater(failure()),
            now
        ));
        assert_eq!(queue.due(now), Err(Some(Duration::from_secs(seconds))));
    }
    assert!(queue.has_runnable());
}

#[test]
fn who_asks_during_a_try_that_fails_does_not_wait_for_the_pause() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    for _ in 0..8 {
        assert!(!try_once(
            &mut queue,
            7,
            StoreOutcome::RetryLater(failure()),
            now
        ));
    }
    queue.expedite(&[Ino(7)], now);
    assert!(queue.start(Ino(7)).is_some());
    let tried = queue.expedite(&[Ino(7)], now);
    let failed = StoreOutcome::RetryLater(failure());
    assert!(queue.done(Ino(7), failed, now, DEBOUNCE).is_none());
    assert!(queue.is_undecided(Ino(7), &tried));
    assert_eq!(queue.due(now), Ok(Ino(7)), "the pause would be 60 s");
}

#[test]
fn a_refused_file_waits_until_somebody_asks() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    assert!(!try_once(
        &mut queue,
        7,
        StoreOutcome::Failed(failure()),
        now
    ));
    assert_eq!(queue.due(now), Err(None));
    assert!(queue.is_refused(Ino(7)) && !queue.has_runnable());
    assert_eq!(queue.failure(Ino(7)), Some(Errno::IO));
    let tried = queue.expedite(&[Ino(7), Ino(8)], now);
    assert_eq!(queue.due(now), Ok(Ino(7)));
    assert!(queue.is_undecided(Ino(7), &tried));
    assert!(!queue.is_undecided(Ino(8), &tried));
    assert!(!try_once(
        &mut queue,
        7,
        StoreOutcome::Failed(failure()),
        now
    ));
    assert!(!queue.is_undecided(Ino(7), &tried), "it was tried");
    assert!(!queue.add(&Arc::new(Fake(7)), now, now));
    assert_eq!(queue.due(now), Ok(Ino(7)), "a new close asks, too");
}

#[test]
fn a_try_that_was_under_way_is_not_the_one_that_was_asked_for() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    assert!(queue.start(Ino(7)).is_some());
    let tried = queue.expedite(&[Ino(7)], now);
    assert!(
        queue
            .done(Ino(7), StoreOutcome::Failed(failure()), now, DEBOUNCE)
            .is_none()
    );
    assert!(queue.is_undecided(Ino(7), &tried));
    assert!(try_once(&mut queue, 7, StoreOutcome::Stored, now));
    assert!(!queue.is_undecided(Ino(7), &tried));
}

#[test]
fn at_the_end_everything_is_tried_at_once_and_not_for_ever() {
    let now = Instant::now();
    let mut queue = queue(&[7, 8], now);
    assert!(!try_once(
        &mut queue,
        8,
        StoreOutcome::Failed(failure()),
        now
    ));
    queue.ending(now);
    assert!(queue.due(now).is_ok());
    assert!(!try_once(
        &mut queue,
        8,
        StoreOutcome::Failed(failure()),
        now
    ));
    for _ in 0..TRIES_AT_THE_END {
        assert!(queue.has_runnable());
        assert!(!try_once(
            &mut queue,
            7,
            StoreOutcome::RetryLater(failure()),
            now
        ));
    }
    assert!(!queue.has_runnable());
}

#[test]
fn without_the_server_nothing_is_due_until_it_is_back_or_asked_for() {
    let now = Instant::now();
    let later = now + DEBOUNCE * 9;
    let mut queue = queue(&[7, 8], now);
    queue.park(&failure());
    assert_eq!(queue.due(later), Err(None));
    queue.add(&Arc::new(Fake(9)), now, now);
    assert_eq!(queue.due(later), Err(None));
    queue.unpark(now);
    assert_eq!(queue.due(now), Ok(Ino(7)));
    queue.park(&failure());
    let tried = queue.expedite(&[Ino(8)], now);
    assert!(queue.due(now).is_ok() && queue.is_undecided(Ino(8), &tried));
    queue.park(&failure());
    assert!(!queue.is_undecided(Ino(8), &tried), "nothing was tried");
    assert_eq!(queue.failure(Ino(8)), Some(Errno::IO));
}

#[test]
fn without_the_server_the_end_tries_nothing() {
    let now = Instant::now();
    let mut queue = queue(&[7, 8], now);
    queue.park(&failure());
    queue.ending(now);
    assert!(queue.due(now).is_ok(), "the server is looked for once more");
    assert!(queue.start(Ino(8)).is_some());
    queue.park(&failure());
    assert_eq!(queue.due(now), Err(None));
    assert!(queue.has_runnable(), "one is under way");
    let failed = StoreOutcome::Failed(failure());
    assert!(queue.done(Ino(8), failed, now, DEBOUNCE).is_none());
    assert!(!queue.has_runnable());
    assert_eq!(queue.failure(Ino(7)), Some(Errno::IO));
}

#[test]
fn one_that_is_removed_while_it_is_stored_is_counted_out() {
    let now = Instant::now();
    let mut queue = queue(&[7, 8], now);
    assert!(queue.start(Ino(7)).is_some());
    assert!(queue.remove(Ino(7)).is_some());
    assert!(
        queue
            .done(Ino(7), StoreOutcome::Stored, now, DEBOUNCE)
            .is_none()
    );
    assert_eq!((queue.len(), queue.running()), (1, 0));
}

#[test]
fn the_longest_waiting_stand_first() {
    let now = Instant::now();
    let mut queue = queue(&[7], now);
    queue.add(&Arc::new(Fake(3)), now + DEBOUNCE, now + DEBOUNCE);
    let standing = queue.statuses(now + DEBOUNCE);
    let inos: Vec<_> = standing.iter().map(|it| it.file.0).collect();
    assert_eq!(inos, [7, 3]);
    assert_eq!(standing[0].age, DEBOUNCE);
}

#[test]
fn who_waits_for_a_file_that_waits_in_vain_does_not_wait_on() {
    let now = Instant::now();
    let mut queue = queue(&[7, 8], now);
    queue.start(Ino(7)).unwrap();
    let tried = queue.expedite(&[Ino(7), Ino(8)], now);
    let failures = queue.failures();
    queue.block(&[Ino(7)], &failure());
    assert!(!queue.is_undecided(Ino(7), &tried));
    assert!(queue.is_undecided(Ino(8), &tried));
    assert!(!queue.has_problems_since(failures));
    queue.block(&[Ino(8)], &failure());
    assert!(queue.has_problems_since(failures));
    assert_eq!(queue.failure(Ino(7)), Some(failure().errno));
    // It may be stored later.
    let tried = queue.expedite(&[Ino(7)], now);
    assert!(queue.is_undecided(Ino(7), &tried));
}

#[test]
fn files_promise_room_until_each_has_failed_or_the_server_does_not_answer() {
    let now = Instant::now();
    let mut queue = queue(&[7, 8], now);
    let before = queue.failures();
    let may_pass = || StoreOutcome::RetryLater(failure());
    assert!(!try_once(&mut queue, 7, may_pass(), now));
    assert!(!queue.has_problems_since(before));
    assert!(!try_once(&mut queue, 8, may_pass(), now));
    assert!(queue.has_problems_since(before));
    assert!(!queue.has_problems_since(queue.failures()));
    assert!(queue.add(&Arc::new(Fake(9)), now, now));
    assert!(!queue.has_problems_since(before));
    queue.note_unanswered();
    assert!(queue.has_problems_since(before));
}

#[test]
fn of_many_due_files_a_few_are_looked_at_and_then_the_next_ones() {
    let now = Instant::now();
    let many = MOST_LOOKED as u64 + 10;
    let inos: Vec<_> = (0..many).collect();
    let mut queue = queue(&inos, now);
    assert!(queue.some_due(now).is_empty());
    let due = now + DEBOUNCE;
    let first = queue.some_due(due);
    assert_eq!((first.len(), first.first()), (MOST_LOOKED, Some(&Ino(0))));
    queue.pass_over(first.len());
    assert_eq!(queue.some_due(due).len(), 10);
    queue.pass_over(3);
    assert!(try_once(
        &mut queue,
        MOST_LOOKED as u64 + 3,
        StoreOutcome::Stored,
        due
    ));
    assert_eq!(queue.some_due(due).len(), 6);
    queue.pass_over(6);
    assert_eq!(queue.some_due(due), first);
}

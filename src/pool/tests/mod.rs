//! The pool's guarantees, tested without sockets.

mod data_connections;
mod fake;

use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::dial::Slot;
use super::*;
use crate::ftp::{Reply, ReplyCode};
use crate::guarded::OnDrop;
use fake::{FakeConnection, FakeServer};

const SOON: Duration = Duration::from_secs(10);

static NEVER: Cancel = Cancel::never();

fn rules(connections: usize) -> Rules {
    let long = Duration::from_secs(600);
    Rules {
        connections,
        idle: long,
        keep_alive: long,
        lease_timeout: SOON,
        retry: RetryMode::Soft,
        timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(200),
        works_offline: false,
    }
}

fn pool(server: &Arc<FakeServer>, rules: Rules) -> Pool<FakeConnection> {
    let server = Arc::clone(server);
    let pool = Pool::with(rules, ServerProfile::default(), move || server.dial());
    drop(pool.lease(Purpose::Command, &NEVER).unwrap());
    pool
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

/// Leases several times on each of `threads` threads.
fn crowd(pool: &Pool<FakeConnection>, threads: usize) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..20 {
                    drop(pool.lease(Purpose::Command, &NEVER).unwrap());
                }
            });
        }
    });
}

#[test]
fn one_caller_needs_one_session() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(8));
    for _ in 0..10 {
        drop(pool.lease(Purpose::Command, &NEVER).unwrap());
    }
    assert_eq!(server.dials.load(SeqCst), 1);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.leased, stats.limit), (1, 0, 8));
}

#[test]
fn the_pool_grows_to_its_limit_and_then_serves_in_order() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(2));
    let first = pool.lease(Purpose::Command, &NEVER).unwrap();
    let second = pool.lease(Purpose::Command, &NEVER).unwrap();
    assert_eq!(pool.stats().leased, 2);

    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for caller in 0..4 {
            let (pool, order) = (&pool, &order);
            scope.spawn(move || {
                let lease = pool.lease(Purpose::Command, &NEVER).unwrap();
                order.lock().unwrap().push(caller);
                drop(lease);
            });
            wait_for("the request to queue", || {
                pool.shared.waiting() == caller + 1
            });
        }
        drop(first);
    });
    drop(second);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    assert_eq!(server.dials.load(SeqCst), 2);
}

#[test]
fn eight_callers_share_the_sessions_of_a_full_server() {
    for (limit, speaks_oddly) in [(1, false), (2, false), (1, true), (2, true)] {
        let server = Arc::new(FakeServer::default());
        server.limit.store(limit, SeqCst);
        server.speaks_oddly.store(speaks_oddly, SeqCst);
        let pool = pool(&server, rules(8));
        // All sessions are leased, so that the server refuses one.
        let held: Vec<_> = (0..limit)
            .map(|_| pool.lease(Purpose::Command, &NEVER).unwrap())
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| crowd(&pool, 8));
            wait_for("the server's refusal", || pool.stats().limit == limit);
            drop(held);
        });
        assert_eq!(server.most.load(SeqCst), limit);
        assert!(server.dials.load(SeqCst) <= limit + 8, "few attempts");
        assert_eq!(pool.stats().leased, 0);
    }
}

#[test]
fn sessions_that_died_while_idle_are_replaced() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(4));
    let held: Vec<_> = (0..4)
        .map(|_| pool.lease(Purpose::Command, &NEVER).unwrap())
        .collect();
    drop(held);
    server.restart();
    let mut lease = pool.lease(Purpose::Command, &NEVER).unwrap();
    assert!(lease.is_idle_healthy());
    assert!(!lease.is_reused());
    assert_eq!(
        pool.stats().open,
        1,
        "the other dead sessions are closed, too"
    );
}

#[test]
fn a_broken_session_frees_its_slot() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(1));
    let mut lease = pool.lease(Purpose::Command, &NEVER).unwrap();
    lease.broken = true;
    drop(lease);
    assert_eq!(pool.stats().open, 0);
    assert!(pool.lease(Purpose::Command, &NEVER).unwrap().is_usable());
}

#[test]
fn a_slot_is_free_after_its_dial_is_dropped() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(2));
    let reserve = || pool.shared.lock().reserve_up_to(2, Instant::now());
    let slot = Slot::new(&pool.shared, reserve().unwrap());
    assert!(reserve().is_none());
    drop(slot);
    let slot = Slot::new(&pool.shared, reserve().unwrap());
    assert!(slot.dial().is_ok());
    assert_eq!((pool.stats().open, server.dials.load(SeqCst)), (2, 2));
}

#[test]
fn a_panic_in_maintenance_loses_no_slot() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(1);
    rules.keep_alive = Duration::from_millis(20);
    let pool = pool(&server, rules);
    server.panics.store(true, SeqCst);
    wait_for("a panic", || server.noops.load(SeqCst) > 0);
    wait_for("the session to be closed", || server.open.load(SeqCst) == 0);
    assert!(!pool.lease(Purpose::Command, &NEVER).unwrap().is_reused());
}

#[test]
fn a_dead_server_gets_few_attempts_and_is_found_when_it_is_back() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(8));
    server.down.store(true, SeqCst);
    server.restart();

    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let error = pool.lease(Purpose::Command, &NEVER).unwrap_err();
                    assert!(matches!(error, Error::Unavailable(_)), "{error}");
                }
            });
        }
    });
    let dials = server.dials.load(SeqCst) - 1;
    let most = 8 + 4 + start.elapsed().as_millis() as usize / 600;
    assert!(dials <= most, "{dials} dials, at most {most} expected");

    server.down.store(false, SeqCst);
    let back = Instant::now();
    while pool.lease(Purpose::Command, &NEVER).is_err() {
        assert!(back.elapsed() < Duration::from_secs(3));
        thread::yield_now();
    }
    crowd(&pool, 8);
}

/// The dial itself never ends here. All requests together lead to one for each.
#[test]
fn requests_do_not_wait_longer_for_a_silent_server_than_it_may_be_silent() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(8);
    // Only the silence ends the wait.
    rules.lease_timeout = Duration::from_secs(600);
    let pool = pool(&server, rules);
    server.restart();
    server.silent.store(true, SeqCst);
    thread::scope(|scope| {
        let _speaks = OnDrop::new(|| server.silent.store(false, SeqCst));
        let requests: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| pool.lease(Purpose::Command, &NEVER).map(drop)))
            .collect();
        wait_for("the requests to end", || {
            requests.iter().all(thread::ScopedJoinHandle::is_finished)
        });
        for request in requests {
            let outcome = request.join().unwrap();
            assert!(matches!(outcome, Err(Error::Exhausted(_))), "{outcome:?}");
        }
    });
    assert!(server.dials.load(SeqCst) <= 1 + 3);
    assert!(pool.lease(Purpose::Command, &NEVER).is_ok());
}

#[test]
fn a_request_is_cancelled_while_its_session_is_made() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(8);
    rules.retry = RetryMode::Hard;
    let pool = pool(&server, rules);
    server.restart();
    server.silent.store(true, SeqCst);
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let _speaks = OnDrop::new(|| server.silent.store(false, SeqCst));
        let request = scope.spawn(|| pool.lease(Purpose::Command, &cancel).map(drop));
        wait_for("the dial", || server.dials.load(SeqCst) == 2);
        cancel.cancel();
        wait_for("the request to end", || request.is_finished());
        assert!(matches!(request.join().unwrap(), Err(Error::Cancelled)));
    });
}

/// A failed attempt to make one more session is not shown as a problem of the server.
#[test]
fn a_problem_is_hidden_while_sessions_work() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(4));
    let observe = |error| assert!(pool.health().observe::<()>(Err(error)).is_err());
    let reply = |code| Reply::new(ReplyCode(code), vec![b"no".to_vec()]);
    let kind = || pool.problem().map(|problem| problem.kind);
    observe(ftp::Error::TooManySessions(reply(421)));
    assert_eq!(kind(), None, "the server has enough sessions");
    observe(ftp::Error::Login(reply(530)));
    assert_eq!(kind(), None, "the server means the same by it");
    observe(ftp::Error::Timeout(ftp::Phase::Connect));
    assert_eq!(kind(), Some(ProblemKind::TimedOut), "not heard since");
    wait_for("a sign of life on a session", || {
        pool.profile().record_heard();
        kind().is_none()
    });

    pool.evict_idle();
    wait_for("the last session to end", || pool.stats().open == 0);
    assert_eq!(kind(), Some(ProblemKind::TimedOut), "no session works");
    observe(ftp::Error::TooManySessions(reply(421)));
    assert_eq!(kind(), Some(ProblemKind::Full), "none is left for us");
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(1);
    rules.lease_timeout = Duration::from_millis(50);
    let pool = pool(&server, rules);
    let held = pool.lease(Purpose::Command, &NEVER).unwrap();
    assert!(matches!(
        pool.lease(Purpose::Command, &NEVER),
        Err(Error::Exhausted(_))
    ));
    drop(held);
    assert!(
        pool.lease(Purpose::Command, &NEVER).is_ok(),
        "the request left the queue at its deadline"
    );
}

#[test]
fn unused_sessions_are_closed_with_quit() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(4);
    rules.idle = Duration::from_millis(40);
    let pool = pool(&server, rules);
    let held: Vec<_> = (0..4)
        .map(|_| pool.lease(Purpose::Command, &NEVER).unwrap())
        .collect();
    drop(held);
    wait_for("the sessions to quit", || server.quits.load(SeqCst) == 4);
    assert_eq!(pool.stats().open, 0);
    assert!(pool.lease(Purpose::Command, &NEVER).is_ok());
}

#[test]
fn idle_sessions_are_kept_alive() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(4);
    rules.keep_alive = Duration::from_millis(20);
    let pool = pool(&server, rules);
    wait_for("two NOOPs", || server.noops.load(SeqCst) >= 2);
    assert!(pool.lease(Purpose::Command, &NEVER).unwrap().is_reused());
}

#[test]
fn a_closed_pool_has_quit_its_sessions_and_refuses_requests() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(4));
    let held = pool.lease(Purpose::Command, &NEVER).unwrap();
    drop(pool.lease(Purpose::Command, &NEVER).unwrap());
    pool.close();
    assert_eq!(server.quits.load(SeqCst), 1);
    assert!(matches!(
        pool.lease(Purpose::Command, &NEVER),
        Err(Error::Closed)
    ));
    drop(held);
    assert_eq!(server.open.load(SeqCst), 0);
}

#[test]
fn maintenance_ends_with_the_last_handle() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(4));
    let (life, ended) = mpsc::channel();
    let thread = maintenance::start(&pool.shared, ended).unwrap();
    drop(pool);
    wait_for("the pool to be dropped", || server.open.load(SeqCst) == 0);
    drop(life);
    thread.join().unwrap();
}

/// Of four sessions, background leases get three, and never the only idle one.
#[test]
fn background_leases_leave_a_session_to_the_foreground() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(4));
    let background: Vec<_> = std::iter::from_fn(|| pool.background_lease(Duration::ZERO)).collect();
    assert_eq!(background.len(), 3);
    assert_eq!(server.dials.load(SeqCst), 4, "the idle one is left");
    drop(pool.lease(Purpose::Transfer, &NEVER).unwrap());
    assert_eq!(server.dials.load(SeqCst), 4);
    drop(background);
    let lease = pool.background_lease(Duration::ZERO).unwrap();
    assert!(lease.is_reused());
    let held: Vec<_> = (0..2)
        .map(|_| pool.lease(Purpose::Transfer, &NEVER).unwrap())
        .collect();
    assert!(pool.background_lease(Duration::ZERO).is_none());
    drop(held);
    assert!(pool.background_lease(Duration::ZERO).is_some());
}

#[test]
fn there_is_no_background_lease_of_the_last_session_or_while_a_request_waits() {
    let server = Arc::new(FakeServer::default());
    let single = pool(&server, rules(1));
    assert!(single.background_lease(Duration::ZERO).is_none());

    let server = Arc::new(FakeServer::default());
    server.limit.store(2, SeqCst);
    let pool = pool(&server, rules(8));
    let held: Vec<_> = (0..2)
        .map(|_| pool.lease(Purpose::Transfer, &NEVER).unwrap())
        .collect();
    assert!(
        pool.background_lease(Duration::ZERO).is_none(),
        "the server is full"
    );
    thread::scope(|scope| {
        scope.spawn(|| drop(pool.lease(Purpose::Transfer, &NEVER).unwrap()));
        wait_for("the request to queue", || pool.shared.waiting() == 1);
        assert!(pool.background_lease(Duration::ZERO).is_none());
        drop(held);
    });
    assert!(pool.background_lease(Duration::ZERO).is_some());
    assert_eq!(pool.stats().limit, 2);
}

#[test]
fn a_background_lease_waits_for_an_idle_session() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(2));
    let held = pool.lease(Purpose::Transfer, &NEVER).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.background_lease(SOON).is_some());
        drop(held);
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn a_brief_background_lease_takes_the_last_session_of_a_full_pool() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(3));
    let held = [(); 2].map(|()| pool.lease(Purpose::Command, &NEVER).unwrap());
    pool.grow_to(3);
    wait_for("the third session", || pool.stats().open == 3);
    assert!(pool.background_lease(Duration::ZERO).is_none());
    let brief = pool.brief_background_lease(Duration::ZERO).unwrap();
    assert_eq!(server.dials.load(SeqCst), 3);
    assert!(pool.brief_background_lease(Duration::ZERO).is_none());
    thread::scope(|scope| {
        let request = scope.spawn(|| drop(pool.lease(Purpose::Command, &NEVER).unwrap()));
        wait_for("the request to queue", || pool.shared.waiting() == 1);
        assert!(pool.brief_background_lease(Duration::ZERO).is_none());
        drop(brief);
        request.join().unwrap();
    });
    drop(held);

    let single = self::pool(&server, rules(1));
    assert!(single.brief_background_lease(Duration::ZERO).is_none());
}

#[test]
fn a_background_lease_takes_an_idle_session_before_the_one_that_is_made_for_it() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(8));
    let [first, second] = [(); 2].map(|()| pool.lease(Purpose::Transfer, &NEVER).unwrap());
    drop(first);
    server.silent.store(true, SeqCst);
    let background = thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.background_lease(Duration::ZERO));
        wait_for("the dial", || server.dials.load(SeqCst) == 3);
        drop(second);
        waiting.join().unwrap().unwrap()
    });
    assert!(
        pool.background_lease(Duration::ZERO).is_none(),
        "one is being made"
    );
    assert_eq!(server.dials.load(SeqCst), 3);
    server.silent.store(false, SeqCst);
    wait_for("the session to become idle", || {
        let stats = pool.stats();
        (stats.open, stats.leased) == (3, 1)
    });
    drop(background);
    assert!(pool.background_lease(Duration::ZERO).is_some());

    // The one that is made for it is there first.
    let held: Vec<_> = (0..2)
        .map(|_| pool.lease(Purpose::Transfer, &NEVER).unwrap())
        .collect();
    let lease = pool.background_lease(Duration::ZERO);
    assert!(!lease.unwrap().is_reused());
    assert_eq!(server.dials.load(SeqCst), 4);
    server.down.store(true, SeqCst);
    let lease = pool.background_lease(Duration::ZERO);
    assert!(lease.is_some(), "it is idle again");
    assert!(pool.background_lease(Duration::ZERO).is_none());
    assert_eq!(server.dials.load(SeqCst), 5);
    drop((held, lease));
}

#[test]
fn a_cancelled_request_leaves_the_queue() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(1));
    let held = pool.lease(Purpose::Transfer, &NEVER).unwrap();
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let first = scope.spawn(|| pool.lease(Purpose::Transfer, &cancel).map(drop));
        wait_for("the first request to queue", || pool.shared.waiting() == 1);
        let second = scope.spawn(|| pool.lease(Purpose::Transfer, &NEVER).map(drop));
        wait_for("the second request to queue", || pool.shared.waiting() == 2);
        cancel.cancel();
        // The session is still leased.
        assert!(matches!(first.join().unwrap(), Err(Error::Cancelled)));
        assert_eq!(pool.shared.waiting(), 1);
        drop(held);
        assert!(second.join().unwrap().is_ok());
    });
    let late = pool.lease(Purpose::Command, &cancel);
    assert!(
        matches!(late, Err(Error::Cancelled)),
        "it takes no idle session either"
    );
    assert_eq!((pool.stats().leased, server.dials.load(SeqCst)), (0, 1));
}

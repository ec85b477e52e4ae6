//! Sessions and their prepared data connections.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use super::fake::{FakeConnection, FakeServer};
use super::{NEVER, pool, rules, wait_for};
use crate::ftp::Readiness;
use crate::pool::{Pool, PooledConnection, Purpose};

/// A pool whose data connections are slow to open.
fn arming_pool(server: &Arc<FakeServer>, connections: usize) -> Pool<FakeConnection> {
    server.arms.store(true, SeqCst);
    server.arms_slowly.store(true, SeqCst);
    pool(server, rules(connections))
}

#[test]
fn a_transfer_gets_the_session_with_a_data_connection_and_a_command_another() {
    let server = Arc::new(FakeServer::default());
    let pool = pool(&server, rules(8));
    let (mut first, second) = (
        pool.lease(Purpose::Command, &NEVER).unwrap(),
        pool.lease(Purpose::Command, &NEVER).unwrap(),
    );
    first.readiness = Readiness::Armed;
    drop(first);
    drop(second);
    assert_eq!(pool.stats().armed, 1);
    let command = pool.lease(Purpose::Command, &NEVER).unwrap();
    assert_eq!(command.readiness(), Readiness::Cold);
    let transfer = pool.lease(Purpose::Transfer, &NEVER).unwrap();
    assert_eq!(transfer.readiness(), Readiness::Armed);
    drop(command);
    drop(transfer);
    let held = pool.lease(Purpose::Command, &NEVER).unwrap();
    let last = pool.lease(Purpose::Command, &NEVER).unwrap();
    assert_eq!(last.readiness(), Readiness::Armed, "better than no session");
    drop(held);
    assert_eq!(server.dials.load(SeqCst), 2);
}

#[test]
fn transfers_that_wait_for_data_connections_take_turns_on_a_few_sessions() {
    let server = Arc::new(FakeServer::default());
    let pool = arming_pool(&server, 8);
    drop(pool.lease(Purpose::Command, &NEVER).unwrap());
    for _ in 0..20 {
        drop(pool.lease(Purpose::Command, &NEVER).unwrap());
    }
    assert_eq!(pool.stats().open, 1, "commands need no data connection");
    wait_for("the pool to grow", || {
        drop(pool.lease(Purpose::Transfer, &NEVER).unwrap());
        pool.stats().open == 3
    });
    for _ in 0..100 {
        drop(pool.lease(Purpose::Transfer, &NEVER).unwrap());
    }
    assert_eq!(pool.stats().open, 3);
    assert_eq!(server.dials.load(SeqCst), 3);
}

#[test]
fn transfers_do_not_grow_the_pool_beyond_its_limit() {
    for (connections, limit) in [(1, 0), (8, 1)] {
        let server = Arc::new(FakeServer::default());
        let pool = arming_pool(&server, connections);
        server.limit.store(limit, SeqCst);
        for _ in 0..200 {
            drop(pool.lease(Purpose::Transfer, &NEVER).unwrap());
            thread::yield_now();
        }
        wait_for("the refusal", || pool.stats().limit == 1);
        assert_eq!(pool.stats().open, 1);
        assert!(server.dials.load(SeqCst) <= 2, "few attempts");
    }
}

#[test]
fn old_data_connections_of_recently_used_sessions_are_renewed() {
    let server = Arc::new(FakeServer::default());
    let mut rules = rules(8);
    rules.keep_alive = Duration::from_millis(20);
    let pool = pool(&server, rules);
    let mut lease = pool.lease(Purpose::Command, &NEVER).unwrap();
    lease.readiness = Readiness::Armed;
    server.ages.store(true, SeqCst);
    drop(lease);
    wait_for("a renewal", || server.renewed.load(SeqCst) > 0);
    wait_for("the new data connection", || {
        pool.lease(Purpose::Command, &NEVER).unwrap().readiness() != Readiness::Cold
    });
}

#[test]
fn the_data_connection_of_an_idle_session_is_opened() {
    let server = Arc::new(FakeServer::default());
    server.arms.store(true, SeqCst);
    let pool = pool(&server, rules(4));
    drop(pool.lease(Purpose::Command, &NEVER).unwrap());
    wait_for("the data connection", || pool.stats().armed == 1);
    assert_eq!(pool.stats().open, 1);
}

#[test]
fn a_panic_while_a_data_connection_opens_loses_no_session() {
    let server = Arc::new(FakeServer::default());
    server.arms.store(true, SeqCst);
    let pool = pool(&server, rules(1));
    let lease = pool.lease(Purpose::Command, &NEVER).unwrap();
    server.panics.store(true, SeqCst);
    drop(lease);
    wait_for("a panic", || server.panicked.load(SeqCst));
    assert!(pool.lease(Purpose::Command, &NEVER).unwrap().is_reused());
}

//! Long random work while everything that can go wrong does. It runs for some seconds here, and as
//! long as desired with `scripts/soak`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod appends;
mod cached;
mod kills;
mod names;
mod programs;
mod restarts;
mod work;
mod worker;

#[path = "../support/mod.rs"]
mod support;

/// Returns a number from the environment, set by `scripts/soak`, or else `short`.
fn amount(name: &str, short: usize) -> usize {
    std::env::var(name).map_or(short, |given| given.parse().expect("a number"))
}

//! Long random work with everything going wrong that can: here for some seconds, by `scripts/soak`
//! for as long as one likes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod kills;
mod programs;
mod restarts;
mod work;
mod worker;

#[path = "../support/mod.rs"]
mod support;

/// A number from the environment, which `scripts/soak` sets, else `short`.
fn amount(name: &str, short: usize) -> usize {
    std::env::var(name).map_or(short, |given| given.parse().expect("a number"))
}

//! Stories that mostly wait for timeouts: `scripts/run-test` runs more of them in parallel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_push_string,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod consistency;
mod delay_connect;
mod following;
mod in_a_row;
mod interrupts;
mod patience;
mod server_gone;
#[path = "../support/mod.rs"]
mod support;

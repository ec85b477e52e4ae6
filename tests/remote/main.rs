//! The `remote` layer against the ftpfs server: file operations on paths, with features disabled
//! one by one, counted commands and broken connections.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test's shared parts fail as tests do, and are seen by its other files alone"
)]

mod armed;
mod browse;
mod change;
mod connections;
mod read;
#[path = "../support/mod.rs"]
mod servers;
mod support;
mod version;
mod write;

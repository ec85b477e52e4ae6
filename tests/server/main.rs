//! The ftpfs server as seen by its clients: over raw sockets, with curl, lftp and Python's ftplib.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption in a test is a failed test"
)]

mod abort;
mod changes;
mod client;
mod confinement;
mod connections;
mod curl;
mod deployment;
mod faults;
mod foreign;
mod limits;
mod listings;
mod login;
mod secure;
mod summary;
mod switches;
mod tls;
mod transfers;

//! What a user does in a mount, one file per subject: browsing, writing, renaming, names, errors,
//! and the network cost of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_push_string,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod ahead;
mod append;
mod append_faults;
mod append_later;
mod background_names;
mod background_order;
mod browse;
mod cached;
mod cached_changes;
mod claims;
mod concurrent;
mod counted;
mod crash;
mod downloads;
mod errors;
mod export;
mod fallbacks;
mod far;
mod hidden_names;
mod isolation;
mod kept_names;
mod large;
mod links;
mod model;
mod names;
mod offline;
mod offline_waiting;
mod open_removed;
mod options;
mod passthrough;
mod profile;
mod programs;
mod proxy;
mod refusals;
mod regressions;
mod reliability;
mod rename_remove;
mod roaming;
mod server_copy;
mod server_side;
mod streaming;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tls_wire;
mod tools;
mod uploads;
mod waiting_files;
mod write;
mod writeback;

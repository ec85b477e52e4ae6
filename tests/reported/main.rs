//! User reports about odd servers, as a table: one row for each kind, named after what the user
//! sees.
//!
//! Each row mounts a scripted server with the reported [`Quirks`], uses ordinary tools on the
//! mount, and asserts the correct result. The rows of a group run in parallel, and every failure
//! is reported.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::format_collect,
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod facts;
mod honest;
mod listing_options;
mod listing_trust;
mod mounting;
mod names;
mod no_entry;
mod odd_replies;
mod one_at_a_time;
mod replaced;
mod resumed_uploads;
mod row;
#[path = "../support/mod.rs"]
mod support;
mod temporary_names;
mod unlisted_names;
mod unread_lines;
mod wrong_directory;

//! The `ftpfs` program itself as a user runs it: command line, fstab, secrets, status, server and
//! scripts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_push_string,
    reason = "all of this is test code: a panic is the way to fail"
)]

mod bench;
mod cli;
mod cli_mount;
mod completions;
mod config;
mod control;
mod credentials;
mod docs;
mod examples;
mod fstab;
mod hanging_tests;
mod health;
mod home;
mod log;
mod man;
mod notices;
mod old_lines;
mod pages;
mod process;
mod resources;
mod secrets;
mod security;
mod serve;
mod serve_tls;
mod servers;
mod service;
mod status;
#[path = "../support/mod.rs"]
mod support;
mod trust;
mod words;

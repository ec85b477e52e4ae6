//! The `remote` floor against ftpfs's own server: file operations on paths, with features switched off one
//! by one, counted commands and broken connections.

mod browse;
mod change;
mod connections;
mod read;
mod support;
mod write;

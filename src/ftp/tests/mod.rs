//! The client's stories against a scripted server.

mod data;
mod login;
mod replies;
mod transfer;

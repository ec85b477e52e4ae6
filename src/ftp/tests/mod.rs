//! The client's stories against a scripted server.

mod login;
mod replies;

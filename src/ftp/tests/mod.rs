//! The client's stories against a scripted server.

mod data;
mod hostile;
mod listing;
mod login;
mod replies;
mod tls;
mod transfer;

//! The client's stories against a scripted server.

mod ahead;
mod behind;
mod careful;
mod data;
mod handshake;
mod hostile;
mod listing;
mod login;
mod old_tls;
mod replies;
mod tls;
mod together;
mod transfer;

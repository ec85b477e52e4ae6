//! Tests of the client against a scripted server.

mod batch;
mod data;
mod fallbacks;
mod first_use;
mod handshake;
mod hostile;
mod listing;
mod login;
mod login_flight;
mod old_tls;
mod pipelined;
mod prepared;
mod replies;
mod tls;
mod tls_flights;
mod transfer;

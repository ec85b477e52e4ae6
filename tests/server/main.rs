//! ftpfs's own FTP server, as its clients meet it: over raw sockets, with curl, lftp and Python's ftplib.

mod abort;
mod changes;
mod client;
mod confinement;
mod connections;
mod curl;
mod foreign;
mod limits;
mod listings;
mod login;
mod switches;
mod transfers;

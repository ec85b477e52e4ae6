//! The part of a session that the pool uses. It is a trait, so that tests of the pool need no
//! sockets.

use crate::ftp::{Error, Readiness, Session, Watch};

/// A logged-in control connection. The methods do what those of [`Session`] do.
pub(crate) trait PooledConnection: Send + 'static {
    /// Whether the connection can be used; false after any failure of the connection itself.
    fn is_usable(&self) -> bool;

    /// Whether an idle connection is open and the server has sent nothing, such as a 421 before it
    /// closes. Does not wait.
    fn is_idle_healthy(&mut self) -> bool;

    /// Sends NOOP (RFC 959 §4.1.3) and waits for the reply.
    ///
    /// # Errors
    /// The connection is dead, or the server refused the command.
    fn noop(&mut self) -> Result<(), Error>;

    /// Sends QUIT and waits for the reply, within a short deadline.
    fn quit(self);

    /// Asks the server for the next transfer's data connection, if a transfer used up the last one.
    /// Does not wait.
    fn arm(&mut self);

    /// Advances the data connection as far as that is possible without waiting.
    fn advance(&mut self);

    /// The event after which [`PooledConnection::advance`] can continue.
    fn watch(&self) -> Option<Watch>;

    /// The state of the prepared data connection.
    fn readiness(&self) -> Readiness;

    /// Whether the prepared data connection is so old that the server may have forgotten it.
    fn has_old_arm(&self) -> bool;

    /// Asks the server for another data connection in place of an old one. Does not wait.
    fn renew_arm(&mut self);

    /// Closes the prepared data connection.
    fn disarm(&mut self);
}

impl PooledConnection for Session {
    fn is_usable(&self) -> bool {
        Session::is_usable(self)
    }

    fn is_idle_healthy(&mut self) -> bool {
        Session::is_quiet(self)
    }

    fn noop(&mut self) -> Result<(), Error> {
        Session::noop(self)
    }

    fn quit(self) {
        Session::quit(self);
    }

    fn arm(&mut self) {
        Session::prepare_data(self);
    }

    fn advance(&mut self) {
        Session::advance(self);
    }

    fn watch(&self) -> Option<Watch> {
        Session::watch(self)
    }

    fn readiness(&self) -> Readiness {
        Session::readiness(self)
    }

    fn has_old_arm(&self) -> bool {
        Session::has_old_prepared(self)
    }

    fn renew_arm(&mut self) {
        Session::renew_prepared(self);
    }

    fn disarm(&mut self) {
        Session::drop_prepared(self);
    }
}

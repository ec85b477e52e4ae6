//! What the pool asks of a session; a trait, so that the pool's rules are tested without sockets.

use crate::ftp::{Error, Readiness, Session, Watch};

/// A control connection with someone logged in at its other end.
pub trait PooledConnection: Send + 'static {
    /// False after anything that broke it.
    fn is_usable(&self) -> bool;

    /// Without waiting: whether it is open and nothing unasked has come (a 421 before the close).
    fn is_idle_healthy(&mut self) -> bool;

    /// Asks for a sign of life (NOOP, RFC 959 §4.1.3).
    ///
    /// # Errors
    /// It is dead, or refused.
    fn noop(&mut self) -> Result<(), Error>;

    /// Says goodbye (QUIT), within a short deadline.
    fn quit(self);

    /// Asks for the next transfer's data connection if it used one up, without waiting.
    fn arm(&mut self);

    /// Does for the data connection asked for what can be done without waiting.
    fn advance(&mut self);

    /// What [`PooledConnection::advance`] waits for.
    fn watch(&self) -> Option<Watch>;

    /// How near it is to a transfer.
    fn readiness(&self) -> Readiness;

    /// Whether its data connection waits for so long that it should be asked for again.
    fn has_old_arm(&self) -> bool;

    /// Puts another data connection into its place, or none. Does not wait.
    fn replace_arm(&mut self, is_worth_it: bool);
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

    fn replace_arm(&mut self, is_worth_it: bool) {
        if is_worth_it {
            Session::renew_prepared(self);
        } else {
            Session::drop_prepared(self);
        }
    }
}

//! What the pool asks of a session; a trait, so that the pool's rules are tested without sockets.

use crate::ftp::{Error, Session};

/// A control connection with someone logged in at its other end.
pub trait Line: Send + 'static {
    /// False after anything that broke it.
    fn is_usable(&self) -> bool;

    /// Without waiting: whether it is open and nothing unasked has come (a 421 before the close).
    fn is_quiet(&mut self) -> bool;

    /// Asks for a sign of life (NOOP, RFC 959 §4.1.3).
    ///
    /// # Errors
    /// It is dead, or refused.
    fn noop(&mut self) -> Result<(), Error>;

    /// Says goodbye (QUIT), within a short deadline.
    fn quit(self);
}

impl Line for Session {
    fn is_usable(&self) -> bool {
        Session::is_usable(self)
    }

    fn is_quiet(&mut self) -> bool {
        Session::is_quiet(self)
    }

    fn noop(&mut self) -> Result<(), Error> {
        Session::noop(self)
    }

    fn quit(self) {
        Session::quit(self);
    }
}

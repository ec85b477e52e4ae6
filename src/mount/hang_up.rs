//! What SIGHUP does to a mount.

use std::fmt;
use std::sync::Arc;

/// What happens at SIGHUP.
#[derive(Clone)]
pub(crate) enum HangUp {
    /// The mount ends: its terminal was closed.
    End,
    /// The mount stays, and this is called. Log rotation uses it to have the log file reopened.
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "End",
            Self::Call(_) => "Call",
        })
    }
}

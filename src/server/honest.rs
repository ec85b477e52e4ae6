//! What `misbehave` is without the feature `faults`: no faults can be injected.

#![expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the signatures are those of `misbehave`"
)]

use super::command_line::Command;
use super::data::DataConnection;
use super::reply::{Gone, Reply, Stop};
use super::session::{Ended, Session};
use super::transfer::Cut;

/// What goes wrong: nothing.
#[derive(Debug, Clone)]
pub(super) enum Misdeed {}

/// The injected faults: none.
#[derive(Debug, Default)]
pub(super) struct Faults {}

impl Faults {
    pub(super) fn strike(&self, _: &Command) -> Option<Misdeed> {
        None
    }
}

impl Session {
    pub(super) fn misbehave(&mut self, _: &Command, misdeed: &Misdeed) -> Result<Ended, Gone> {
        match *misdeed {}
    }

    pub(super) fn refuses_data(&self) -> bool {
        false
    }

    pub(super) fn replaces_nothing(&self) -> bool {
        false
    }

    pub(super) fn append_replaces(&self) -> bool {
        false
    }

    pub(super) fn lists_forever(&self) -> bool {
        false
    }

    pub(super) fn cut(&self) -> Option<Cut> {
        None
    }

    pub(super) fn with_injected(&self, reply: &Reply) -> Vec<u8> {
        reply.to_bytes()
    }

    pub(super) fn disturb_control(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    pub(super) fn disturb(&mut self, connection: DataConnection) -> Result<DataConnection, Stop> {
        Ok(connection)
    }

    pub(super) fn skew(&self) -> i64 {
        0
    }
}

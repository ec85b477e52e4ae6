//! The loop of a session: a command, its execution, its reply.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use super::command_line::{Command, Line};
use super::commands;
use super::control::Event;
use super::open_sessions::Slot;
use super::reply::{Gone, Reply, Stop};
use super::serving::Serving;
use super::session::{Ended, Session};
use super::session_summary::SessionEnd;

/// Serves a client until it disconnects, is idle for too long or the server stops.
pub(super) fn serve(serving: Arc<Serving>, stream: TcpStream, slot: Slot) {
    let Ok(mut session) = Session::new(serving, stream, slot) else {
        return;
    };
    // An error only means that the control connection is closed, which is how a session ends.
    if session.run().is_ok() {
        session.control.end();
    }
    session.leave();
}

impl Session {
    fn run(&mut self) -> Result<(), Gone> {
        let mut ended = self.greet()?;
        while ended == Ended::No {
            ended = match self.next_line()? {
                Some(Line::Complete(line)) => self.handle_command(&Command::parse(&line))?,
                Some(Line::TooLong) => {
                    self.send_reply(&Reply::new(500, "Command line too long"))?
                }
                None => {
                    let reply = self.time_out();
                    self.send_reply(&reply)?
                }
            };
        }
        Ok(())
    }

    fn greet(&mut self) -> Result<Ended, Gone> {
        let connecting = Command::connecting();
        let misdeed = self.serving.faults.strike(&connecting);
        if self.security.is_implicit() {
            self.misdeed.clone_from(&misdeed);
            self.secure()?;
            self.misdeed = None;
        }
        match misdeed {
            Some(misdeed) => self.misbehave(&connecting, &misdeed),
            None => self
                .execute(&connecting)
                .and_then(|reply| self.send_reply(&reply)),
        }
    }

    /// Returns the next command line, or `None` after the idle time or the time for the login.
    fn next_line(&mut self) -> Result<Option<Line>, Gone> {
        // A client that always has a line waiting would never reach the deadline below.
        if self.is_login_overdue() {
            self.control.restart_delay();
            return Ok(None);
        }
        let idle = Instant::now() + self.patience();
        let deadline = self.login_deadline().map_or(idle, |login| login.min(idle));
        loop {
            if let Some(line) = self.control.take_line()? {
                return Ok(Some(line));
            }
            if self.data.watch(&mut self.control, deadline)? == Event::Deadline {
                self.control.restart_delay();
                return Ok(None);
            }
        }
    }

    /// Returns the reply that closes a session which reached a deadline.
    fn time_out(&mut self) -> Reply {
        let (end, text) = if self.is_login_overdue() {
            (
                SessionEnd::NoLogin,
                "No login in time, closing the connection",
            )
        } else {
            (
                SessionEnd::Idle,
                "Idle for too long, closing the connection",
            )
        };
        self.summary.end(end);
        Reply::new(421, text)
    }

    fn handle_command(&mut self, command: &Command) -> Result<Ended, Gone> {
        if self.control.is_new_flight() {
            self.flight = self.serving.log.begin_flight(self.number);
        }
        self.serving.log.record(command, self.flight);
        match self.serving.faults.strike(command) {
            Some(misdeed) => self.misbehave(command, &misdeed),
            None => self
                .execute(command)
                .and_then(|reply| self.send_reply(&reply)),
        }
    }

    /// Executes `command` and returns its final reply, which the caller sends.
    pub(super) fn execute(&mut self, command: &Command) -> Result<Reply, Gone> {
        match commands::run(self, command) {
            Ok(reply) | Err(Stop::Refused(reply)) => Ok(reply),
            Err(Stop::Gone) => Err(Gone),
        }
    }
}

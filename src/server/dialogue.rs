//! The loop of a session: a command, its execution, its reply.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SESSION_LOG;
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
    let start = Instant::now();
    let Ok(mut session) = Session::new(serving, stream, slot) else {
        return;
    };
    // An error only means that the control connection is closed, which is how a session ends.
    if session.run().is_ok() {
        session.control.end();
    }
    session.log_summary(start.elapsed());
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
        let mut deadline = Instant::now() + self.patience();
        if !self.logged_in() {
            deadline = deadline.min(self.login_deadline);
            // A client that always has a line waiting would never reach the deadline below.
            if Instant::now() >= self.login_deadline {
                self.control.restart_delay();
                return Ok(None);
            }
        }
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
        let (end, text) = if !self.logged_in() && Instant::now() >= self.login_deadline {
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

    fn log_summary(&mut self, duration: Duration) {
        self.summary.end(if self.serving.stopping() {
            SessionEnd::Stopped
        } else if self.control.has_ended() {
            SessionEnd::Closed
        } else {
            SessionEnd::Lost
        });
        log::info!(target: SESSION_LOG, "server: {}", self.summary.line(duration));
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

//! Start of a transfer: data connection, REST if it begins at an offset, command and the 1yz reply
//! (RFC 959 §4.1.3, RFC 3659 §5).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

use super::restart_marker::RestartMarker;
use super::{Failed, Session, intermediate};
use crate::ftp::concurrent_handshake::ConcurrentHandshake;
use crate::ftp::data::open;
use crate::ftp::error::socket_error;
use crate::ftp::error::{Error, Phase};
use crate::ftp::features::Features;
use crate::ftp::path::RemotePath;
use crate::ftp::pending::PendingConnection;
use crate::ftp::profile::{Capability, ServerProfile};
use crate::ftp::reply::{Reply, ReplyClass};
use crate::ftp::stream::MaybeTlsStream;
use crate::ftp::text::escaped;
use crate::ftp::traffic::Traffic;

/// Time for a server that broke off a handshake to report why.
const REASON_PATIENCE: Duration = Duration::from_secs(2);

impl Session {
    pub(in crate::ftp) fn start(
        mut self,
        verb: &'static str,
        path: &RemotePath,
        marker: &RestartMarker,
    ) -> Result<(Self, MaybeTlsStream), Box<Failed>> {
        let begun = self.line(format!("{verb} ").as_bytes(), path, b"");
        match begun.and_then(|line| self.begin(verb, &line, marker)) {
            Ok(data) => Ok((self, data)),
            Err(error) => {
                if self.marker_pending && marker.may_persist_after(&error) {
                    self.control.give_up();
                }
                Err(Failed::new(error, self))
            }
        }
    }

    /// Opens a data connection, sends `line` over the control connection and receives the 1yz.
    fn begin(
        &mut self,
        verb: &'static str,
        line: &[u8],
        marker: &RestartMarker,
    ) -> Result<MaybeTlsStream, Error> {
        let (pending, reply) = self.ask_for_transfer(verb, line, marker)?;
        if reply.code().class() != ReplyClass::Preliminary {
            // A completion without a transfer: nothing was sent and nothing follows.
            return Err(Error::Refused {
                command: verb,
                reply,
            });
        }
        self.accept(verb, pending)
    }

    /// Sets up a data connection, unless one is prepared, sends `line` over the control connection
    /// and receives its reply. After a 1yz, the caller [accepts](Self::accept) the data connection.
    pub(in crate::ftp) fn ask_for_transfer(
        &mut self,
        verb: &'static str,
        line: &[u8],
        marker: &RestartMarker,
    ) -> Result<(PendingConnection, Reply), Error> {
        if let Some(prepared) = self.take_prepared()? {
            self.prepared.used_up();
            let begun =
                self.command_transfer(verb, line, marker, PendingConnection::Connected(prepared));
            match self.check_prepared(begun) {
                // vsftpd has created the file of a STOR refused this way, so the caller decides
                // whether to repeat it.
                Err(error)
                    if has_no_data_connection(&error) && !matches!(verb, "STOR" | "APPE") => {}
                begun => return begun,
            }
        }
        self.announce(line)?;
        let pending = open(&mut self.control, &mut self.data)?;
        self.prepared.used_up();
        self.command_transfer(verb, line, marker, pending)
    }

    /// Announces the transfer before EPSV or PASV if the server requires that (PRET in FEAT):
    /// drftpd uses it to choose the machine that makes the data connection.
    fn announce(&mut self, line: &[u8]) -> Result<(), Error> {
        if self.data.active || !needs_announcing(self.features(), &self.profile) {
            return Ok(());
        }
        match self.exchange("PRET", &[b"PRET ", line].concat()) {
            // The server does not accept the command as an argument, or does not support PRET after
            // all.
            Err(Error::Refused { reply, .. })
                if self.control.is_usable()
                    && (reply.code().means_unsupported() || reply.code().0 == 501) =>
            {
                Ok(())
            }
            // The refusal that the transfer itself would get.
            announced => announced.map(drop),
        }
    }

    /// Sends the transfer command, after REST or RANG if it covers part of the file, and receives
    /// its reply.
    fn command_transfer(
        &mut self,
        verb: &'static str,
        line: &[u8],
        marker: &RestartMarker,
        pending: PendingConnection,
    ) -> Result<(PendingConnection, Reply), Error> {
        // It applies to the very next command (RFC 3659 §5.3), so it follows EPSV.
        let marking = match marker.command() {
            Some(marking) => Some(marking),
            None => self.reset_of_marker(),
        };
        // Not for STOR, which would truncate the file if REST were refused.
        let is_queued = verb == "RETR" && self.pipelines();
        let together = marking.as_ref().filter(|_| is_queued);
        self.marker_pending = *marker != RestartMarker::None;
        self.stale_marker = marker.reset().or(self.stale_marker);
        if let Some((word, marking)) = marking.as_ref().filter(|_| !is_queued) {
            let asked = self.exchange(word, marking.as_bytes());
            let outcome = intermediate(word, asked);
            self.check_marker(marker, outcome)?;
        }
        if let Some((_, marking)) = together {
            log::debug!("> {marking}");
            log::debug!("> {}", escaped(line));
            self.control.send_batch(&[marking.as_bytes(), line])?;
        } else {
            self.send_command(verb, line, marker, &pending)?;
        }
        let word = together.map(|(word, _)| *word);
        let Some(tls) = self.tls.clone() else {
            return Ok((pending, self.transfer_answer(verb, marker, word)?));
        };
        let pending = pending.start_tls(Some(&tls))?;
        let handshake = ConcurrentHandshake::new(pending, tls, self.peer);
        self.control.run_handshake(Some(handshake));
        let reply = self.transfer_answer(verb, marker, word);
        let handshake = self.control.take_handshake();
        let pending = handshake
            .ok_or(Error::Closed(Phase::DataConnect))?
            .into_pending();
        Ok((pending, reply?))
    }

    /// Receives the reply to the transfer command, after that to `word` if both were sent in one
    /// write.
    fn transfer_answer(
        &mut self,
        verb: &'static str,
        marker: &RestartMarker,
        word: Option<&'static str>,
    ) -> Result<Reply, Error> {
        if let Some(word) = word {
            let asked = self.answer(word);
            let outcome = intermediate(word, asked);
            let outcome = self.end_unmarked(verb, outcome);
            self.check_marker(marker, outcome)?;
        }
        let reply = self.answer(verb);
        let is_over = |reply: &Reply| reply.code().class() != ReplyClass::Preliminary;
        let refused = |error: &Error| error.reply().is_some();
        if reply.as_ref().map_or_else(refused, is_over) {
            self.transfer_ended();
        }
        let has_begun = reply.as_ref().is_ok_and(|reply| !is_over(reply));
        self.marker_pending &= !has_begun;
        reply
    }

    /// Sends the transfer command, and possibly the commands for the next transfer.
    fn send_command(
        &mut self,
        verb: &'static str,
        line: &[u8],
        marker: &RestartMarker,
        pending: &PendingConnection,
    ) -> Result<(), Error> {
        let PendingConnection::Connected(data) = pending else {
            log::debug!("> {}", escaped(line));
            return self.control.send(line);
        };
        let is_download = *marker == RestartMarker::None && !matches!(verb, "STOR" | "APPE");
        if !is_download || !self.send_with_next(line)? {
            log::debug!("> {}", escaped(line));
            self.control.send(line)?;
            if !is_download || verb == "RETR" {
                return Ok(());
            }
        }
        // With TLS, the handshake is still to come, and close_notify is sent after the data. Some
        // proxies close both directions together.
        let may_close = self.tls.is_none() && self.data.route.is_direct();
        if may_close && !self.profile.has(Capability::CompletesUnasked) {
            // If the server has closed the connection, its reply reports that.
            let _ = data.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// The command that resets a marker which the server may still hold from another transfer
    /// (`REST 0`).
    fn reset_of_marker(&self) -> Option<(&'static str, String)> {
        let forgets = self.profile.is_proven(Capability::RestForgotten);
        let reset = self.stale_marker.filter(|_| !forgets)?;
        Some((reset.0, reset.1.to_owned()))
    }

    /// Ends the session if the server refuses to reset its marker, because the next transfer would
    /// begin there.
    fn check_marker(
        &mut self,
        marker: &RestartMarker,
        outcome: Result<(), Error>,
    ) -> Result<(), Error> {
        match outcome {
            Err(Error::Refused { reply, .. }) if *marker == RestartMarker::None => {
                log::debug!(
                    "the server may keep a restart marker and refuses to reset it: {reply}"
                );
                self.control.give_up();
                Err(Error::Closed(Phase::Reply))
            }
            outcome => outcome,
        }
    }

    /// Handles a refused REST or RANG: `verb` then begins at the start of the file, and its data is
    /// not wanted.
    fn end_unmarked(
        &mut self,
        verb: &'static str,
        outcome: Result<(), Error>,
    ) -> Result<(), Error> {
        if outcome.is_err() && self.control.is_usable() {
            let begun = self.answer(verb);
            if begun.is_ok_and(|reply| reply.code().class() == ReplyClass::Preliminary) {
                self.control.give_up();
            }
        }
        outcome
    }

    /// Records whether the server still had the data connection that was prepared before this
    /// reply.
    fn check_prepared<T>(&mut self, answer: Result<T, Error>) -> Result<T, Error> {
        match &answer {
            Err(error) if has_no_data_connection(error) => {
                log::debug!("the server has forgotten a prepared data connection: {error}");
                self.prepared.was_dead();
            }
            Ok(_) => {
                self.prepared.was_alive();
                self.profile.record_early_transfer();
            }
            Err(_) => self.prepared.was_alive(),
        }
        self.control.set_holds_data(false);
        answer
    }

    /// Accepts the data connection of a transfer that has begun.
    pub(in crate::ftp) fn accept(
        &mut self,
        verb: &'static str,
        pending: PendingConnection,
    ) -> Result<MaybeTlsStream, Error> {
        let error = match pending.accept(self.peer, &self.data, self.tls.as_ref()) {
            Ok(MaybeTlsStream::Tls(mut stream)) => {
                self.data_resumed = Some(stream.is_resumed());
                let is_upload = matches!(verb, "STOR" | "APPE");
                if !is_upload && self.profile.has(Capability::EarlyCloseNotify) {
                    // An error occurs again when the data is read.
                    let _ = stream.close_notify_early();
                }
                return Ok(MaybeTlsStream::Tls(stream));
            }
            Ok(wire) => return Ok(wire),
            Err(error) => error,
        };
        // A server that breaks off the handshake (because no session was resumed) reports why.
        let reason = match (&self.tls, &error) {
            (Some(_), Error::Io { .. } | Error::Tls(_)) => {
                self.control.wait_for_reply(REASON_PATIENCE)
            }
            _ => None,
        };
        if let Some(Ok(reply)) = reason
            && reply.is_refusal()
        {
            self.transfer_ended();
            let command = verb;
            return Err(Error::Refused { command, reply });
        }
        // The reply of the transfer will still arrive at some time.
        self.control.give_up();
        Err(error)
    }

    /// Sends STOR and all of its data, then receives the 1yz. Returns `None` if no data connection
    /// is prepared.
    pub(in crate::ftp) fn begin_early(
        &mut self,
        path: &RemotePath,
        file: &File,
        length: u64,
        ask_facts: bool,
    ) -> Result<Option<SentEarly>, Error> {
        let line = self.line(b"STOR ", path, b"")?;
        if self.reset_of_marker().is_some() {
            return Ok(None);
        }
        let Some(prepared) = self.take_prepared()? else {
            return Ok(None);
        };
        self.prepared.used_up();
        let mut data = self.accept("STOR", PendingConnection::Connected(prepared))?;
        log::debug!("> {}", escaped(&line));
        self.control.send(&line)?;
        let traffic = &self.data.traffic;
        let piece = &mut Vec::new();
        data.hold_last_segment();
        let sent = send_file(&mut data, file, 0, length, piece, traffic, &self.profile);
        // End of the data. If the server has closed the connection, its reply reports why.
        let _ = data.end();
        let is_sent = matches!(sent, Ok(Ok(())));
        // After the 226, the size of the file shows whether everything has arrived.
        let may_reset = is_sent && ask_facts && self.may_reset();
        let mut is_reset = false;
        if self.profile.has(Capability::QueuesDuringUpload) && sent.is_ok() {
            is_reset = may_reset && data.reset_behind_end();
            self.send_pipelined(ask_facts.then_some(path))?;
        }
        let reply = self.answer("STOR");
        let is_over = |reply: &Reply| reply.code().class() != ReplyClass::Preliminary;
        if reply
            .as_ref()
            .map_or_else(|error| error.reply().is_some(), is_over)
        {
            self.transfer_ended();
        }
        let reply = self.check_prepared(reply);
        let reply = reply.inspect_err(|error| self.check_reset(is_reset, error))?;
        if is_over(&reply) {
            let command = "STOR";
            return Err(Error::Refused { command, reply });
        }
        // Of a file larger than the first congestion window, the rest has been sent by now.
        is_reset |= may_reset && data.reset_behind_end();
        let sent =
            sent.and_then(|sent| sent.map_err(|error| socket_error(Phase::DataWrite, error)));
        if sent.is_err() {
            // The uploaded file is incomplete, and its completion reply is outstanding.
            self.control.give_up();
        }
        sent.map(|()| Some(SentEarly { data, is_reset }))
    }

    /// Whether the data connection of a small upload may be reset behind its end. Some proxies do
    /// not forward what precedes a reset.
    fn may_reset(&self) -> bool {
        self.profile.has(Capability::LingersAfterUpload)
            && self.data.route.is_direct()
            && self.facts_command().is_some()
    }

    /// Takes note of the failure of an upload whose data connection may have been reset behind the
    /// data. After a packet was lost or overtaken, the server ends such an upload, or waits for
    /// data that no one sends again. Other refusals are about the file.
    pub(super) fn check_reset(&self, is_reset: bool, error: &Error) {
        if self.control.is_interrupted() {
            return;
        }
        let is_other = |reply: &Reply| !matches!(reply.code().0, 421 | 425 | 426 | 451);
        if is_reset && !error.reply().is_some_and(is_other) {
            self.profile.fails(Capability::LingersAfterUpload, error);
        }
    }
}

/// The data connection of an upload that was sent with its command.
#[derive(Debug)]
pub(in crate::ftp) struct SentEarly {
    pub(in crate::ftp) data: MaybeTlsStream,
    /// Whether it was reset behind the data.
    pub(in crate::ftp) is_reset: bool,
}

/// Sends `length` bytes of `file` from `offset` on. The outer error is that of the file, the inner
/// one that of the connection. `traffic` counts and limits the bytes.
pub(in crate::ftp) fn send_file(
    data: &mut MaybeTlsStream,
    file: &File,
    offset: u64,
    length: u64,
    piece: &mut Vec<u8>,
    traffic: &Traffic,
    profile: &ServerProfile,
) -> Result<io::Result<()>, Error> {
    let mut sent = 0;
    while sent < length {
        let most = traffic.most_to_send(length - sent);
        let sending = data.send_file(file, offset + sent, most, piece);
        match sending.map_err(Error::LocalFile)? {
            Ok(0) => return Err(Error::LocalFile(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                profile.record_heard();
                sent += count as u64;
                traffic.send(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// Whether transfers must be announced before EPSV or PASV (PRET in FEAT).
pub(in crate::ftp) fn needs_announcing(features: &Features, profile: &ServerProfile) -> bool {
    features.has("PRET") && profile.has(Capability::Pret)
}

/// Whether a transfer was refused before it began because the server has no data connection, so
/// that it can be repeated.
fn has_no_data_connection(error: &Error) -> bool {
    error
        .reply()
        .is_some_and(|reply| matches!(reply.code().0, 425 | 426))
}

//! Directory listings by MLSD, LIST or STAT, parsed line by line as they arrive (RFC 959 §4.1.3,
//! RFC 3659 §7).

use std::io::Read;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use super::Session;
use super::heard_read::HeardRead;
use super::list_form::{ListForm, ListWith};
use super::restart_marker::RestartMarker;
use crate::ftp::charset::decode;
use crate::ftp::error::{Error, Phase, socket_error};
use crate::ftp::listing::{
    DirectoryListing, Entry, Format, Kind, ListingBudget, ListingLine, ListingOutcome,
    ListingReader, Shortfall,
};
use crate::ftp::pace::Pace;
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::pending::PendingConnection;
use crate::ftp::profile::Capability;
use crate::ftp::reply::{Reply, ReplyClass};
use crate::ftp::text::escaped;

/// Maximum length of a listing line in bytes. Longer lines are skipped.
const MAX_LINE: usize = 8 * 1024;
/// Maximum size in bytes of a listing: some ten million entries.
pub(in crate::ftp) const MAX_LISTING: u64 = 1 << 30;
/// Time to wait for the data of a listing whose end was announced without its beginning.
const UNANNOUNCED_PATIENCE: Duration = Duration::from_secs(2);
/// Number of bytes per read.
const CHUNK: usize = 64 * 1024;

impl Session {
    /// Passes the entries of the directory `path` to `sink` as they arrive, without `.` and `..`,
    /// until it breaks. The outcome tells whether some lines gave no entry.
    ///
    /// # Errors
    /// Includes a negative completion reply after the listing, and [`Error::NoTransfer`] if the
    /// server reported success without sending anything.
    pub fn list(
        &mut self,
        with: ListWith,
        path: &RemotePath,
        sink: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ListingOutcome, Error> {
        let budget = self.listings.clone();
        let mut parser = self.parser(with, path, &budget, sink);
        match with {
            ListWith::List => self.list_in_dialect(path, &mut parser)?,
            ListWith::Stat => self.list_by_stat(path, &mut parser)?,
            ListWith::Mlsd => self.list_facts(path, &mut parser)?,
            ListWith::Names => {
                let form = self.list_form(with, path);
                self.list_by(form, path, &mut parser)?;
            }
        }
        parser.finish()
    }

    /// Lists the directory `path`: by MLSD if the server has it, else by LIST. The entries are
    /// held in memory, within the limit of
    /// [`ConnectOptions::listings`](crate::ftp::ConnectOptions).
    ///
    /// # Errors
    /// Those of [`Session::list`], and [`Error::ListingTooLarge`] if the limit is reached.
    pub fn directory(&mut self, path: &RemotePath) -> Result<DirectoryListing, Error> {
        let with = if self.profile.has(Capability::Mlsd) {
            ListWith::Mlsd
        } else {
            ListWith::List
        };
        let mut entries = Vec::new();
        let outcome = self.list(with, path, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })?;
        let completeness = outcome.completeness();
        Ok(DirectoryListing {
            entries,
            completeness,
            perm: outcome.perm,
        })
    }

    /// Lists by MLSD, with `-a` if the server otherwise hides names, and without it if that is
    /// refused.
    fn list_facts(&mut self, path: &RemotePath, parser: &mut Parser<'_>) -> Result<(), Error> {
        let form = self.list_form(ListWith::Mlsd, path);
        match self.list_with_option(form, path, parser) {
            Err(Error::Refused { reply, .. })
                if form.all && parser.is_fresh() && may_mean_the_option(&reply) =>
            {
                self.list_by(ListForm { all: false, ..form }, path, parser)?;
                if !parser.outcome.is_empty() {
                    self.profile
                        .fails(Capability::MlsdAll, &"only MLSD without it was accepted");
                }
                Ok(())
            }
            listed => listed,
        }
    }

    /// Lists like [`Session::list`], in exactly this form.
    ///
    /// # Errors
    /// Those of [`Session::list`].
    pub fn list_as(
        &mut self,
        form: ListForm,
        path: &RemotePath,
        sink: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ListingOutcome, Error> {
        let budget = self.listings.clone();
        let mut parser = self.parser(form.with, path, &budget, sink);
        if form.with == ListWith::Stat {
            self.list_by_stat(path, &mut parser)?;
        } else {
            self.list_by(form, path, &mut parser)?;
        }
        parser.finish()
    }

    /// The form in which [`Session::list`] first tries to list `path` on this server.
    pub fn list_form(&self, with: ListWith, path: &RemotePath) -> ListForm {
        let has = |capability| self.profile.has(capability);
        ListForm {
            with,
            all: match with {
                ListWith::Mlsd => has(Capability::MlsdAll),
                ListWith::List => has(Capability::ListAll),
                ListWith::Names | ListWith::Stat => false,
            },
            inside: !has(Capability::PathArgument) || with.enters(path),
        }
    }

    fn parser<'a>(
        &self,
        with: ListWith,
        path: &RemotePath,
        budget: &'a ListingBudget,
        sink: &'a mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Parser<'a> {
        let format = if with == ListWith::Mlsd {
            Format::Mlsd
        } else {
            Format::List
        };
        let mut parser = Parser::new(self.charset(), path, format, budget, sink);
        parser.only_names = with == ListWith::Names;
        parser.pace = Some(Pace::new(self.data.timeout));
        parser
    }

    /// Lists by LIST with `-a`, and without it if that is refused.
    fn list_in_dialect(&mut self, path: &RemotePath, parser: &mut Parser<'_>) -> Result<(), Error> {
        let form = self.list_form(ListWith::List, path);
        if form.all {
            match self.list_with_option(form, path, parser) {
                Err(Error::Refused { reply, .. })
                    if parser.is_fresh()
                        && may_mean_the_option(&reply)
                        && !self.profile.is_proven(Capability::ListAll) => {}
                listed => {
                    if listed.is_ok() && !parser.outcome.is_empty() {
                        self.profile.works(Capability::ListAll);
                    }
                    return listed;
                }
            }
        }
        self.list_by(ListForm { all: false, ..form }, path, parser)?;
        if form.all && !parser.outcome.is_empty() {
            self.profile
                .fails(Capability::ListAll, &"only LIST without it was accepted");
        }
        Ok(())
    }

    /// Lists like [`Session::list_by`]. A transient refusal (4yz) does not prove that the option is
    /// at fault, so it must occur twice.
    fn list_with_option(
        &mut self,
        form: ListForm,
        path: &RemotePath,
        parser: &mut Parser<'_>,
    ) -> Result<(), Error> {
        let listed = self.list_by(form, path, parser);
        let may_pass = matches!(&listed, Err(Error::Refused { reply, .. })
            if may_mean_the_option(reply) && reply.code().class() == ReplyClass::Transient);
        if form.all && parser.is_fresh() && may_pass {
            self.list_by(form, path, parser)
        } else {
            listed
        }
    }

    fn list_by(
        &mut self,
        form: ListForm,
        path: &RemotePath,
        parser: &mut Parser<'_>,
    ) -> Result<(), Error> {
        let mut line = form.verb().as_bytes().to_vec();
        if form.all {
            line.extend_from_slice(b" -a");
        }
        if form.inside {
            self.change_directory(path)?;
        } else {
            line.push(b' ');
            line = self.line(&line, path, b"")?;
        }
        self.list_over_data(form.verb(), &line, parser)
    }

    fn list_over_data(
        &mut self,
        verb: &'static str,
        line: &[u8],
        parser: &mut Parser<'_>,
    ) -> Result<(), Error> {
        let (pending, reply) = self.ask_for_transfer(verb, line, &RestartMarker::None)?;
        match reply.code().class() {
            ReplyClass::Preliminary => {}
            ReplyClass::Completion => {
                return self.list_without_a_150(verb, reply, pending, parser);
            }
            _ => {
                return Err(Error::Refused {
                    command: verb,
                    reply,
                });
            }
        }
        let mut data = self.accept(verb, pending)?;
        let read = parser.read(HeardRead {
            data: self.data.traffic.counted(&mut data),
            profile: &self.profile,
        });
        if matches!(read, Ok(ControlFlow::Continue(()))) {
            // Some servers wait for the client's close_notify. An error means that the server has
            // closed the connection.
            let _ = data.end();
        }
        drop(data);
        match read {
            Ok(ControlFlow::Continue(())) => {
                self.pipeline_passive_command();
                let reply = self.complete(verb, self.data.timeout)?;
                parser.outcome.shortfall =
                    Shortfall::admitted_by(&words_about(&reply, &parser.path));
                Ok(())
            }
            Ok(ControlFlow::Break(())) => {
                self.resynchronise();
                parser.check_memory()
            }
            Err(error) => {
                self.control.give_up();
                Err(error)
            }
        }
    }

    /// Receives the listing of a server that announced its end but not its beginning (226 without
    /// 150). Data counts if it ends in an orderly way. No data does not mean an empty directory,
    /// because the server may have failed to open its data connection.
    fn list_without_a_150(
        &mut self,
        verb: &'static str,
        reply: Reply,
        pending: PendingConnection,
        parser: &mut Parser<'_>,
    ) -> Result<(), Error> {
        let mut options = self.data.clone();
        options.timeout = options.timeout.min(UNANNOUNCED_PATIENCE);
        options.connect_timeout = options.connect_timeout.min(UNANNOUNCED_PATIENCE);
        if !matches!(pending, PendingConnection::Listening(_)) {
            let data = pending.accept(self.peer, &options, self.tls.as_ref());
            match data.and_then(|mut data| parser.read(options.traffic.counted(&mut data))) {
                Err(error) if !parser.is_fresh() => return Err(error),
                Err(error) => log::debug!("{verb} was not announced, and no data came: {error}"),
                Ok(_) => {}
            }
        }
        if parser.is_fresh() {
            let command = verb;
            return Err(Error::NoTransfer { command, reply });
        }
        Ok(())
    }

    fn list_by_stat(&mut self, path: &RemotePath, parser: &mut Parser<'_>) -> Result<(), Error> {
        let line = self.line(b"STAT ", path, b"")?;
        log::debug!("> {}", escaped(&line));
        self.control.send(&line)?;
        let mut flow = ControlFlow::Continue(());
        let reply = self.control.long_reply(MAX_LISTING as usize, &mut |line| {
            if flow.is_continue() {
                // ProFTPD indents each line by one blank.
                flow = parser.line(line.strip_prefix(b" ").unwrap_or(line));
            }
        })?;
        if reply.is_completion() {
            Ok(())
        } else {
            Err(Error::Refused {
                command: "STAT",
                reply,
            })
        }
    }
}

/// Splits bytes into lines and parses lines into entries.
pub(in crate::ftp) struct Parser<'a> {
    path: RemotePath,
    reader: ListingReader,
    charset: Option<&'static encoding_rs::Encoding>,
    outcome: ListingOutcome,
    /// The memory limit that was reached.
    exceeded: Option<usize>,
    budget: &'a ListingBudget,
    /// Each line is a name, as in NLST.
    only_names: bool,
    /// Minimum speed of the data, or `None` if all of it is here.
    pace: Option<Pace>,
    sink: &'a mut dyn FnMut(Entry) -> ControlFlow<()>,
}

impl<'a> Parser<'a> {
    /// Creates a parser for the listing of `path`, which passes entries to `sink`.
    pub(in crate::ftp) fn new(
        charset: Option<&'static encoding_rs::Encoding>,
        path: &RemotePath,
        format: Format,
        budget: &'a ListingBudget,
        sink: &'a mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs() as i64);
        Self {
            path: path.clone(),
            reader: ListingReader::new(format, now),
            charset,
            outcome: ListingOutcome::new(budget.share()),
            exceeded: None,
            budget,
            only_names: false,
            pace: None,
            sink,
        }
    }

    /// Passes on the entries that need the whole listing to be understood, and returns the outcome.
    /// Logs the number of lines that gave no entry.
    ///
    /// # Errors
    /// [`Error::ListingTooLarge`] if the memory limit was reached.
    pub(in crate::ftp) fn finish(mut self) -> Result<ListingOutcome, Error> {
        self.check_memory()?;
        let format = Format::List;
        let reader = std::mem::replace(&mut self.reader, ListingReader::new(format, 0));
        if !self.outcome.stopped {
            for line in reader.finish() {
                if self.apply(line, b"").is_break() {
                    break;
                }
            }
        }
        let outcome = self.outcome;
        if let Some(sample) = &outcome.sample {
            log::debug!(
                "listing {}: {} of {} lines gave no entry; the first one ({}): {}",
                self.path,
                outcome.unreadable + outcome.dropped,
                outcome.lines,
                sample.reason,
                escaped(&sample.text)
            );
        }
        Ok(outcome)
    }

    /// Checks that the memory limit was not reached.
    pub(in crate::ftp) fn check_memory(&self) -> Result<(), Error> {
        self.exceeded
            .map_or(Ok(()), |limit| Err(Error::ListingTooLarge(limit)))
    }

    /// Whether nothing of the listing has arrived, so that another command can start it.
    fn is_fresh(&self) -> bool {
        self.outcome.bytes == 0
    }

    /// Reads the listing to its end, or until the sink breaks.
    pub(in crate::ftp) fn read(&mut self, mut data: impl Read) -> Result<ControlFlow<()>, Error> {
        let (mut chunk, mut unread) = (vec![0; CHUNK], Vec::new());
        let mut overlong = false;
        loop {
            let count = match data.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(Error::NoCloseNotify);
                }
                Err(error) => return Err(socket_error(Phase::DataRead, error)),
            };
            self.outcome.bytes += count as u64;
            self.check_bounds()?;
            let mut rest = chunk.get(..count).unwrap_or_default();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                unread.extend_from_slice(rest.get(..end).unwrap_or_default());
                rest = rest.get(end + 1..).unwrap_or_default();
                let flow = if overlong {
                    ControlFlow::Continue(())
                } else {
                    self.parse_line(&unread)
                };
                unread.clear();
                overlong = false;
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            if unread.len() + rest.len() > MAX_LINE {
                if !overlong {
                    self.outcome.lines += 1;
                    self.outcome.count_unreadable("a line too long", &unread);
                }
                overlong = true;
                unread.clear();
            } else if !overlong {
                unread.extend_from_slice(rest);
            }
        }
        if unread.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(self.parse_line(&unread))
    }

    fn check_bounds(&self) -> Result<(), Error> {
        if self.outcome.bytes > MAX_LISTING {
            let limit = MAX_LISTING as usize;
            return Err(Error::TooLong {
                what: "bytes in a listing",
                limit,
            });
        }
        match &self.pace {
            Some(pace) => pace.check(self.outcome.bytes),
            None => Ok(()),
        }
    }

    /// Parses one line of a STAT reply.
    pub(in crate::ftp) fn line(&mut self, line: &[u8]) -> ControlFlow<()> {
        self.outcome.bytes += line.len() as u64;
        self.parse_line(line)
    }

    fn parse_line(&mut self, line: &[u8]) -> ControlFlow<()> {
        if self.exceeded.is_some() {
            return ControlFlow::Break(());
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.trim_ascii().is_empty() {
            self.outcome.lines += 1;
        }
        let meaning = if self.only_names {
            bare_name(line)
        } else {
            self.reader.line(line)
        };
        match meaning {
            ListingLine::Held(bytes) => self.charge(bytes),
            ListingLine::Entry(entry) => {
                self.charge(entry.memory())?;
                self.entry(entry)
            }
            settled => self.apply(settled, line),
        }
    }

    /// Applies a parsed line whose memory is already counted.
    fn apply(&mut self, meaning: ListingLine, line: &[u8]) -> ControlFlow<()> {
        match meaning {
            ListingLine::Entry(entry) => return self.entry(entry),
            ListingLine::Itself(perm) => {
                self.outcome.names_itself = true;
                self.outcome.perm = perm;
            }
            ListingLine::Skip | ListingLine::Held(_) => {}
            ListingLine::Dropped(why) => self.outcome.count_dropped(why, line),
            ListingLine::Unparsable => self
                .outcome
                .count_unreadable("not a line of any dialect", line),
        }
        ControlFlow::Continue(())
    }

    fn charge(&mut self, bytes: usize) -> ControlFlow<()> {
        if self.outcome.memory.take(bytes) {
            return ControlFlow::Continue(());
        }
        self.exceeded = Some(self.budget.limit());
        ControlFlow::Break(())
    }

    fn entry(&mut self, mut entry: Entry) -> ControlFlow<()> {
        entry.name = decode(entry.name, self.charset);
        entry.target = entry.target.map(|target| decode(target, self.charset));
        if check_name(&entry.name).is_err() {
            let reason = "a name that cannot be used";
            self.outcome.count_dropped(reason, &entry.name);
            return ControlFlow::Continue(());
        }
        self.outcome.entries += 1;
        let flow = (self.sink)(entry);
        self.outcome.stopped |= flow.is_break();
        flow
    }
}

/// Whether this refusal of `LIST -a path` may be about the option: pyftpdlib looks for a directory
/// named `-a /path` (450 or 550), others report a bad argument or a bad name.
fn may_mean_the_option(reply: &Reply) -> bool {
    !matches!(reply.code().0, 421 | 425 | 426 | 430 | 530 | 532)
}

/// Returns the reply's text in lower case, without the path, which could contain any words.
fn words_about(reply: &Reply, path: &RemotePath) -> String {
    let words = reply.words();
    let path = String::from_utf8_lossy(path.as_bytes()).to_lowercase();
    if path == "/" {
        words
    } else {
        words.replace(&path, "")
    }
}

/// Parses a line of NLST: a name, or a path that ends in it.
fn bare_name(line: &[u8]) -> ListingLine {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_suffix(b"/").unwrap_or(line);
    let name = line.rsplit(|byte| *byte == b'/').next().unwrap_or(line);
    match name {
        b"" | b".." => ListingLine::Skip,
        b"." => ListingLine::Itself(None),
        name => ListingLine::Entry(Entry::new(name, Kind::Unknown)),
    }
}

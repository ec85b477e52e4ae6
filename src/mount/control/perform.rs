//! What a running mount does for its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ending::EndPhase;
use super::replies::{Replies, ReplyLine};
use super::request::{ControlRequest, LimitChange};
use super::{MountParts, size};
use crate::cancel::Cancel;
use crate::ftp::{RateLimits, RemotePath};
use crate::vfs::{ContentCounts, Errno, FlushOutcome, Vfs, WarmupCounts};

/// Interval of the progress while nothing changes.
const INTERVAL: Duration = Duration::from_millis(500);
/// Maximum number of files that an error names.
const MAX_NAMED: usize = 20;

/// The reply to a flush that has nothing to do.
const NOTHING_WAITS: &str = "nothing waits to be stored";

/// The last line of a reply.
pub(super) type Performed = Result<String, String>;

impl MountParts {
    /// Performs a request other than for the status. Returns what was done, or why not.
    pub(super) fn perform(
        &self,
        request: ControlRequest,
        vfs: &Arc<Vfs>,
        replies: &mut Replies,
    ) -> Performed {
        match request {
            // These have replies of their own.
            request @ (ControlRequest::Status(_) | ControlRequest::AwaitEnd) => {
                Err(format!("{} is no command", request.verb()))
            }
            ControlRequest::Refresh(below) => self.refresh(vfs, &below, replies),
            ControlRequest::Flush(below) => flush(vfs, &below, replies),
            ControlRequest::Warmup(below) => warm_up(vfs, &below, replies),
            ControlRequest::Limit(change) => Ok(limit(vfs, change)),
            ControlRequest::Log(level) => {
                log::set_max_level(level);
                let name = level.as_str().to_ascii_lowercase();
                log::info!("the log level is {name} from now on");
                Ok(format!("the log level is {name}"))
            }
        }
    }

    fn refresh(&self, vfs: &Arc<Vfs>, below: &[u8], replies: &mut Replies) -> Performed {
        let path = match vfs.path_below(below) {
            Err(Errno::WOULD_BLOCK) => return Ok("not connected yet: nothing is cached".to_owned()),
            path => path.map_err(|errno| format!("{errno:?}"))?,
        };
        let nodes = vfs.refresh(&path);
        let mut reported = Instant::now();
        for (index, node) in nodes.iter().enumerate() {
            self.kernel.forget_node(node);
            if reported.elapsed() >= INTERVAL {
                reported = Instant::now();
                let text = format!("{index} of {} files and directories", nodes.len());
                if !replies.progress(text) {
                    break;
                }
            }
        }
        drop(nodes);
        crate::sys::trim();
        Ok(format!("forgot what was cached of {path}"))
    }

    /// Follows the mount to its end. The process waits until the last line is sent.
    pub(super) fn await_end(&self, vfs: &Vfs, replies: &mut Replies) {
        self.end.follow(INTERVAL, |phase| match phase {
            EndPhase::Mounted => replies.progress("waiting for the unmount".to_owned()),
            EndPhase::Storing => replies.progress(what_is_left(vfs)),
            EndPhase::Ended(Ok(())) => {
                let stored = "everything is stored".to_owned();
                replies.send(&ReplyLine::Done(stored)).is_ok()
            }
            EndPhase::Ended(Err(reason)) => replies.send(&ReplyLine::Error(reason.clone())).is_ok(),
        });
    }
}

fn what_is_left(vfs: &Vfs) -> String {
    let report = vfs.report();
    match report.waiting {
        0 => "closing the connections".to_owned(),
        waiting => {
            let bytes = report.uploads.iter().map(|it| it.bytes).sum();
            format!("{} to store, {}", files(waiting), size(bytes))
        }
    }
}

/// Says which files the mount left unstored when it ended; `Ok` if there are none.
pub(super) fn unstored(vfs: &Vfs) -> Result<(), String> {
    let report = vfs.report();
    if report.waiting == 0 {
        return Ok(());
    }
    let named = report.uploads.iter().take(MAX_NAMED).map(|it| {
        let path = it
            .path
            .as_ref()
            .map_or("a file".to_owned(), ToString::to_string);
        it.reason
            .as_ref()
            .map_or(path.clone(), |reason| format!("{path}: {reason}"))
    });
    let named: Vec<_> = named.collect();
    Err(format!(
        "{} not stored, left in the state directory for the next mount: {}",
        files(report.waiting),
        named.join("; ")
    ))
}

fn flush(vfs: &Arc<Vfs>, below: &[u8], replies: &mut Replies) -> Performed {
    let path = match vfs.path_below(below) {
        Err(Errno::WOULD_BLOCK) => return Ok(NOTHING_WAITS.to_owned()),
        path => path.map_err(|errno| format!("{errno:?}"))?,
    };
    let mut waits = true;
    let FlushOutcome { stored, failures } = vfs.flush_below(&path, |left| {
        waits = replies.progress(format!("{} to store", files(left)));
        waits
    });
    if !waits {
        return Err("the client has hung up".to_owned());
    }
    for (path, reason) in failures.iter().take(MAX_NAMED) {
        let path = path
            .as_ref()
            .map_or("a file".to_owned(), ToString::to_string);
        let _ = replies.send(&ReplyLine::Note(format!("{path} is not stored: {reason}")));
    }
    match (failures.len(), stored) {
        (0, 0) => Ok(NOTHING_WAITS.to_owned()),
        (0, stored) => Ok(format!("stored {}", files(stored))),
        (failed, _) => Err(format!("{} could not be stored", files(failed))),
    }
}

fn warm_up(vfs: &Arc<Vfs>, below: &[u8], replies: &mut Replies) -> Performed {
    vfs.attach(&Cancel::never())
        .and_then(|()| vfs.path_below(below))
        .map_err(|errno| format!("{errno:?}"))
        .map(|path| warm_up_at(vfs, path, replies))?
}

fn warm_up_at(vfs: &Arc<Vfs>, path: RemotePath, replies: &mut Replies) -> Performed {
    let mut waits = true;
    let counts = vfs.warm_up(path, |counts| {
        waits = replies.progress(progress_of(counts));
        waits
    });
    if !waits {
        return Err("the client has hung up".to_owned());
    }
    if vfs.cached_directories() < counts.directories {
        let note = "the cache does not hold all of them: mount with a larger cache_size or dir_ttl";
        let _ = replies.send(&ReplyLine::Note(note.to_owned()));
    }
    let contents = counts.contents.filter(|contents| contents.files > 0);
    if let Some(unkept) = contents.map(|it| it.unkept).filter(|unkept| *unkept > 0) {
        let note = format!(
            "{} not kept: changed within the last minutes (or hours, where the server shows no exact times), or without a \
             known time",
            files(unkept as usize)
        );
        let _ = replies.send(&ReplyLine::Note(note));
    }
    match (counts.failure.clone(), contents) {
        (None, None) => Ok(format!("listed {}", listed(&counts))),
        (None, Some(contents)) => Ok(format!(
            "listed {}; {} with {} are in the cache",
            listed(&counts),
            files((contents.done_files - contents.unkept) as usize),
            size(contents.done_bytes)
        )),
        (Some(reason), Some(contents)) => Err(format!(
            "{} of the listings and files could not be fetched, {} and {} were; the first failure: {reason}",
            counts.failed,
            directories(counts.directories),
            files((contents.done_files - contents.unkept) as usize)
        )),
        (Some(reason), None) => Err(format!(
            "{} could not be listed, {} were; the first failure: {reason}",
            directories(counts.failed),
            counts.directories
        )),
    }
}

fn limit(vfs: &Vfs, change: LimitChange) -> String {
    let traffic = vfs.traffic();
    let limits = change.apply(traffic.limits());
    if change != LimitChange::default() {
        traffic.set_limits(limits);
    }
    let RateLimits { down, up } = limits;
    let shown =
        |rate: Option<u64>| rate.map_or("off".to_owned(), |rate| format!("{}/s", size(rate)));
    format!("down={}, up={}", shown(down), shown(up))
}

/// Number of characters of a progress bar.
const BAR: u64 = 20;

fn progress_of(counts: &WarmupCounts) -> String {
    let Some(contents) = counts.contents.filter(|it| it.bytes > 0) else {
        return listed(counts);
    };
    let ContentCounts {
        files,
        bytes,
        done_files,
        done_bytes,
        ..
    } = contents;
    let filled = done_bytes.saturating_mul(BAR) / bytes;
    let bar: String = (0..BAR)
        .map(|at| if at < filled { '#' } else { '-' })
        .collect();
    format!(
        "[{bar}] {} of {}, {done_files} of {files} files",
        size(done_bytes),
        size(bytes)
    )
}

fn listed(counts: &WarmupCounts) -> String {
    format!(
        "{} with {} names",
        directories(counts.directories),
        counts.names
    )
}

fn directories(count: u64) -> String {
    match count {
        1 => "1 directory".to_owned(),
        more => format!("{more} directories"),
    }
}

fn files(count: usize) -> String {
    match count {
        1 => "1 file".to_owned(),
        more => format!("{more} files"),
    }
}

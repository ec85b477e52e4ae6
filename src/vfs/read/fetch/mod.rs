//! The threads that fetch the bytes of an open file: one for each [stream], and a few that fetch
//! [parts] of a file in the background.
//!
//! A thread holds the reader's lock only to check what is missing and to publish what arrived,
//! never while it waits for the network or the disk. It ends by itself when the reader's state no
//! longer contains the stream or queue that it works for.

mod parts;
mod stream;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::parallel::{PartQueue, Verdict};
use super::{ReaderShared, ReaderState, Revalidate, whole_file};
use crate::cancel::Cancel;
use crate::guarded::{self, OnDrop};
use crate::remote::{Error, ErrorKind};

/// How often a thread that waits for room checks whether it is still needed. Normally it is woken
/// earlier.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The work of a fetch thread.
#[derive(Debug, Clone)]
pub(super) enum FetchTask {
    /// The bytes from `position` on, for the stream that this transfer fills.
    Stream {
        transfer: u64,
        position: u64,
        trust: Revalidate,
        cancel: Cancel,
    },
    /// Parts of the queue with this identifier.
    Parts(u64),
}

/// Starts the thread for `task`.
///
/// # Errors
/// The error of the system if it cannot create a thread.
pub(super) fn spawn(shared: &Arc<ReaderShared>, task: &FetchTask) -> io::Result<()> {
    let (shared, task) = (Arc::clone(shared), task.clone());
    let name = match task {
        FetchTask::Stream { .. } => "ftpfs-read",
        FetchTask::Parts(_) => "ftpfs-part",
    };
    guarded::spawn(name, move || run(&shared, &task)).map(drop)
}

impl ReaderShared {
    /// Starts `threads` threads that fetch the parts of the queue `queue`.
    pub(super) fn fetch_parts(self: &Arc<Self>, queue: u64, threads: usize) {
        for _ in 0..threads {
            if let Err(error) = spawn(self, &FetchTask::Parts(queue)) {
                log::debug!("fewer transfers at once: no thread: {error}");
                break;
            }
        }
    }

    /// Starts to fetch the whole file in the background within `time`, if that is possible.
    pub(super) fn fetch_whole(self: &Arc<Self>, time: Duration) {
        let Some(size) = self
            .expected
            .size()
            .filter(|size| *size <= whole_file::MOST)
        else {
            return;
        };
        // The readers' own transfers also need connections.
        let most = self.source.most_beside() / 2;
        if most == 0 || self.parallel.known() == Some(Verdict::DoesNotPay) {
            return;
        }
        log::debug!("{} is fetched whole: its readers jump", self.source.path());
        let now = Instant::now();
        let queue = {
            let mut state = self.lock();
            if state.whole.queue.is_some() {
                return;
            }
            let id = state.number();
            let mut queue = PartQueue::whole(id, size, most, now);
            queue.give_time(time);
            state.queues.push(queue);
            state.whole.queue = Some(id);
            state.whole.used = now;
            id
        };
        self.fetch_parts(queue, most);
    }

    /// Extends the time for fetching the whole file by `time`.
    pub(super) fn give_time(&self, time: Duration) {
        let mut state = self.lock();
        if let Some(id) = state.whole.queue
            && let Some(queue) = state.queue(id)
        {
            queue.give_time(time);
        }
        self.parts.notify_all();
    }

    /// Records that the transfer failed. The readers of its stream get the error.
    fn fail_stream(&self, transfer: u64, error: &Error) {
        let mut state = self.lock();
        let Some(stream) = state.filled_by(transfer) else {
            return;
        };
        if !stream.is_awaited() {
            log::debug!("read-ahead stopped: {error}");
        }
        stream.fail(error);
        drop(state);
        self.arrived.notify_all();
    }

    /// Wakes the threads that wait for bytes or the end of a part of the queue `queue`.
    fn parts_moved(&self, state: &mut ReaderState, queue: u64) {
        if let Some(stream) = state.stream_of_queue(queue) {
            stream.room.notify_all();
        }
        self.parts.notify_all();
    }

    /// Gives a claimed part that cannot be fetched back to the queue. Its stream may already wait
    /// for it.
    pub(super) fn unclaim(&self, queue: u64, number: u64) {
        let mut state = self.lock();
        if let Some(parts) = state.queue(queue) {
            parts.unclaim(number);
        }
        self.parts_moved(&mut state, queue);
    }

    /// Discards queues that are no longer used, and local files whose blocks are gone. Closes the
    /// files without the lock, because that can take a moment.
    pub(super) fn sweep(&self) {
        let mut state = self.lock();
        let swept = (state.take_unused_queues(), state.take_released());
        drop(state);
        self.parts.notify_all();
        drop(swept);
    }
}

fn run(shared: &Arc<ReaderShared>, task: &FetchTask) {
    // After a panic, the readers that wait for this thread get an error.
    let _ended = OnDrop::new(|| {
        if std::thread::panicking() {
            panicked(shared, task);
        }
        shared.sweep();
    });
    match task {
        FetchTask::Stream {
            transfer,
            position,
            trust,
            cancel,
        } => stream::fill(shared, *transfer, *position, *trust, cancel),
        FetchTask::Parts(queue) => parts::fetch(shared, *queue),
    }
}

fn panicked(shared: &ReaderShared, task: &FetchTask) {
    match task {
        FetchTask::Stream { transfer, .. } => {
            let reason = "reading panicked, which is a mistake in ftpfs".to_owned();
            let error = shared.error(ErrorKind::Local, reason);
            shared.fail_stream(*transfer, &error);
        }
        FetchTask::Parts(queue) => {
            let mut state = shared.lock();
            if let Some(queue) = state.queue(*queue) {
                queue.fail();
            }
            shared.parts_moved(&mut state, *queue);
        }
    }
}

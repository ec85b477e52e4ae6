//! The threads that bring an open file's bytes: one for each [stream], and a few that fetch
//! [parts] of a file in the background.
//!
//! A thread holds the reader's lock only to see what is missing and to publish what came, never
//! while it waits for the network or the disk. It ends by itself when the reader's state no longer
//! knows what it works for.

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

/// How often a thread that waits for room looks whether it was forgotten; the wake-up normally
/// comes.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a thread fetches.
#[derive(Debug, Clone)]
pub(super) enum FetchTask {
    /// The stream that this transfer fills, from `position` on.
    Stream {
        transfer: u64,
        position: u64,
        trust: Revalidate,
        cancel: Cancel,
    },
    /// Parts of this queue.
    Parts(u64),
}

/// Starts the thread for `task`.
///
/// # Errors
/// The system has no thread left.
pub(super) fn spawn(shared: &Arc<ReaderShared>, task: &FetchTask) -> io::Result<()> {
    let (shared, task) = (Arc::clone(shared), task.clone());
    let name = match task {
        FetchTask::Stream { .. } => "ftpfs-read",
        FetchTask::Parts(_) => "ftpfs-part",
    };
    guarded::spawn(name, move || run(&shared, &task)).map(drop)
}

impl ReaderShared {
    /// Starts `threads` that fetch the parts of the queue `queue`.
    pub(super) fn fetch_parts(self: &Arc<Self>, queue: u64, threads: usize) {
        for _ in 0..threads {
            if let Err(error) = spawn(self, &FetchTask::Parts(queue)) {
                log::debug!("fewer transfers at once: no thread: {error}");
                break;
            }
        }
    }

    /// Fetches all of the file in the background, where that can be done.
    pub(super) fn fetch_whole(self: &Arc<Self>, time: Duration) {
        let Some(size) = self
            .expected
            .size()
            .filter(|size| *size <= whole_file::MOST)
        else {
            return;
        };
        // The readers' own transfers need connections, too.
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

    /// Lets the fetching of the whole file go on for `time` more.
    pub(super) fn give_time(&self, time: Duration) {
        let mut state = self.lock();
        if let Some(id) = state.whole.queue
            && let Some(queue) = state.queue(id)
        {
            queue.give_time(time);
        }
        self.parts.notify_all();
    }

    /// The transfer failed: its stream's readers get the error.
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

    /// Something came or ended in the queue `queue`: wakes those who wait for that.
    fn parts_moved(&self, state: &mut ReaderState, queue: u64) {
        if let Some(stream) = state.stream_of_queue(queue) {
            stream.room.notify_all();
        }
        self.parts.notify_all();
    }

    /// Gives back a claimed part that cannot be fetched. Its stream may wait for it already.
    pub(super) fn unclaim(&self, queue: u64, number: u64) {
        let mut state = self.lock();
        if let Some(parts) = state.queue(queue) {
            parts.unclaim(number);
        }
        self.parts_moved(&mut state, queue);
    }

    /// Lets go of what no thread works for any more, and of local files whose blocks are gone;
    /// without the lock, because closing a file can take a moment.
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

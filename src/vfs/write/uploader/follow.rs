//! The early upload: a thread that sends what a writer leaves behind, and hands the upload to the
//! commit that asks for it.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::guarded::{self, OnDrop};

use super::{PIECE, State, StreamingUpload, UploadStream, UploaderShared};

/// A writer that pauses for longer does without: the connection is worth more to others.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the follower is to do next.
enum StreamingStep {
    /// Send so many bytes, which are claimed.
    Send(u64),
    /// A commit asks for the upload.
    HandOver,
    /// The upload is of no use.
    GiveUp,
}

/// Starts the thread of the upload `id`.
pub(super) fn spawn(shared: &Arc<UploaderShared>, id: u64) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let follow = move || {
        let panicked = OnDrop::new(|| give_up(&shared, id));
        run(&shared, id);
        panicked.disarm();
    };
    guarded::spawn("ftpfs-follow", follow).map(drop)
}

fn run(shared: &UploaderShared, id: u64) {
    let mut upload = match shared.destination.begin() {
        Ok(upload) => upload,
        Err(error) => {
            log::debug!("no early upload: {error}");
            return give_up(shared, id);
        }
    };
    loop {
        match next(shared, id) {
            StreamingStep::Send(length) => {
                if let Err(error) = upload.send(shared.spool.file(), length) {
                    log::debug!("the early upload failed: {error}");
                    drop(upload);
                    return give_up(shared, id);
                }
            }
            StreamingStep::HandOver => return hand_over(shared, id, upload),
            StreamingStep::GiveUp => {
                drop(upload);
                return give_up(shared, id);
            }
        }
    }
}

/// Waits for a piece to send, or for the end.
fn next(shared: &UploaderShared, id: u64) -> StreamingStep {
    let began = Instant::now();
    let mut state = shared.lock();
    state.moved = began;
    state.sending = false;
    loop {
        if state.upload.id != id || state.upload.spoiled || state.cancelled {
            return StreamingStep::GiveUp;
        }
        if state.committing {
            return StreamingStep::HandOver;
        }
        if state.ahead() >= PIECE {
            state.upload.taken += PIECE;
            state.sending = true;
            return StreamingStep::Send(PIECE);
        }
        let Some(left) = PATIENCE.checked_sub(began.elapsed()) else {
            return StreamingStep::GiveUp;
        };
        state = shared
            .changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn hand_over(shared: &UploaderShared, id: u64, upload: Box<dyn UploadStream>) {
    report_end(shared, id, |state| {
        state.follower = StreamingUpload::Handed(upload);
    });
}

fn give_up(shared: &UploaderShared, id: u64) {
    report_end(shared, id, |state| state.follower = StreamingUpload::Spent);
}

/// Says how the upload ended, if anybody still asks for this one.
fn report_end(shared: &UploaderShared, id: u64, say: impl FnOnce(&mut State)) {
    let mut state = shared.lock();
    if state.upload.id == id {
        state.sending = false;
        say(&mut state);
        shared.changed.notify_all();
    }
}

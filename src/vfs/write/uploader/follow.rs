//! The early upload: a thread that sends data as a writer produces it, and hands the upload over to
//! the commit that requests it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guarded::{self, OnDrop};

use super::room::Room;
use super::{PIECE, State, StreamingUpload, UploadStream, UploaderShared};
use crate::remote::Error;

/// Pause of the writer after which the early upload ends, because others need the connection more.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often an upload that may not begin yet checks whether it may.
const LOOK_UP: Duration = Duration::from_millis(50);

/// The next step of the follower.
enum StreamingStep {
    /// Send this number of bytes, which are claimed.
    Send(u64),
    /// Discard what was sent before this offset.
    Discard(u64),
    /// Hand the upload over to a commit.
    HandOver,
    /// Abort the upload, which is invalid.
    GiveUp,
}

/// Starts the thread of the upload `id`.
pub(super) fn spawn(shared: &Arc<UploaderShared>, id: u64) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let follow = move || {
        let panicked = OnDrop::new(|| fail(&shared, id, None));
        run(&shared, id);
        panicked.disarm();
    };
    guarded::spawn("ftpfs-follow", follow).map(drop)
}

fn run(shared: &UploaderShared, id: u64) {
    if !wait_to_begin(shared, id) {
        return give_up(shared, id);
    }
    let interrupt = shared.lock().interrupt.clone();
    let mut upload = match shared.destination.begin(&interrupt) {
        Ok(upload) => upload,
        Err(error) => {
            log::debug!("cannot start an early upload: {error}");
            return fail(shared, id, Some(error));
        }
    };
    loop {
        match next(shared, id) {
            StreamingStep::Send(length) => {
                if let Err(error) = upload.send(shared.spool.file(), length) {
                    log::debug!("the early upload failed: {error}");
                    drop(upload);
                    return fail(shared, id, Some(error));
                }
            }
            StreamingStep::Discard(end) => {
                if let Err(error) = shared.make_room(&mut *upload, id, end) {
                    drop(upload);
                    return fail(shared, id, Some(error));
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

/// Waits until the upload may begin. Returns false if a commit uploads the file instead, or none
/// is needed.
fn wait_to_begin(shared: &UploaderShared, id: u64) -> bool {
    while !shared.destination.may_begin_early() {
        let state = shared.lock();
        let is_valid = state.upload.id == id && !state.upload.spoiled && !state.cancelled;
        if !is_valid || state.is_committing() {
            return false;
        }
        drop(shared.wait(state, LOOK_UP));
    }
    true
}

/// Waits for bytes to send, or for the end.
fn next(shared: &UploaderShared, id: u64) -> StreamingStep {
    let began = Instant::now();
    let mut state = shared.lock();
    state.moved = began;
    state.set_sending(false);
    loop {
        if state.upload.id != id || state.upload.spoiled || state.cancelled {
            return StreamingStep::GiveUp;
        }
        if state.is_committing() {
            return StreamingStep::HandOver;
        }
        let pause = state.pause.saturating_sub(began.elapsed());
        if state.room == Room::Awaited && state.ahead() == 0 && !pause.is_zero() {
            state = shared.wait(state, pause);
            continue;
        }
        if let Some(end) = shared.next_discard(&mut state) {
            state.set_sending(true);
            return StreamingStep::Discard(end);
        }
        let least = if state.room.is_wanted() { 1 } else { PIECE };
        if state.ahead() >= least {
            let length = state.ahead().min(PIECE);
            state.upload.taken += length;
            state.set_sending(true);
            return StreamingStep::Send(length);
        }
        let left = match PATIENCE.checked_sub(began.elapsed()) {
            Some(left) => left,
            // There is no other way to store the file.
            None if shared.spool.is_partial() => PATIENCE,
            None => return StreamingStep::GiveUp,
        };
        state = shared.wait(state, left);
    }
}

fn hand_over(shared: &UploaderShared, id: u64, upload: Box<dyn UploadStream>) {
    report_end(shared, id, |state| {
        state.follower = StreamingUpload::Handed(upload);
    });
}

fn give_up(shared: &UploaderShared, id: u64) {
    end_with(shared, id, StreamingUpload::Spent, None);
}

fn fail(shared: &UploaderShared, id: u64, error: Option<Error>) {
    end_with(shared, id, StreamingUpload::Failed, error);
}

fn end_with(shared: &UploaderShared, id: u64, end: StreamingUpload, error: Option<Error>) {
    report_end(shared, id, |state| {
        // A failure means nothing for the upload that replaces one that was to end anyway.
        state.follower = if state.upload.spoiled {
            StreamingUpload::Spent
        } else {
            end
        };
        state.room = Room::Enough;
        if shared.spool.is_partial() && !state.cancelled {
            state.lose(error);
        }
    });
}

/// Reports how the upload ended, unless another one has replaced it.
fn report_end(shared: &UploaderShared, id: u64, say: impl FnOnce(&mut State)) {
    let mut state = shared.lock();
    if state.upload.id == id {
        say(&mut state);
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeServer;
    use super::super::tests::Open;

    const M: u64 = 1 << 20;

    #[test]
    fn an_upload_that_may_not_begin_early_waits_and_ends_if_it_is_not_wanted() {
        let server = FakeServer::new(&[]);
        server.set_late(true);
        let open = Open::on(&server);
        open.copy(0, 5 * M);
        open.store.end_early_upload();
        assert_eq!(server.begun(), 0);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert_eq!(server.begun(), 1);

        open.copy(0, 5 * M);
        assert_eq!(server.begun(), 1);
        server.set_late(false);
        server.wait_for_begun(2);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert_eq!(server.begun(), 2);
    }
}

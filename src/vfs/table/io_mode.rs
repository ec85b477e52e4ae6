//! How the kernel reads an inode that programs have open: by requests, or from a local file by
//! itself (passthrough). Pure bookkeeping.
//!
//! The kernel refuses to mix the two: while a handle of one kind is open, opening the inode in the
//! other way fails with EIO. All handles in passthrough mode must read the same local file.

/// The open handles of an inode. The kernel reports the release of a handle after it, so a handle
/// that is closed here is closed in the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::vfs) enum IoMode<B> {
    /// No handle is open.
    #[default]
    Closed,
    /// This many handles send requests.
    Requests(usize),
    /// This many handles read `backing`.
    Passthrough { backing: B, handles: usize },
}

/// How a handle is opened.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vfs) enum IoChoice<B> {
    /// It sends requests.
    Requests,
    /// It reads this local file.
    Passthrough(B),
    /// The kernel would refuse it: other handles read a local file, and it cannot.
    Conflict,
}

impl<B: Clone> IoMode<B> {
    /// Opens a handle, which can read the local file of the others if `can_join` accepts it. The
    /// first handle reads `candidate`, if there is one.
    pub(in crate::vfs) fn open(
        &mut self,
        can_join: impl FnOnce(&B) -> bool,
        candidate: Option<B>,
    ) -> IoChoice<B> {
        match (&mut *self, candidate) {
            (Self::Passthrough { backing, handles }, _) if can_join(backing) => {
                *handles += 1;
                IoChoice::Passthrough(backing.clone())
            }
            (Self::Passthrough { .. }, _) => IoChoice::Conflict,
            (Self::Requests(handles), _) => {
                *handles += 1;
                IoChoice::Requests
            }
            (Self::Closed, None) => {
                *self = Self::Requests(1);
                IoChoice::Requests
            }
            (Self::Closed, Some(backing)) => {
                *self = Self::Passthrough {
                    backing: backing.clone(),
                    handles: 1,
                };
                IoChoice::Passthrough(backing)
            }
        }
    }

    /// Closes a handle. Returns the local file that none reads any more.
    pub(in crate::vfs) fn close(&mut self) -> Option<B> {
        let handles = match self {
            Self::Closed => return None,
            Self::Requests(handles) | Self::Passthrough { handles, .. } => handles,
        };
        *handles -= 1;
        if *handles > 0 {
            return None;
        }
        match std::mem::take(self) {
            Self::Passthrough { backing, .. } => Some(backing),
            Self::Closed | Self::Requests(_) => None,
        }
    }

    /// The kernel has refused the local file, so all its handles send requests.
    pub(in crate::vfs) fn refuse(&mut self) -> Option<B> {
        match std::mem::take(self) {
            Self::Passthrough { backing, handles } => {
                *self = Self::Requests(handles);
                Some(backing)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// Returns the local file that handles read.
    pub(in crate::vfs) fn backing(&self) -> Option<&B> {
        match self {
            Self::Passthrough { backing, .. } => Some(backing),
            Self::Closed | Self::Requests(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn handles_that_read_one_file_share_it_and_exclude_all_others() {
        let mut mode = IoMode::default();
        assert_eq!(mode.open(|_| true, Some('a')), IoChoice::Passthrough('a'));
        assert_eq!(mode.open(|_| true, Some('b')), IoChoice::Passthrough('a'));
        assert_eq!(mode.open(|_| false, Some('a')), IoChoice::Conflict);
        assert_eq!(mode.open(|_| false, None), IoChoice::Conflict);
        assert_eq!(mode.close(), None);
        assert_eq!(mode.close(), Some('a'));
        assert_eq!(mode, IoMode::Closed);
        assert_eq!(mode.open(|_| false, None), IoChoice::Requests);
        assert_eq!(mode.open(|_| true, Some('a')), IoChoice::Requests);
    }

    #[test]
    fn what_the_kernel_refuses_is_read_by_requests() {
        let mut mode = IoMode::default();
        mode.open(|_| true, Some('a'));
        mode.open(|_| true, Some('a'));
        assert_eq!(mode.refuse(), Some('a'));
        assert_eq!(mode.refuse(), None);
        assert_eq!(mode, IoMode::Requests(2));
        assert_eq!((mode.close(), mode.close()), (None, None));
        assert_eq!(mode, IoMode::Closed);
        assert_eq!(mode.close(), None);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Open(bool, Option<u8>),
        Close(usize),
        Refuse,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (any::<bool>(), proptest::option::of(0..3_u8))
                .prop_map(|(joins, candidate)| Event::Open(joins, candidate)),
            3 => (0_usize..8).prop_map(Event::Close),
            1 => Just(Event::Refuse),
        ]
    }

    proptest! {
        /// The kernel's rule, as it would see the handles.
        #[test]
        fn the_kernel_never_sees_two_kinds_of_handles(
            events in proptest::collection::vec(event(), 1..60),
        ) {
            let mut mode = IoMode::default();
            let mut handles: Vec<Option<u8>> = Vec::new();
            for event in events {
                match event {
                    Event::Open(joins, candidate) => {
                        match mode.open(|_| joins, candidate) {
                            IoChoice::Requests => handles.push(None),
                            IoChoice::Passthrough(backing) => handles.push(Some(backing)),
                            IoChoice::Conflict => prop_assert!(!joins || handles.is_empty()),
                        }
                    }
                    Event::Close(index) => {
                        if index < handles.len() {
                            let closed = handles.swap_remove(index);
                            let freed = mode.close();
                            let is_last = handles.is_empty();
                            prop_assert_eq!(freed, closed.filter(|_| is_last));
                        }
                    }
                    Event::Refuse => {
                        mode.refuse();
                        handles.fill(None);
                    }
                }
                prop_assert!(handles.windows(2).all(|pair| pair[0] == pair[1]), "{handles:?}");
                prop_assert_eq!(mode.backing().copied(), handles.first().copied().flatten());
            }
        }
    }
}

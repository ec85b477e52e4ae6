//! The transitions one by one, and in any order.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// A copy by number, with the numbers of its changes and of those that the server has.
#[derive(Debug, Clone)]
struct Copy(Rc<(u32, Cell<u64>, Cell<u64>)>);

impl Copy {
    fn new(number: u32) -> Self {
        Self(Rc::new((number, Cell::new(1), Cell::new(0))))
    }

    fn number(&self) -> u32 {
        self.0.0
    }

    fn write(&self) {
        self.0.1.set(self.0.1.get() + 1);
    }

    fn store(&self, generation: u64) {
        self.0.2.set(generation);
    }
}

impl PartialEq for Copy {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl LocalCopy for Copy {
    fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    fn generation(&self) -> u64 {
        self.0.1.get()
    }

    fn is_dirty(&self) -> bool {
        self.0.1.get() != self.0.2.get()
    }
}

type State = WriteState<(), Copy, u32>;

fn sealed(copy: &Copy) -> Sealed<Copy> {
    Sealed {
        copy: copy.clone(),
        generation: copy.generation(),
        modified: None,
        mode: None,
    }
}

fn upload(state: &mut State, copy: &Copy) -> AfterUpload<Copy> {
    state.upload_begins(copy);
    copy.store(copy.generation());
    assert_eq!(state.take_late(copy), None);
    state.uploaded(copy)
}

#[test]
fn an_empty_draft_becomes_a_copy_and_the_servers_file() {
    let (mut state, draft) = (State::draft(Copy::new(1)), Copy::new(2));
    assert!(state.is_only_draft());
    assert_eq!(state.copied_instead(7).map(|draft| draft.number()), Some(1));
    assert_eq!((state.copied(), state.local()), (Some(&7), None));
    assert!(state.is_dirty() && state.reader().is_none() && !state.is_only_draft());
    assert_eq!(state.copied_instead(8), None, "it is no draft any more");
    state.leave_copied(());
    assert!(!state.is_dirty() && state.reader().is_some());

    let mut state = State::draft(Copy::new(1));
    state.copied_instead(7);
    state.begin_draft(draft);
    assert_eq!((state.copied(), state.is_dirty()), (None, true));
    state.leave_copied(());
    assert!(state.reader().is_none(), "the draft stays");

    let (mut state, copy) = (State::clean(()), Copy::new(4));
    assert_eq!(state.copied_instead(7), None);
    state.begin_draft(copy.clone());
    state.upload_begins(&copy);
    assert!(!state.is_only_draft(), "its upload would be lost");
}

#[test]
fn a_draft_is_sealed_uploaded_and_changed_again() {
    let (mut state, copy) = (State::clean(()), Copy::new(1));
    assert!(!state.is_dirty());
    state.begin_draft(copy.clone());
    assert!(state.is_dirty());
    assert_eq!(state.seal(sealed(&copy)), SealOutcome::Sealed(None));
    assert!(state.is_all_sealed());
    assert_eq!(state.changeable(), None);
    let after = upload(&mut state, &copy);
    assert_eq!((after.done, after.rebased), (vec![copy.clone()], None));
    assert_eq!(state.changeable(), Some(&copy));
    assert!(!state.is_dirty());
}

#[test]
fn contents_closed_again_replace_those_that_wait() {
    let (first, second) = (Copy::new(1), Copy::new(2));
    let mut state = State::draft(first.clone());
    state.seal(sealed(&first));
    state.begin_draft(second.clone());
    assert_eq!(state.local(), Some(&second));
    let obsolete = SealOutcome::Sealed(Some(first.clone()));
    assert_eq!(state.seal(sealed(&second)), obsolete);
    // Neither a close that comes late nor an upload brings them back.
    assert_eq!(state.seal(sealed(&first)), SealOutcome::Obsolete);
    assert!(!state.upload_begins(&first) && !state.has_upload());
    assert!(state.sealed().unwrap().copy.is_same(&second));
}

#[test]
fn contents_replaced_during_their_upload_are_the_base_of_the_newer_ones() {
    let (first, second) = (Copy::new(1), Copy::new(2));
    let mut state = State::draft(first.clone());
    state.seal(sealed(&first));
    state.upload_begins(&first);
    state.begin_draft(second.clone());
    assert_eq!(state.seal(sealed(&second)), SealOutcome::Sealed(None));
    let after = state.uploaded(&first);
    assert_eq!(after.done, vec![first.clone()]);
    assert_eq!(after.rebased, Some(second.clone()));
    assert_eq!(state.upload_failed(&first), RecordFate::Removed);
    assert_eq!(state.upload_failed(&second), RecordFate::Kept);
}

#[test]
fn a_copy_is_replaced_by_one_with_the_same_contents_wherever_it_is() {
    let (first, second, whole) = (Copy::new(1), Copy::new(2), Copy::new(3));
    let mut state = State::draft(first.clone());
    state.replace(&second, &whole, None);
    assert_eq!(state.changeable(), Some(&first), "it is another copy");
    state.seal(sealed(&first));
    state.upload_begins(&first);
    state.replace(&first, &whole, Some(0o644));
    let kept = state.sealed().unwrap().clone();
    assert!(kept.copy.is_same(&whole) && state.is_all_sealed());
    assert_eq!(kept.mode, Some(0o644));
    state.begin_draft(second.clone());
    state.replace(&second, &first, None);
    assert_eq!(state.changeable(), Some(&first));
    assert_eq!(state.upload_failed(&whole), RecordFate::Kept);
}

#[test]
fn what_is_given_up_leaves_what_was_closed_before_it_and_written_after_it() {
    let (first, second) = (Copy::new(1), Copy::new(2));
    let superseded = || {
        let mut state = State::draft(first.clone());
        state.seal(sealed(&first));
        state.begin_draft(second.clone());
        state
    };
    let mut state = superseded();
    state.give_up(&first, ());
    assert_eq!(state.changeable(), Some(&second));
    assert!(state.sealed().is_none());
    state.give_up(&second, ());
    assert!(state.reader().is_some());

    let mut state = superseded();
    state.give_up(&second, ());
    assert!(state.is_sealed());
    state.give_up(&second, ());
    assert!(state.is_sealed(), "it is not there any more");
    state.give_up(&first, ());
    assert!(state.reader().is_some());
}

#[test]
fn an_uploaded_draft_makes_what_was_closed_before_it_obsolete() {
    let (first, second) = (Copy::new(1), Copy::new(2));
    let mut state = State::draft(first.clone());
    state.seal(sealed(&first));
    state.begin_draft(second.clone());
    let after = upload(&mut state, &second);
    assert_eq!(after.done, vec![first, second]);
    assert!(state.sealed().is_none());
}

#[test]
fn attributes_set_during_an_upload_are_sent_after_it_if_nothing_else_is() {
    let copy = Copy::new(1);
    let mut state = State::draft(copy.clone());
    state.set_late_mode(0o600);
    assert_eq!(state.late().mode, None, "it goes with the bytes");
    state.upload_begins(&copy);
    state.set_late_mode(0o600);
    state.set_late_modified(Some(7));
    copy.store(copy.generation());
    let late = state.take_late(&copy).unwrap();
    assert_eq!((late.mode, late.modified), (Some(0o600), Some(7)));
    assert_eq!(state.take_late(&copy), None);
    state.set_late_modified(Some(8));
    copy.write();
    assert_eq!(state.take_late(&copy), None, "it goes with the next bytes");
    assert_eq!(state.late().modified, Some(8));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Write,
    Close,
    BeginUpload { of_sealed: bool },
    EndUpload { succeeds: bool },
    Unlink,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Write),
        3 => Just(Event::Close),
        2 => any::<bool>().prop_map(|of_sealed| Event::BeginUpload { of_sealed }),
        2 => any::<bool>().prop_map(|succeeds| Event::EndUpload { succeeds }),
        1 => Just(Event::Unlink),
    ]
}

proptest! {
    /// The journal has a record of what is sealed or being uploaded, and of nothing else, and
    /// the newest closed contents are sealed or on the server.
    #[test]
    fn the_journal_has_what_the_next_mount_needs(
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut state = State::clean(());
        let mut journal = BTreeSet::new();
        let mut running: Option<(Copy, u64)> = None;
        let mut number = 0;
        for event in events {
            match event {
                Event::Write => {
                    if let Some(copy) = state.changeable() {
                        copy.write();
                    } else {
                        number += 1;
                        state.begin_draft(Copy::new(number));
                    }
                }
                Event::Close => {
                    let local = state.local().filter(|copy| copy.is_dirty()).cloned();
                    if let Some(copy) = local {
                        journal.insert(copy.number());
                        match state.seal(sealed(&copy)) {
                            SealOutcome::Sealed(Some(obsolete)) => {
                                journal.remove(&obsolete.number());
                            }
                            SealOutcome::Sealed(None) => {}
                            SealOutcome::Obsolete => panic!("it is visible"),
                        }
                    }
                }
                Event::BeginUpload { of_sealed } if running.is_none() => {
                    let copy = if of_sealed {
                        state.sealed().map(|sealed| sealed.copy.clone())
                    } else {
                        state.local().filter(|copy| copy.is_dirty()).cloned()
                    };
if let Some(copy) = copy {
                        state.upload_begins(&copy);
                        journal.insert(copy.number());
                        running = Some((copy.clone(), copy.generation()));
                    }
                }
                Event::EndUpload { succeeds: true } => {
                    if let Some((copy, generation)) = running.take() {
                        copy.store(generation);
                        prop_assert_eq!(state.take_late(&copy), None);
                        for done in state.uploaded(&copy).done {
                            journal.remove(&done.number());
                        }
                    }
                }
                Event::EndUpload { succeeds: false } => {
                    if let Some((copy, _)) = running.take() {
                        match state.upload_failed(&copy) {
                            RecordFate::Kept => {}
                            RecordFate::Removed | RecordFate::Abandoned => {
                                journal.remove(&copy.number());
                            }
                        }
                    }
                }
                Event::Unlink if running.is_none() => {
                    if let Some(sealed) = state.unseal() {
                        journal.remove(&sealed.number());
                    }
                }
                Event::BeginUpload { .. } | Event::Unlink => {}
            }
            let needed = state.sealed().map(|sealed| sealed.copy.number());
            let uploaded = running.as_ref().map(|(copy, _)| copy.number());
            let expected: BTreeSet<_> = needed.into_iter().chain(uploaded).collect();
            prop_assert_eq!(&journal, &expected);
        }
    }
}

//! Which disk slot a root file system goes into: the book-keeping, without any of the exchanging.

use std::fmt;

/// The disk slots of one VM and what is in them.
#[derive(Debug)]
pub(super) struct Slots {
    states: Vec<State>,
    bytes: u64,
    /// The guest's agent does not find what is in a slot.
    unseen: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Holds, or is about to hold, the root of this container.
    Taken(String),
    /// What the guest does with it is unknown, so it is not used again.
    Lost,
}

/// A disk, as far as its place depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// An image of ours, with this many bytes of content. It can be made to fill a slot.
    Image(u64),
    /// A device or file of the snapshotter's own.
    Foreign,
    /// One that the guest may write to.
    Writable,
}

/// Where a disk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Into this slot, which is now taken.
    Slot(u32),
    /// Into a slot of its own, made for it.
    HotPlug(Reason),
}

/// Why a disk is plugged although there may be slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The VM has none.
    NoSlots,
    /// The guest's agent does not find disks that were there before it.
    Unseen,
    /// All are taken.
    Full,
    /// It is larger than a slot.
    TooLarge,
    /// Its size cannot be changed to a slot's: it is not an image of the cache.
    Foreign,
    /// It is written to.
    Writable,
    /// The monitor did not exchange the content of a slot.
    Refused,
}

impl Reason {
    /// All of them, for counters.
    pub const ALL: [Self; 7] = [
        Self::NoSlots,
        Self::Unseen,
        Self::Full,
        Self::TooLarge,
        Self::Foreign,
        Self::Writable,
        Self::Refused,
    ];

    /// A short stable word, for counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoSlots => "no-slots",
            Self::Unseen => "agent",
            Self::Full => "full",
            Self::TooLarge => "too-large",
            Self::Foreign => "not-an-image",
            Self::Writable => "writable",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlots => "the VM has no disk slots",
            Self::Unseen => "the guest's agent does not find disks in slots",
            Self::Full => "all disk slots are taken",
            Self::TooLarge => "it is larger than a disk slot",
            Self::Foreign => "it is not an image of the cache",
            Self::Writable => "it is written to",
            Self::Refused => "the monitor did not put it into a disk slot",
        })
    }
}

impl Slots {
    /// `count` slots of `bytes`. The root of the container `first`, if there is one, is in the first
    /// of them; the others are free.
    pub(super) fn new(count: u32, bytes: u64, first: Option<&str>) -> Self {
        let mut states = vec![State::Free; count as usize];
        if let (Some(state), Some(container)) = (states.first_mut(), first) {
            *state = State::Taken(container.to_owned());
        }
        Self {
            states,
            bytes,
            unseen: false,
        }
    }

    /// Nothing goes into a slot any more, since the guest would not find it there.
    pub(super) fn close(&mut self) {
        self.unseen = true;
    }

    /// Size of each, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decides where the root of `container` goes. A slot that it has already stays its own.
    pub(super) fn place(&mut self, container: &str, disk: Candidate) -> Place {
        if let (Some(slot), false) = (self.index_of(container), self.unseen) {
            return Place::Slot(slot);
        }
        let content = match disk {
            Candidate::Image(content) => content,
            Candidate::Foreign => return Place::HotPlug(Reason::Foreign),
            Candidate::Writable => return Place::HotPlug(Reason::Writable),
        };
        if self.states.is_empty() {
            return Place::HotPlug(Reason::NoSlots);
        }
        if self.unseen {
            return Place::HotPlug(Reason::Unseen);
        }
        if content > self.bytes {
            return Place::HotPlug(Reason::TooLarge);
        }
        let free = self.states.iter().position(|state| *state == State::Free);
        let Some(index) = free else {
            return Place::HotPlug(Reason::Full);
        };
        self.states[index] = State::Taken(container.to_owned());
        Place::Slot(index as u32)
    }

    /// Whether `container` has a slot.
    pub(super) fn holds(&self, container: &str) -> bool {
        self.index_of(container).is_some()
    }

    /// Gives the slot of `container` back: nothing is in it, and the guest does not use it.
    pub(super) fn release(&mut self, container: &str) {
        self.set(container, State::Free);
    }

    /// Gives the slot of `container` up.
    pub(super) fn lose(&mut self, container: &str) {
        self.set(container, State::Lost);
    }

    fn set(&mut self, container: &str, state: State) {
        if let Some(slot) = self.index_of(container) {
            self.states[slot as usize] = state;
        }
    }

    fn index_of(&self, container: &str) -> Option<u32> {
        let holds = |state: &State| matches!(state, State::Taken(name) if name == container);
        self.states.iter().position(holds).map(|index| index as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_has_its_place() {
        use Candidate::{Foreign, Image, Writable};
        let plug = Place::HotPlug;
        let table = [
            // slots, already taken, disk, place
            (2, 0, Image(10), Place::Slot(0)),
            (2, 1, Image(10), Place::Slot(1)),
            (2, 2, Image(10), plug(Reason::Full)),
            (2, 0, Image(11), plug(Reason::TooLarge)),
            (2, 2, Image(11), plug(Reason::TooLarge)),
            (0, 0, Image(1), plug(Reason::NoSlots)),
            (2, 0, Foreign, plug(Reason::Foreign)),
            (2, 0, Writable, plug(Reason::Writable)),
            (0, 0, Writable, plug(Reason::Writable)),
        ];
        for (count, taken, disk, place) in table {
            let mut slots = Slots::new(count, 10, None);
            for index in 0..taken {
                slots.place(&format!("c{index}"), Image(1));
            }
            assert_eq!(slots.place("new", disk), place, "{count} {taken} {disk:?}");
        }
    }

    #[test]
    fn what_is_there_from_the_start_is_in_the_first_slot() {
        let mut slots = Slots::new(2, 10, Some("first"));
        assert!(slots.holds("first"));
        // Also if it is larger than it was taken for: the VM has it.
        assert_eq!(slots.place("first", Candidate::Image(11)), Place::Slot(0));
        assert_eq!(slots.place("second", Candidate::Image(1)), Place::Slot(1));
        assert!(!Slots::new(0, 10, Some("first")).holds("first"));
    }

    #[test]
    fn nothing_goes_into_a_slot_that_the_agent_does_not_see() {
        let mut slots = Slots::new(2, 10, None);
        assert_eq!(slots.place("begun", Candidate::Image(1)), Place::Slot(0));
        slots.close();
        for (container, disk, reason) in [
            ("begun", Candidate::Image(1), Reason::Unseen),
            ("new", Candidate::Image(1), Reason::Unseen),
            ("new", Candidate::Writable, Reason::Writable),
        ] {
            let place = slots.place(container, disk);
            assert_eq!(place, Place::HotPlug(reason), "{container} {disk:?}");
        }
    }

    #[test]
    fn a_slot_is_given_again_once_it_was_released_and_never_when_it_was_lost() {
        let image = Candidate::Image(1);
        let mut slots = Slots::new(2, 10, None);
        assert_eq!(slots.place("a", image), Place::Slot(0));
        assert_eq!(slots.place("a", image), Place::Slot(0));
        assert_eq!(slots.place("b", image), Place::Slot(1));
        slots.lose("a");
        assert_eq!(slots.place("c", image), Place::HotPlug(Reason::Full));
        slots.release("b");
        slots.release("c");
        assert_eq!(slots.place("c", image), Place::Slot(1));
    }
}

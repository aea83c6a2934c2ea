//! Chooses the disk slot of a root file system. This is only the table; nothing is attached here.

use std::fmt;

/// The disk slots of one VM, and their use.
#[derive(Debug)]
pub(super) struct SlotTable {
    states: Vec<State>,
    bytes: u64,
    /// Whether the guest's agent does not find disks in slots.
    unseen: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Has, or is about to get, the root of this container.
    Taken(String),
    /// The guest may still use it, so it is not used again.
    Lost,
}

/// The properties of a disk that decide its placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// An image of the cache, with this many bytes of content. It can be extended to fill a slot.
    Image(u64),
    /// A read-only device or file of the snapshotter.
    Foreign,
    /// A disk that the guest may write to.
    Writable,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// In this slot, which is taken now.
    Slot(u32),
    /// As a hot-plugged disk, for this reason.
    HotPlug(Reason),
}

/// Why a disk is hot-plugged although there may be slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The VM has no slots.
    NoSlots,
    /// The guest's agent does not find disks that were attached before it started.
    Unseen,
    /// All slots are taken.
    Full,
    /// The disk is larger than a slot.
    TooLarge,
    /// The disk is not an image of the cache, so its length cannot be changed to a slot's.
    Foreign,
    /// The disk is writable.
    Writable,
    /// The VMM did not replace the content of a slot.
    Refused,
}

impl Reason {
    /// All reasons, for counters.
    pub const ALL: [Self; 7] = [
        Self::NoSlots,
        Self::Unseen,
        Self::Full,
        Self::TooLarge,
        Self::Foreign,
        Self::Writable,
        Self::Refused,
    ];

    /// A short fixed word, for counters.
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
            Self::Writable => "it is writable",
            Self::Refused => "the VMM did not put it into a disk slot",
        })
    }
}

impl SlotTable {
    /// `count` slots of `bytes` each. If `first` is given, the root of that container is in the
    /// first slot; the others are free.
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

    /// No slot is used any more, since the guest would not find its disk.
    pub(super) fn close(&mut self) {
        self.unseen = true;
    }

    /// Size of each slot, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decides how the root of `container` is attached. It keeps a slot that it has already.
    pub(super) fn place(&mut self, container: &str, disk: Candidate) -> Placement {
        if let (Some(slot), false) = (self.index_of(container), self.unseen) {
            return Placement::Slot(slot);
        }
        let content = match disk {
            Candidate::Image(content) => content,
            Candidate::Foreign => return Placement::HotPlug(Reason::Foreign),
            Candidate::Writable => return Placement::HotPlug(Reason::Writable),
        };
        if self.states.is_empty() {
            return Placement::HotPlug(Reason::NoSlots);
        }
        if self.unseen {
            return Placement::HotPlug(Reason::Unseen);
        }
        if content > self.bytes {
            return Placement::HotPlug(Reason::TooLarge);
        }
        let free = self.states.iter().position(|state| *state == State::Free);
        let Some(index) = free else {
            return Placement::HotPlug(Reason::Full);
        };
        self.states[index] = State::Taken(container.to_owned());
        Placement::Slot(index as u32)
    }

    /// Whether `container` has a slot.
    pub(super) fn holds(&self, container: &str) -> bool {
        self.index_of(container).is_some()
    }

    /// Frees the slot of `container`: it is empty, and the guest does not use it.
    pub(super) fn release(&mut self, container: &str) {
        self.set(container, State::Free);
    }

    /// Marks the slot of `container` as lost: it is never used again.
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
        let plug = Placement::HotPlug;
        let table = [
            // slots, already taken, disk, place
            (2, 0, Image(10), Placement::Slot(0)),
            (2, 1, Image(10), Placement::Slot(1)),
            (2, 2, Image(10), plug(Reason::Full)),
            (2, 0, Image(11), plug(Reason::TooLarge)),
            (2, 2, Image(11), plug(Reason::TooLarge)),
            (0, 0, Image(1), plug(Reason::NoSlots)),
            (2, 0, Foreign, plug(Reason::Foreign)),
            (2, 0, Writable, plug(Reason::Writable)),
            (0, 0, Writable, plug(Reason::Writable)),
        ];
        for (count, taken, disk, place) in table {
            let mut slots = SlotTable::new(count, 10, None);
            for index in 0..taken {
                slots.place(&format!("c{index}"), Image(1));
            }
            assert_eq!(slots.place("new", disk), place, "{count} {taken} {disk:?}");
        }
    }

    #[test]
    fn what_is_there_from_the_start_is_in_the_first_slot() {
        let mut slots = SlotTable::new(2, 10, Some("first"));
        assert!(slots.holds("first"));
        // Also if it is larger than it was taken for: the VM has it.
        assert_eq!(
            slots.place("first", Candidate::Image(11)),
            Placement::Slot(0)
        );
        assert_eq!(
            slots.place("second", Candidate::Image(1)),
            Placement::Slot(1)
        );
        assert!(!SlotTable::new(0, 10, Some("first")).holds("first"));
    }

    #[test]
    fn nothing_goes_into_a_slot_that_the_agent_does_not_see() {
        let mut slots = SlotTable::new(2, 10, None);
        assert_eq!(
            slots.place("begun", Candidate::Image(1)),
            Placement::Slot(0)
        );
        slots.close();
        for (container, disk, reason) in [
            ("begun", Candidate::Image(1), Reason::Unseen),
            ("new", Candidate::Image(1), Reason::Unseen),
            ("new", Candidate::Writable, Reason::Writable),
        ] {
            let place = slots.place(container, disk);
            assert_eq!(place, Placement::HotPlug(reason), "{container} {disk:?}");
        }
    }

    #[test]
    fn a_slot_is_given_again_once_it_was_released_and_never_when_it_was_lost() {
        let image = Candidate::Image(1);
        let mut slots = SlotTable::new(2, 10, None);
        assert_eq!(slots.place("a", image), Placement::Slot(0));
        assert_eq!(slots.place("a", image), Placement::Slot(0));
        assert_eq!(slots.place("b", image), Placement::Slot(1));
        slots.lose("a");
        assert_eq!(slots.place("c", image), Placement::HotPlug(Reason::Full));
        slots.release("b");
        slots.release("c");
        assert_eq!(slots.place("c", image), Placement::Slot(1));
    }
}

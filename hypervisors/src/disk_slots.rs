//! Disk slots, as far as they are the same for every VMM. A slot is a disk that a VM has from its
//! start and into which an image is put later.

use std::path::Path;

use crate::{DiskSlots, Error, Result};

/// Size of each slot in bytes.
pub fn bytes(slots: &DiskSlots) -> u64 {
    u64::from(slots.mib) << 20
}

/// Beginning of the names of slots' disks. Those of disks that are attached begin with `disk-`.
pub const NAME_PREFIX: &str = "slot-";

/// The VMM's name for the disk of a slot.
pub fn name(slot: u32) -> String {
    format!("{NAME_PREFIX}{slot}")
}

/// Checks that a VM that has room for `most` slots can have these.
pub fn check_all(slots: &DiskSlots, most: u32) -> Result<()> {
    let (count, mib) = (slots.count, slots.mib);
    if count > most || (count > 0 && mib == 0) || slots.contents.len() > count as usize {
        let contents = slots.contents.len();
        return Err(Error::InvalidSpec(format!(
            "{count} disk slots of {mib} MiB, {contents} of them with a content (at most {most} \
             fit)"
        )));
    }
    let bytes = bytes(slots);
    slots
        .contents
        .iter()
        .try_for_each(|image| check(image, bytes))
}

/// Checks that an image fills a slot of `bytes`: a window must not be larger than what it shows.
pub fn check(path: &Path, bytes: u64) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Io {
        action: "Opening disk",
        path: path.to_owned(),
        source,
    })?;
    if metadata.is_file() && metadata.len() >= bytes {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{} is no regular file of at least {bytes} bytes, as its slot needs",
        path.display()
    )))
}

/// The state of a slot, by number: whether it shows an image. It must be `filled` for `action`.
pub fn state_in<'a>(
    all: &'a mut [bool],
    slot: u32,
    action: &str,
    filled: bool,
) -> Result<&'a mut bool> {
    let reason = match all.get_mut(slot as usize) {
        Some(state) if *state == filled => return Ok(state),
        Some(true) => "it shows an image",
        Some(false) => "it shows no image",
        None => "there is no such slot",
    };
    Err(refused(slot, action, reason.to_owned()))
}

/// The error of a VMM that left a slot as it was.
pub fn refused(slot: u32, action: &str, reason: String) -> Error {
    Error::Refused {
        request: format!("{action} disk slot {slot}"),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_changed_only_from_the_state_it_is_in() {
        let mut slots = [true, false];
        assert!(state_in(&mut slots, 0, "empty", true).is_ok());
        assert!(state_in(&mut slots, 1, "fill", false).is_ok());
        for (slot, action, filled, reason) in [
            (0, "fill", false, "it shows an image"),
            (1, "empty", true, "it shows no image"),
            (2, "fill", false, "there is no such slot"),
        ] {
            let refused = state_in(&mut slots, slot, action, filled).unwrap_err();
            assert!(refused.to_string().contains(reason), "{refused}");
        }
    }
}

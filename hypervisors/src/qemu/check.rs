//! Whether a VM can be what its specification says, before anything is made for it.

use super::{
    command_line::{Sockets, Start},
    layout::MAX_DISK_SLOTS,
    option_line::text,
};
use crate::{Result, VmSpec, check, device::check_mac, disk_slots};

/// Checks `spec` for a VM that begins with `start`.
///
/// # Errors
/// [`Error::InvalidSpec`], or [`Error::Io`] for a file that cannot be read. Nothing was made.
pub fn check(spec: &VmSpec, start: Start) -> Result<()> {
    check::size_and_name(spec)?;
    disk_slots::check_all(&spec.slots, MAX_DISK_SLOTS)?;
    if let Some(nic) = &spec.nic {
        check_mac(&nic.mac)?;
    }
    let sockets = Sockets::within(&spec.run_dir);
    for socket in [&sockets.agent, &sockets.log] {
        text(socket)?;
        check::socket(socket)?;
    }
    check::payload(&spec.kernel, start == Start::Kernel)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{MemoryBacking, sample::spec};

    fn refusal(change: impl FnOnce(&mut VmSpec), start: Start) -> String {
        let mut spec = spec();
        change(&mut spec);
        check(&spec, start).unwrap_err().to_string()
    }

    #[test]
    fn a_restore_does_not_need_the_kernel() {
        check(&spec(), Start::SavedState).unwrap();
        assert_eq!(
            refusal(|_| (), Start::Kernel),
            "Reading kernel /no/kernel failed"
        );
    }

    #[test]
    fn shapes_no_vm_can_have_are_refused() {
        let at = Start::SavedState;
        assert!(refusal(|s| s.vcpus = 0, at).ends_with("0 of at most 1 vCPUs"));
        assert!(refusal(|s| s.vcpus = 2, at).ends_with("2 of at most 1 vCPUs"));
        assert!(refusal(|s| s.memory.mib = 0, at).ends_with("a VM without memory"));
        assert!(refusal(|s| s.id = "a\nb".into(), at).contains("not printable"));
        let long = PathBuf::from("/").join("x".repeat(100));
        assert!(refusal(|s| s.run_dir = long, at).contains("more than 107 bytes"));
    }

    #[test]
    fn a_memory_file_has_exactly_the_memorys_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let backing = MemoryBacking::File {
            path: file.path().to_owned(),
            shared: false,
        };
        let mut spec = spec();
        spec.memory.backing = backing;
        for (length, fits) in [
            (0, false),
            ((1 << 20) - 1, false),
            (1 << 20, true),
            (2 << 20, false),
        ] {
            file.as_file().set_len(length).unwrap();
            assert_eq!(check(&spec, Start::SavedState).is_ok(), fits, "{length}");
        }
    }
}

//! Whether a VM can be what its specification says, before anything is made for it.

use std::{fs, path::Path};

use super::{
    command_line::{Sockets, Start, text},
    kernel,
};
use crate::{Error, GuestRoot, MemoryBacking, MemorySpec, Result, VmSpec};

/// `sun_path` of unix(7), without its final NUL.
const SOCKET_PATH_LIMIT: usize = 107;
const ID_LIMIT: usize = 128;

/// Checks `spec` for a VM that begins with `start`.
///
/// # Errors
/// [`Error::InvalidSpec`], or [`Error::Io`] for a file that cannot be read. Nothing was made.
pub fn check(spec: &VmSpec, start: Start) -> Result<()> {
    if spec.id.is_empty() || spec.id.len() > ID_LIMIT || spec.id.contains(char::is_control) {
        return invalid(format!(
            "VM id {:?} is empty, too long or not printable",
            spec.id
        ));
    }
    if spec.vcpus == 0 || spec.max_vcpus < spec.vcpus {
        return invalid(format!(
            "{} of at most {} vCPUs",
            spec.vcpus, spec.max_vcpus
        ));
    }
    check_memory(&spec.memory)?;
    let sockets = Sockets::within(&spec.run_dir);
    for socket in [&sockets.agent, &sockets.log] {
        if text(socket)?.len() > SOCKET_PATH_LIMIT {
            let path = socket.display();
            return invalid(format!(
                "socket path {path} has more than {SOCKET_PATH_LIMIT} bytes"
            ));
        }
    }
    if start == Start::Kernel {
        kernel::check(&spec.kernel.kernel)?;
    }
    match &spec.kernel.root {
        GuestRoot::Initrd(path) if start == Start::Kernel => readable(path, "Opening initrd"),
        GuestRoot::Image(path) => readable(path, "Opening guest image"),
        GuestRoot::Initrd(_) => Ok(()),
    }
}

fn check_memory(memory: &MemorySpec) -> Result<()> {
    if memory.mib == 0 {
        return invalid(String::from("a VM without memory"));
    }
    if memory.max_mib < memory.mib {
        return invalid(format!(
            "{} MiB of at most {} MiB of memory",
            memory.mib, memory.max_mib
        ));
    }
    let MemoryBacking::File { path, .. } = &memory.backing else {
        return Ok(());
    };
    let source = |source| Error::Io {
        action: "Opening memory file",
        path: path.clone(),
        source,
    };
    let length = fs::metadata(path).map_err(source)?.len();
    let wanted = u64::from(memory.mib) << 20;
    if length != wanted {
        let path = path.display();
        return invalid(format!(
            "memory file {path} has {length} bytes instead of {wanted}"
        ));
    }
    Ok(())
}

fn readable(path: &Path, action: &'static str) -> Result<()> {
    match fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => invalid(format!("{} is a directory", path.display())),
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Io {
            action,
            path: path.to_owned(),
            source,
        }),
    }
}

fn invalid(what: String) -> Result<()> {
    Err(Error::InvalidSpec(what))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::KernelSpec;

    fn spec() -> VmSpec {
        VmSpec {
            id: "a".into(),
            run_dir: PathBuf::from("/run/imprint/a"),
            vcpus: 1,
            max_vcpus: 1,
            memory: MemorySpec {
                mib: 1,
                max_mib: 1,
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: PathBuf::from("/no/kernel"),
                root: GuestRoot::Initrd(PathBuf::from("/no/initrd")),
                command_line: String::new(),
            },
            netns: None,
            slots: crate::DiskSlots::default(),
            nic: None,
        }
    }

    fn refusal(change: impl FnOnce(&mut VmSpec), start: Start) -> String {
        let mut spec = spec();
        change(&mut spec);
        check(&spec, start).unwrap_err().to_string()
    }

    #[test]
    fn a_restore_does_not_need_the_kernel() {
        check(&spec(), Start::SavedState).unwrap();
        assert_eq!(refusal(|_| (), Start::Kernel), "Reading kernel /no/kernel");
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

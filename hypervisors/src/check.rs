//! Whether a VM can be what its specification says, as far as that is the same for every VMM.
//! Asked before anything is made for it.

use std::{fs, path::Path};

use crate::{Error, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, Result, VmSpec, kernel};

/// `sun_path` of unix(7), without its final NUL.
pub const SOCKET_PATH_LIMIT: usize = 107;
/// The longest name that a socket of any VM has in its run directory, in bytes.
pub const SOCKET_NAME_LIMIT: usize = 12;
const ID_LIMIT: usize = 128;

/// Checks name, vCPUs and memory.
pub fn size_and_name(spec: &VmSpec) -> Result<()> {
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
    memory(&spec.memory)
}

/// Checks that a socket can be bound at `path`.
pub fn socket(path: &Path) -> Result<()> {
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        let path = path.display();
        return invalid(format!(
            "socket path {path} has more than {SOCKET_PATH_LIMIT} bytes"
        ));
    }
    Ok(())
}

/// Checks the files that a guest is made of. Without `boots`, only those that a restored one opens.
pub fn payload(spec: &KernelSpec, boots: bool) -> Result<()> {
    if boots {
        kernel::check(&spec.kernel)?;
    }
    match &spec.root {
        GuestRoot::Initrd(path) if boots => readable(path, "Opening initrd"),
        GuestRoot::Image(path) => readable(path, "Opening guest image"),
        GuestRoot::Initrd(_) => Ok(()),
    }
}

fn memory(memory: &MemorySpec) -> Result<()> {
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

//! The mounts of a guest that began in an initial RAM file system.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    unistd::{chdir, chroot},
};

use crate::error::{Doing, Result};

/// Moves to a second mount of the initial root.
///
/// The kernel refuses `pivot_root` to a process whose root is the very first mount, and an OCI
/// runtime without `pivot_root` has to leave the guest's root reachable. A bind mount of the same
/// file system, moved over `/`, costs nothing and is an ordinary mount.
pub fn leave_initial_root() -> Result<()> {
    let second = Path::new("/newroot");
    fs::create_dir_all(second).on("create", second)?;
    bind(Path::new("/"), second)?;
    chdir(second).on("enter", second)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .doing(|| "move the root mount".into())?;
    chroot(".").doing(|| "change the root".into())?;
    chdir("/").doing(|| "enter the new root".into())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).on("bind to", to)
}

/// A file system that needs nothing but the kernel.
struct Kernel {
    kind: &'static str,
    at: &'static str,
    flags: MsFlags,
    options: &'static str,
}

const KERNEL_FILE_SYSTEMS: [Kernel; 9] = [
    Kernel::new("proc", "/proc", RESTRICTED, ""),
    Kernel::new("sysfs", "/sys", RESTRICTED, ""),
    Kernel::new("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
    Kernel::new(
        "devpts",
        "/dev/pts",
        NO_PROGRAMS,
        "gid=5,mode=0620,ptmxmode=0666",
    ),
    Kernel::new("tmpfs", "/dev/shm", DATA, "mode=1777"),
    Kernel::new("mqueue", "/dev/mqueue", RESTRICTED, ""),
    Kernel::new("tmpfs", "/run", DATA_AND_PROGRAMS, "mode=0755"),
    Kernel::new("tmpfs", "/tmp", DATA, "mode=1777"),
    Kernel::new("cgroup2", "/sys/fs/cgroup", RESTRICTED, "nsdelegate"),
];

const NO_PROGRAMS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
const RESTRICTED: MsFlags = NO_PROGRAMS.union(MsFlags::MS_NODEV);
const DATA: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
/// Containers' writable layers live below `/run`, and an overlay takes on no more rights than its
/// upper directory's mount allows.
const DATA_AND_PROGRAMS: MsFlags = MsFlags::empty();

impl Kernel {
    const fn new(
        kind: &'static str,
        at: &'static str,
        flags: MsFlags,
        options: &'static str,
    ) -> Self {
        Self {
            kind,
            at,
            flags,
            options,
        }
    }
}

/// Mounts `/proc`, `/sys`, `/dev` and what else Linux programs expect.
pub fn mount_kernel_file_systems() -> Result<()> {
    for system in KERNEL_FILE_SYSTEMS {
        let at = Path::new(system.at);
        fs::create_dir_all(at).on("create", at)?;
        mount(
            Some(system.kind),
            at,
            Some(system.kind),
            system.flags,
            Some(system.options),
        )
        .on("mount", at)?;
    }
    Ok(())
}

//! The mounts of a guest that was booted from an initial RAM file system.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    unistd::{chdir, chroot},
};

use crate::error::{Doing, Result};

/// Replaces the initial root by a bind mount of itself.
///
/// The kernel refuses `pivot_root` to a process whose root is the very first mount, and without
/// `pivot_root` a container could reach the guest's root. A bind mount of the same file system,
/// moved to `/`, costs nothing and is an ordinary mount.
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

/// A file system of the kernel's own, without a device.
struct KernelFileSystem {
    kind: &'static str,
    at: &'static str,
    flags: MsFlags,
    options: &'static str,
}

const KERNEL_FILE_SYSTEMS: [KernelFileSystem; 9] = [
    KernelFileSystem::new("proc", "/proc", RESTRICTED, ""),
    KernelFileSystem::new("sysfs", "/sys", RESTRICTED, ""),
    KernelFileSystem::new("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
    KernelFileSystem::new(
        "devpts",
        "/dev/pts",
        NO_PROGRAMS,
        "gid=5,mode=0620,ptmxmode=0666",
    ),
    KernelFileSystem::new("tmpfs", "/dev/shm", DATA, "mode=1777"),
    KernelFileSystem::new("mqueue", "/dev/mqueue", RESTRICTED, ""),
    KernelFileSystem::new("tmpfs", "/run", DATA_AND_PROGRAMS, "mode=0755"),
    KernelFileSystem::new("tmpfs", "/tmp", DATA, "mode=1777"),
    KernelFileSystem::new("cgroup2", "/sys/fs/cgroup", RESTRICTED, "nsdelegate"),
];

const NO_PROGRAMS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
const RESTRICTED: MsFlags = NO_PROGRAMS.union(MsFlags::MS_NODEV);
const DATA: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
/// The writable layers of containers are below `/run`, and an overlay allows no more than the mount
/// of its upper directory.
const DATA_AND_PROGRAMS: MsFlags = MsFlags::empty();

impl KernelFileSystem {
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

/// Mounts `/proc`, `/sys`, `/dev` and the other file systems that Linux programs expect.
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

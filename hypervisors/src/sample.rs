//! A VM for tests that ask how one is described. Nothing that it names is there.

use crate::{DiskSlots, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, VmSpec};

/// One vCPU, 1 MiB of memory in no file, no device.
pub fn spec() -> VmSpec {
    VmSpec {
        id: "a".into(),
        run_dir: "/run/a".into(),
        vcpus: 1,
        max_vcpus: 1,
        memory: MemorySpec {
            mib: 1,
            max_mib: 1,
            backing: MemoryBacking::Anonymous,
        },
        kernel: KernelSpec {
            kernel: "/no/kernel".into(),
            root: GuestRoot::Initrd("/no/initrd".into()),
            command_line: String::new(),
        },
        netns: None,
        slots: DiskSlots::default(),
        nic: None,
    }
}

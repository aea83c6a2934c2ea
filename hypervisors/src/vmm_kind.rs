//! Which VMMs there are.

/// Which VMM it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmmKind {
    /// QEMU, with KVM or emulated.
    Qemu,
    /// Cloud Hypervisor, which needs KVM.
    Clh,
}

impl VmmKind {
    /// All that this crate can run.
    pub const ALL: [Self; 2] = [Self::Qemu, Self::Clh];

    /// Its name in configuration files and records: `qemu` or `clh`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Clh => "clh",
        }
    }

    /// Its name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::Clh => "Cloud Hypervisor",
        }
    }

    /// What the file names of its binaries begin with.
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Qemu => &["qemu-system-", "qemu-kvm"],
            Self::Clh => &["cloud-hypervisor"],
        }
    }
}

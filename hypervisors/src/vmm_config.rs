//! The VMM that an operator chose, whichever it is.

use std::path::{Path, PathBuf};

use crate::{
    Hypervisor, Result,
    clh::{Clh, ClhConfig},
    qemu::{Qemu, QemuConfig},
};

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

    /// Its binary where nothing else is configured.
    pub fn default_binary(self) -> PathBuf {
        match self {
            Self::Qemu => QemuConfig::default().binary,
            Self::Clh => ClhConfig::default().binary,
        }
    }
}

/// A VMM and how it is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmmConfig {
    /// How QEMU is to be run.
    Qemu(QemuConfig),
    /// How Cloud Hypervisor is to be run.
    Clh(ClhConfig),
}

impl VmmConfig {
    /// Which VMM it configures.
    pub fn kind(&self) -> VmmKind {
        match self {
            Self::Qemu(_) => VmmKind::Qemu,
            Self::Clh(_) => VmmKind::Clh,
        }
    }

    /// Path of its binary.
    pub fn binary(&self) -> &Path {
        match self {
            Self::Qemu(config) => &config.binary,
            Self::Clh(config) => &config.binary,
        }
    }

    /// Finds out what the VMM is and what it can do here.
    ///
    /// # Errors
    /// [`Error::Unusable`](crate::Error::Unusable) says what is wrong with the binary or with a
    /// choice.
    pub async fn probe(self, log: &slog::Logger) -> Result<Box<dyn Hypervisor>> {
        Ok(match self {
            Self::Qemu(config) => Box::new(Qemu::probe(config, log).await?),
            Self::Clh(config) => Box::new(Clh::probe(config, log).await?),
        })
    }
}

//! The VMM that an operator chose, whichever it is.

use std::path::{Path, PathBuf};

use crate::{
    Hypervisor, Result,
    clh::{Clh, ClhConfig},
    qemu::{Qemu, QemuConfig},
    vmm_kind::VmmKind,
};

impl VmmKind {
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

//! The VMM that an operator chose, whichever it is.

use crate::{
    Hypervisor, Result,
    clh::{Clh, ClhConfig},
    qemu::{Qemu, QemuConfig},
};

/// A VMM and how it is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmmConfig {
    /// QEMU.
    Qemu(QemuConfig),
    /// Cloud Hypervisor.
    Clh(ClhConfig),
}

impl VmmConfig {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Qemu(_) => "QEMU",
            Self::Clh(_) => "Cloud Hypervisor",
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

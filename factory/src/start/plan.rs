//! Restore or boot: decided once per VM, with the reason.

use hypervisors::{Hypervisor, VmSpec};
use system::error::chain;

use crate::{
    identity::{IdentityError, TemplateIdentity},
    start::record::DISABLED,
    store::TemplateStore,
    template::Template,
    unfit::Unfit,
};

/// What will be done.
#[derive(Debug)]
pub enum StartPlan {
    /// Restore this template.
    Restore(Box<Template>),
    /// Boot.
    Boot(BootReason),
}

/// Why a VM is booted and not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootReason {
    /// The configuration says so.
    #[error("Templates are not enabled")]
    Disabled,
    /// The monitor cannot do it.
    #[error("Monitor {monitor} cannot restore a VM copy-on-write")]
    NotSupported {
        /// Its name.
        monitor: &'static str,
    },
    /// A file that the VM would be made from cannot be looked at.
    #[error("Whether a template fits is unknown: {}", chain(.0))]
    Unknown(IdentityError),
    /// No template is there, or none fits.
    #[error(transparent)]
    Unfit(Unfit),
    /// A restore was tried.
    #[error("Restore failed: {reason}")]
    RestoreFailed {
        /// Of which template.
        template_key: String,
        /// In which step, and why.
        reason: String,
    },
    /// A VM was restored, and did not grow to the size that its pod needs.
    #[error("Restored VM did not grow: {reason}")]
    NotGrown {
        /// Of which template.
        template_key: String,
        /// Why not.
        reason: String,
    },
}

impl BootReason {
    /// A short stable word for the reason, for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Disabled => DISABLED,
            Self::NotSupported { .. } => "not-supported",
            Self::Unknown(_) => "unknown",
            Self::Unfit(unfit) => unfit.label(),
            Self::RestoreFailed { .. } => "restore-failed",
            Self::NotGrown { .. } => "not-grown",
        }
    }

    pub(super) fn template_key(&self) -> Option<&str> {
        match self {
            Self::RestoreFailed { template_key, .. } | Self::NotGrown { template_key, .. } => {
                Some(template_key)
            }
            _ => None,
        }
    }
}

/// Decides. `fetched` is what was found where templates are enabled, `None` where they are not.
pub fn plan(fetched: Option<Result<Template, Unfit>>) -> StartPlan {
    match fetched {
        None => StartPlan::Boot(BootReason::Disabled),
        Some(Ok(template)) => StartPlan::Restore(Box::new(template)),
        Some(Err(unfit)) => StartPlan::Boot(BootReason::Unfit(unfit)),
    }
}

/// Looks for a template of the VM that `spec` describes, and decides. Never makes a template.
pub async fn choose(
    enabled: bool,
    store: &TemplateStore,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
) -> StartPlan {
    if !enabled {
        return plan(None);
    }
    let monitor = hypervisor.identity();
    if !hypervisor.capabilities().private_file_restore {
        return StartPlan::Boot(BootReason::NotSupported {
            monitor: monitor.vmm,
        });
    }
    match TemplateIdentity::of(monitor, spec) {
        Ok(wanted) => plan(Some(store.fetch(&wanted).await)),
        Err(error) => StartPlan::Boot(BootReason::Unknown(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_fitting_template_the_plan_is_a_boot_with_the_reason() {
        let table: [(Option<Unfit>, &str, &str); 7] = [
            (None, "disabled", "Templates are not enabled"),
            (
                Some(Unfit::Absent { path: "/t".into() }),
                "absent",
                "There is no VM template in /t",
            ),
            (
                Some(Unfit::Damaged {
                    what: "/t/state has 3 bytes, not 4".into(),
                }),
                "damaged",
                "Template is damaged: /t/state has 3 bytes, not 4",
            ),
            (
                Some(Unfit::FormatVersion { found: 9 }),
                "format-version",
                "Template has format version 9, this program reads 3",
            ),
            (
                Some(Unfit::SetAside {
                    failures: 3,
                    last: "agent silent".into(),
                }),
                "set-aside",
                "Template is set aside after 3 failed restores in a row, the last: agent silent",
            ),
            (
                Some(Unfit::NotPrivate {
                    path: "/t".into(),
                    mode: 0o755,
                    owner: 7,
                }),
                "not-private",
                "Template: /t is not private (mode 0755, owner 7); it must belong to the user who \
                 starts VMs and be closed to all others",
            ),
            (
                Some(Unfit::Unreadable {
                    path: "/t".into(),
                    source: std::io::Error::from(std::io::ErrorKind::PermissionDenied),
                }),
                "unreadable",
                "Template: cannot read /t: permission denied",
            ),
        ];
        for (unfit, label, text) in table {
            match plan(unfit.map(Err)) {
                StartPlan::Boot(reason) => {
                    assert_eq!(reason.label(), label);
                    assert_eq!(reason.to_string(), text);
                }
                StartPlan::Restore(_) => panic!("{label}: restored"),
            }
        }
    }
}

//! `imprint check`: whether VMs can be started here with this configuration, point by point.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use factory::{
    Unusable,
    start::{BootReason, Plan, Way},
};
use hypervisors::{DiskSlots, GuestRoot, VmmConfig, qemu::ChannelKind};
use slog::Logger;
use system::error::chain;

use crate::{Outcome, setup::Setup};

/// What was found about one point.
enum Verdict {
    Good(String),
    /// Works, but an operator may want it otherwise.
    Note(String),
    Problem(String),
}

/// Prints a line for each point; false if there is a problem.
pub(crate) async fn check(config: Option<&Path>, log: &Logger) -> Outcome {
    let setup = match Setup::load(config, log) {
        Ok(setup) => setup,
        Err(error) => return Ok(tell("configuration", &Verdict::Problem(chain(&error)))),
    };
    let mut good = tell("configuration", &Verdict::Good(files(&setup.config.files)));
    let spec = match setup.spec().await {
        Ok(spec) => spec,
        Err(error) => return Ok(tell("network", &Verdict::Problem(chain(&error)))),
    };
    good &= tell("VM", &Verdict::Good(spec.size().to_string()));
    good &= tell("kernel", &readable(&spec.kernel.kernel));
    match &spec.kernel.root {
        GuestRoot::Initrd(path) => good &= tell("initrd", &readable(path)),
        GuestRoot::Image(path) => good &= tell("image", &readable(path)),
    }
    let name = setup.config.hypervisor.vmm.kind().title();
    match setup.vmm(log).await {
        Err(error) => good &= tell(name, &Verdict::Problem(chain(&error))),
        Ok(vmm) => {
            let identity = vmm.identity();
            let found = format!("{} {}", identity.binary.display(), identity.version);
            good &= tell(name, &Verdict::Good(found));
            good &= tell("machine", &Verdict::Good(identity.machine.to_string()));
            good &= tell("CPU", &Verdict::Good(identity.cpu.clone()));
            good &= tell("agent", &channel(&setup.config.hypervisor.vmm));
            let possible = vmm.capabilities().disk_slots;
            good &= tell("disk slots", &slots(&spec.slots, possible));
            let plan = setup.survey(&spec, vmm.as_ref()).await.plan();
            good &= tell("template", &template(&plan));
        }
    }
    Ok(good)
}

fn files(read: &[PathBuf]) -> String {
    let names: Vec<_> = read.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

fn readable(path: &Path) -> Verdict {
    let is_file = File::open(path).and_then(|file| Ok(file.metadata()?.is_file()));
    match is_file {
        Ok(true) => Verdict::Good(path.display().to_string()),
        Ok(false) => Verdict::Problem(format!("{} is not a file", path.display())),
        Err(error) => Verdict::Problem(format!("{}: {error}", path.display())),
    }
}

/// Who can reach the agent of a VM.
fn channel(vmm: &VmmConfig) -> Verdict {
    match vmm {
        VmmConfig::Qemu(qemu) if qemu.agent_channel == ChannelKind::Vsock => Verdict::Note(
            "reached by vsock: every process of this host can connect to it, without any privilege"
                .to_owned(),
        ),
        VmmConfig::Qemu(_) => Verdict::Good("reached by virtio-serial".to_owned()),
        VmmConfig::Clh(_) => Verdict::Good("reached by a socket of the VMM".to_owned()),
    }
}

fn slots(slots: &DiskSlots, possible: bool) -> Verdict {
    match (slots.count, possible) {
        (0, _) => Verdict::Note("none; the disk of every container is hot-plugged".to_owned()),
        (count, true) => Verdict::Good(format!("{count} of {} MiB", slots.mib)),
        (_, false) => Verdict::Note(
            "their content cannot be exchanged here (Cloud Hypervisor needs /dev/loop-control, \
             QEMU blockdev-reopen); all disks but a pod's first may be hot-plugged"
                .to_owned(),
        ),
    }
}

/// A template that was never made is a choice; one that cannot be used is a problem.
fn template(plan: &Plan) -> Verdict {
    match &plan.way {
        Way::Restore { key, .. } => Verdict::Good(format!("matches, key {key:.16}")),
        Way::Boot { reason } => match reason {
            BootReason::Disabled => Verdict::Note(reason.to_string()),
            BootReason::NoTemplate(Unusable::Absent { .. }) => {
                Verdict::Note(format!("{reason}; `imprint factory init` makes one"))
            }
            _ => Verdict::Problem(reason.to_string()),
        },
    }
}

fn tell(point: &str, verdict: &Verdict) -> bool {
    let (mark, text) = match verdict {
        Verdict::Good(text) => ("ok", text),
        Verdict::Note(text) => ("note", text),
        Verdict::Problem(text) => ("PROBLEM", text),
    };
    println!("{mark:<8}{point}: {text}");
    !matches!(verdict, Verdict::Problem(_))
}

#[cfg(test)]
mod tests {
    use factory::start::FirstDisk;
    use hypervisors::{VmSize, qemu::QemuConfig};

    use super::*;

    #[test]
    fn only_a_template_that_cannot_be_used_is_a_problem() {
        let verdict = |reason| {
            template(&Plan {
                size: VmSize {
                    memory_mib: 256,
                    vcpus: 1,
                },
                first_disk: FirstDisk::Later,
                way: Way::Boot { reason },
            })
        };
        let absent = verdict(BootReason::NoTemplate(Unusable::Absent {
            path: "/t".into(),
        }));
        assert!(matches!(absent, Verdict::Note(text) if text.contains("factory init")));
        let damaged = verdict(BootReason::NoTemplate(Unusable::Damaged {
            what: "x".into(),
        }));
        assert!(matches!(damaged, Verdict::Problem(_)));
        assert!(matches!(verdict(BootReason::Disabled), Verdict::Note(_)));
    }

    #[test]
    fn an_agent_that_the_host_can_reach_is_told() {
        let qemu = |agent_channel| {
            channel(&VmmConfig::Qemu(QemuConfig {
                agent_channel,
                ..QemuConfig::default()
            }))
        };
        assert!(matches!(qemu(ChannelKind::Vsock), Verdict::Note(_)));
        assert!(matches!(qemu(ChannelKind::Serial), Verdict::Good(_)));
    }

    #[test]
    fn slots_that_cannot_be_filled_are_told() {
        let some = |count| DiskSlots {
            count,
            mib: 16,
            contents: vec![],
        };
        assert!(matches!(slots(&some(2), true), Verdict::Good(text) if text == "2 of 16 MiB"));
        assert!(matches!(slots(&some(2), false), Verdict::Note(_)));
        assert!(matches!(slots(&some(0), true), Verdict::Note(_)));
    }

    #[test]
    fn a_missing_or_wrong_kernel_is_a_problem() {
        assert!(matches!(
            readable(Path::new("/nonexistent")),
            Verdict::Problem(_)
        ));
        assert!(matches!(readable(Path::new("/")), Verdict::Problem(_)));
    }
}

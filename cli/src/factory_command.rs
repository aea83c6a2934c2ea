//! `imprint factory init` and `destroy`.

use factory::{NewTemplates, Step, in_foreign_mount_namespace, init as make_templates};
use slog::Logger;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Outcome, setup::Setup};

pub(crate) async fn init(setup: &Setup, replace: bool, log: &Logger) -> Outcome {
    if !setup.enabled() {
        return Err("vm factory is not enabled (enable_template in [factory])".into());
    }
    warn_of_mount_namespace();
    // Before anything is made: a signal that comes later is not lost.
    let stop = stop_signals()?;
    let vmm = setup.vmm(log).await?;
    let specs = setup.template_specs().await?;
    let new = NewTemplates {
        store: &setup.store,
        vmm: vmm.as_ref(),
        specs: &specs,
        replace,
        agent_timeout: setup.config.agent.connect_timeout,
        log,
    };
    let progress = |step, size| match step {
        Step::Booting => eprintln!("imprint: {step} ({size})"),
        _ => eprintln!("imprint: {step}"),
    };
    for template in make_templates(new, &progress, any_of(stop)).await? {
        eprintln!(
            "imprint: template {:.16} ({}) is in {}",
            template.key(),
            template.size(),
            template.dir().display()
        );
    }
    println!("vm factory initialized");
    Ok(true)
}

/// Works also where templates are not enabled any more: what an earlier configuration left can be
/// removed.
pub(crate) async fn destroy(setup: &Setup) -> Outcome {
    warn_of_mount_namespace();
    setup.store.destroy().await?;
    println!("vm factory destroyed");
    Ok(true)
}

fn warn_of_mount_namespace() {
    if in_foreign_mount_namespace() == Some(true) {
        eprintln!(
            "imprint: warning: this is not the mount namespace of process 1: a template made or \
             destroyed here may be invisible to the node's shims. To act on the node, run this \
             under `nsenter --mount=/proc/1/ns/mnt`"
        );
    }
}

fn stop_signals() -> std::io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ])
}

async fn any_of([mut a, mut b, mut c]: [Signal; 3]) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
        _ = c.recv() => {}
    }
    eprintln!("imprint: interrupted, removing what was made");
}

//! Making templates: a VM is booted on the template's memory, paused once its agent has answered
//! and was let go of, saved, and ended. What was made stays aside until it is complete.

mod building;
mod error;
mod making;
mod place;

use std::{fmt, future::Future, time::Duration};

use agent_client::Agent;
use hypervisors::{Hypervisor, MemoryBacking, Vm, VmSize, VmSpec};
use slog::{Logger, info};
use system::time::since_epoch;

pub use error::InitError;

use self::{building::Building, making::Making};
use crate::{
    identity::TemplateIdentity,
    start::{guest_channel, refresh},
    store::TemplateStore,
    template::Template,
};

/// Parameter of the kernel command line that carries [`crate::Manifest::nonce`].
const NONCE_PARAMETER: &str = "imprint.template";

/// Templates to make.
#[derive(Clone, Copy)]
pub struct NewTemplates<'a> {
    /// Where they will be.
    pub store: &'a TemplateStore,
    /// The VMM that makes them, and can restore them.
    pub vmm: &'a dyn Hypervisor,
    /// The VM that each is made of; ids, run directories and memory backings are not used.
    pub specs: &'a [VmSpec],
    /// Make new ones although there are some; the old ones go when all new ones are there.
    pub replace: bool,
    /// How long each guest may take until its agent answers.
    pub agent_timeout: Duration,
    /// Told of each template that was made.
    pub log: &'a Logger,
}

/// Where the making of a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Directory, tmpfs and memory file are made, source files hashed.
    Preparing,
    /// The VM boots.
    Booting,
    /// The guest runs; its agent is asked.
    Asking,
    /// The VM is paused and saved.
    Saving,
    /// The source VM is gone; the saved memory is hashed.
    Sealing,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "preparing the template directory",
            Self::Booting => "booting the template VM",
            Self::Asking => "waiting for the guest's agent",
            Self::Saving => "saving the VM",
            Self::Sealing => "checking what was saved",
        })
    }
}

/// Hears of each step as it begins, and of the template's size.
pub type Progress<'a> = &'a (dyn Fn(Step, VmSize) + Send + Sync);

/// Makes templates, one after the other, and returns them, leased.
///
/// When a step fails, or `cancelled` ends first, everything made is removed again: process, files,
/// mount and directory, and also the templates that were finished.
pub async fn init(
    new: NewTemplates<'_>,
    progress: Progress<'_>,
    cancelled: impl Future<Output = ()>,
) -> Result<Vec<Template>, InitError> {
    let NewTemplates { store, vmm, .. } = new;
    if !vmm.capabilities().private_file_restore {
        return Err(InitError::NotSupported {
            vmm: vmm.identity().vmm,
        });
    }
    let wanted: Vec<_> = new
        .specs
        .iter()
        .map(|spec| Ok((spec, TemplateIdentity::of(vmm.identity(), spec)?)))
        .collect::<Result<_, InitError>>()?;
    place::make_parents(store)?;
    let _lock = store.lock().await?;
    let old = place::existing(store, new.replace)?;
    let mut making = Making::begin(store, &old, new.specs).await?;

    let made = tokio::select! {
        made = making.all(&new, wanted, progress) => made,
        () = cancelled => Err(InitError::Interrupted),
    };
    let templates = match made {
        Ok(templates) => templates,
        Err(error) => return Err(making.undo(error).await),
    };
    for dir in &old {
        store.retire(dir).await?;
    }
    for template in &templates {
        info!(new.log, "template made"; "template_key" => template.key(),
            "size" => %template.size(), "dir" => %template.dir().display());
    }
    Ok(templates)
}

/// Makes one template.
async fn make(
    building: &mut Building,
    new: &NewTemplates<'_>,
    spec: &VmSpec,
    identity: TemplateIdentity,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Template, InitError> {
    progress(Step::Preparing);
    building.make_memory().await?;
    let identity = crate::store::blocking(move || identity.digested(None)).await?;

    progress(Step::Booting);
    let source = source_spec(building, spec);
    let vm = new
        .vmm
        .boot(&source)
        .await
        .map_err(InitError::at(Step::Booting))?;
    building.vm = Some(vm.clone());

    progress(Step::Asking);
    tokio::select! {
        seen = see_agent(vm.as_ref(), new.agent_timeout) => seen?,
        exit = vm.wait() => return Err(InitError::Ended { last_words: exit.last_words }),
    }

    progress(Step::Saving);
    vm.pause().await.map_err(InitError::at(Step::Saving))?;
    vm.save(building.dir())
        .await
        .map_err(InitError::at(Step::Saving))?;
    // The source maps the memory shared: as long as it lives, it could change it.
    vm.kill().await.map_err(InitError::at(Step::Saving))?;
    vm.wait().await;
    building.vm = None;

    progress(Step::Sealing);
    building.seal(identity, since_epoch().as_secs()).await
}

/// The template's own VM: memory that is the file, sockets aside, and the nonce on the command line.
fn source_spec(building: &Building, spec: &VmSpec) -> VmSpec {
    let mut source = spec.clone();
    source.id = format!("template-{:.8}", building.nonce());
    source.run_dir = building.run_dir();
    source.memory.backing = MemoryBacking::File {
        path: building.memory(),
        shared: true,
    };
    let line = &mut source.kernel.command_line;
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(&format!("{NONCE_PARAMETER}={}", building.nonce()));
    source
}

/// Sees the agent answer, and sees that the connection it answered on is over: a second one is only
/// served when the first was let go of. The second one is closed at once with nothing asked on it
/// that could be under way when the VM is paused.
async fn see_agent(vm: &dyn Vm, deadline: Duration) -> Result<(), InitError> {
    let channel = guest_channel(vm);
    let agent = Agent::connect(&channel, deadline)
        .await
        .map_err(InitError::Agent)?;
    // What every clone is asked first: whether this guest can do it shows now, and the pages that
    // it takes are in the saved memory.
    let refreshed = refresh(&agent).await;
    refreshed.map_err(|failure| InitError::NotUnique {
        reason: failure.to_string(),
    })?;
    drop(agent);
    let agent = Agent::connect(&channel, deadline)
        .await
        .map_err(InitError::Agent)?;
    agent.check().await.map_err(InitError::Agent)
}

//! Makes templates: a VM is booted on the template's memory, paused once its agent has answered and
//! the connection is closed, saved, and ended. A template is invisible to shims until it is
//! complete.

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

/// The templates that a command makes.
#[derive(Clone, Copy)]
pub struct NewTemplates<'a> {
    /// The directory in which they will be.
    pub store: &'a TemplateStore,
    /// The VMM that makes them, and can restore them.
    pub vmm: &'a dyn Hypervisor,
    /// The VM that each is made from; ids, run directories and memory backings are ignored.
    pub specs: &'a [VmSpec],
    /// Whether existing templates are replaced. They are removed once all new ones are made.
    pub replace: bool,
    /// The timeout for each guest's agent to answer.
    pub agent_timeout: Duration,
    /// Gets a line for each template that was made.
    pub log: &'a Logger,
}

/// A step in the making of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The memory file is made, and the files that the VM is made from are hashed.
    Preparing,
    /// The VM is booted from its kernel.
    Booting,
    /// The guest runs, and its agent is asked for what each clone's will be asked for.
    Asking,
    /// The VM is paused and saved.
    Saving,
    /// The VM has ended; the saved memory is hashed, and the template is published.
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

/// Called when a step begins, with the template's size.
pub type Progress<'a> = &'a (dyn Fn(Step, VmSize) + Send + Sync);

/// Makes templates, one after the other, and returns them with their leases.
///
/// # Errors
/// A step failed, or `cancelled` completed first. Everything that was made is removed again:
/// process, files, mount and directory, and also the templates that were finished.
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

/// Makes one template in the directory that `building` has made.
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
        answered = wait_for_agent(vm.as_ref(), new.agent_timeout) => answered?,
        exit = vm.wait() => return Err(InitError::Ended { last_words: exit.last_words }),
    }

    progress(Step::Saving);
    vm.pause().await.map_err(InitError::at(Step::Saving))?;
    vm.save(building.dir())
        .await
        .map_err(InitError::at(Step::Saving))?;
    // The source maps the memory shared: as long as it runs, it could change it.
    vm.kill().await.map_err(InitError::at(Step::Saving))?;
    vm.wait().await;
    building.vm = None;

    progress(Step::Sealing);
    building.seal(identity, since_epoch().as_secs()).await
}

/// The template's own VM: its memory is the template's file, its sockets are in the template's run
/// directory, and its command line has the nonce.
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

/// Waits until the agent has answered, and until the connection on which it answered is over: a
/// second connection is served only after the first is closed. The second one is closed at once as
/// well, and leaves no request that could be under way when the VM is paused.
async fn wait_for_agent(vm: &dyn Vm, timeout: Duration) -> Result<(), InitError> {
    let channel = guest_channel(vm);
    let agent = Agent::connect(&channel, timeout)
        .await
        .map_err(InitError::Agent)?;
    // Every clone is asked this first. Asked now, it shows whether this guest can do it, and the
    // memory that it takes is in the template already.
    let refreshed = refresh(&agent).await;
    refreshed.map_err(|failure| InitError::NotUnique {
        reason: failure.to_string(),
    })?;
    drop(agent);
    let agent = Agent::connect(&channel, timeout)
        .await
        .map_err(InitError::Agent)?;
    agent.check().await.map_err(InitError::Agent)
}

//! Process namespaces that containers join: held by descriptor, so that none is ever looked for by a number
//! that another process may have by now.

pub mod keeper;

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use agent_client::oci::Spec;
use tokio::sync::Mutex;

use self::keeper::Keeper;
use crate::{
    error::{Doing, Error, Result},
    reaper::{Exit, Reaper},
};

/// The annotation by which a host says what a container is to its pod, and its word for the one that the
/// pod lives and ends with.
const KIND: &str = "io.katacontainers.pkg.oci.container_type";
const SANDBOX: &str = "pod_sandbox";

/// A process namespace, and who keeps it.
#[derive(Debug)]
pub struct PidNamespace {
    descriptor: OwnedFd,
    init: Init,
}

/// Process 1 of a namespace. Without it the namespace takes no more processes.
#[derive(Debug)]
enum Init {
    /// That of a container.
    Container { id: String, exit: Exit },
    /// The agent's own.
    Keeper(Keeper),
}

impl PidNamespace {
    /// The namespace of a container's first process.
    ///
    /// # Errors
    ///
    /// When that has ended.
    pub fn of_container(reaper: &Reaper, id: &str, pid: i32, exit: &Exit) -> Result<Self> {
        let id = id.to_owned();
        let opened = reaper.while_present(pid, || open(pid));
        let descriptor = opened.ok_or_else(|| gone(&id))??;
        let exit = exit.clone();
        Ok(Self {
            descriptor,
            init: Init::Container { id, exit },
        })
    }

    /// A name by which the agent's children can open it, as long as this value lives.
    pub fn path(&self) -> String {
        let (agent, descriptor) = (std::process::id(), self.descriptor.as_raw_fd());
        format!("/proc/{agent}/fd/{descriptor}")
    }

    fn check(&self) -> Result<()> {
        match &self.init {
            Init::Container { id, exit } if exit.borrow().is_some() => Err(gone(id)),
            Init::Container { .. } | Init::Keeper(_) => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        match &self.init {
            Init::Container { .. } => false,
            Init::Keeper(keeper) => keeper.has_ended(),
        }
    }
}

fn open(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/pid");
    let path = Path::new(&path);
    Ok(File::open(path).on("open", path)?.into())
}

fn gone(id: &str) -> Error {
    Error::State(format!(
        "The process namespace of container {id} has ended with its first process"
    ))
}

/// Whether this is the container that the pod lives and ends with.
pub fn is_sandbox(spec: &Spec) -> bool {
    spec.Annotations
        .get(KIND)
        .is_some_and(|kind| kind == SANDBOX)
}

/// The process namespace that the containers of a pod share: that of its sandbox container, else one with
/// an init of the agent's own, which lives as long as the pod.
#[derive(Debug, Default)]
pub struct PodProcesses(Mutex<Option<Arc<PidNamespace>>>);

impl PodProcesses {
    /// The pod's containers share this one from now on.
    pub async fn are_in(&self, namespace: PidNamespace) {
        *self.0.lock().await = Some(Arc::new(namespace));
    }

    /// The one to join.
    ///
    /// # Errors
    ///
    /// When the sandbox container has ended, or there is none and no init can be made.
    pub async fn namespace(&self, reaper: &Arc<Reaper>) -> Result<Arc<PidNamespace>> {
        let mut present = self.0.lock().await;
        if let Some(namespace) = &*present
            && !namespace.is_over()
        {
            namespace.check()?;
            return Ok(Arc::clone(namespace));
        }
        let (keeper, descriptor) = Keeper::start(reaper).await?;
        let init = Init::Keeper(keeper);
        let namespace = Arc::new(PidNamespace { descriptor, init });
        *present = Some(Arc::clone(&namespace));
        Ok(namespace)
    }

    /// Ends the namespace if it is the agent's own.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

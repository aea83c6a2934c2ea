//! Pid namespaces that containers join.
//!
//! They are held by descriptor. A namespace is never looked for by a pid, which may be that of
//! another process by now.

pub mod init;

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use agent_client::oci::Spec;
use tokio::sync::Mutex;

use self::init::OwnInit;
use crate::{
    error::{Doing, Error, Result},
    reaper::{Exit, Reaper},
};

/// The annotation that says what a container is to its pod.
const CONTAINER_TYPE: &str = "io.katacontainers.pkg.oci.container_type";
/// Its value for the container that the pod begins and ends with.
const SANDBOX: &str = "pod_sandbox";

/// A pid namespace and its process 1.
#[derive(Debug)]
pub struct PidNamespace {
    descriptor: OwnedFd,
    init: Init,
}

/// Process 1 of a pid namespace. When it ends, the namespace takes no new processes.
#[derive(Debug)]
enum Init {
    /// The first process of a container.
    Container { id: String, exit: Exit },
    /// A process of the agent's own.
    Own(OwnInit),
}

impl PidNamespace {
    /// The namespace of a container's first process.
    ///
    /// # Errors
    ///
    /// When that process has ended.
    pub fn of_container(reaper: &Reaper, id: &str, pid: i32, exit: &Exit) -> Result<Self> {
        let id = id.to_owned();
        let opened = reaper.while_running(pid, || open(pid));
        let descriptor = opened.ok_or_else(|| gone(&id))??;
        let exit = exit.clone();
        Ok(Self {
            descriptor,
            init: Init::Container { id, exit },
        })
    }

    /// A path by which the agent's children can open the namespace, as long as this value exists.
    pub fn path(&self) -> String {
        let (agent, descriptor) = (std::process::id(), self.descriptor.as_raw_fd());
        format!("/proc/{agent}/fd/{descriptor}")
    }

    /// Fails when the container whose process 1 it is has ended.
    fn check(&self) -> Result<()> {
        match &self.init {
            Init::Container { id, exit } if exit.borrow().is_some() => Err(gone(id)),
            Init::Container { .. } | Init::Own(_) => Ok(()),
        }
    }

    /// Whether the agent's own process 1 has ended.
    fn is_over(&self) -> bool {
        match &self.init {
            Init::Container { .. } => false,
            Init::Own(init) => init.has_ended(),
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
        "The pid namespace of container {id} has ended with its first process"
    ))
}

/// Whether this is the container that the pod begins and ends with.
pub fn is_sandbox(spec: &Spec) -> bool {
    spec.Annotations
        .get(CONTAINER_TYPE)
        .is_some_and(|kind| kind == SANDBOX)
}

/// The pid namespace that the containers of a pod share: that of the sandbox container, else one
/// with a process 1 of the agent's own, which lives as long as the pod.
#[derive(Debug, Default)]
pub struct SharedPidNamespace(Mutex<Option<Arc<PidNamespace>>>);

impl SharedPidNamespace {
    /// Makes `namespace` the one that the pod's containers share from now on.
    pub async fn set(&self, namespace: PidNamespace) {
        *self.0.lock().await = Some(Arc::new(namespace));
    }

    /// The namespace to join; makes one if there is none.
    ///
    /// # Errors
    ///
    /// When the sandbox container has ended, or process 1 of a new namespace does not start.
    pub async fn get_or_make(&self, reaper: &Arc<Reaper>) -> Result<Arc<PidNamespace>> {
        let mut present = self.0.lock().await;
        if let Some(namespace) = &*present
            && !namespace.is_over()
        {
            namespace.check()?;
            return Ok(Arc::clone(namespace));
        }
        let (init, descriptor) = OwnInit::start(reaper).await?;
        let init = Init::Own(init);
        let namespace = Arc::new(PidNamespace { descriptor, init });
        *present = Some(Arc::clone(&namespace));
        Ok(namespace)
    }

    /// Ends the namespace if its process 1 is the agent's own.
    pub async fn clear(&self) {
        *self.0.lock().await = None;
    }
}

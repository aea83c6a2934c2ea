//! A pod that runs: its sandbox, its containers, and what is undone at its end.

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use factory::start::StartReport;
use oci::SpecOptions;
use pod::{
    container::{Counts, CreatePhases, NewContainer},
    process::{Exit, TaskId},
    sandbox::{self, Sandbox},
};
use slog::Logger;
use tokio::sync::Mutex;

use crate::{
    containers::{Containers, Prepared},
    error::Error,
    network::KeptNetwork,
    pids::Pids,
    request::ContainerRequest,
};

/// A pod in its VM.
pub struct Pod {
    /// When it was ready for containers.
    pub created: SystemTime,
    /// Its containers and processes, as the guest has them.
    pub sandbox: Sandbox,
    pub(crate) containers: Containers,
    pub(crate) directory: PathBuf,
    pub(crate) report: StartReport,
    pub(crate) options: SpecOptions,
    pub(crate) disks: Arc<Counts>,
    /// What is left of its network's making.
    pub(crate) network: Mutex<KeptNetwork>,
    pub(crate) log: Logger,
}

impl Pod {
    /// Its id, and that of the container with which it ends, if it came with one.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.containers.main
    }

    /// How its VM was started.
    #[must_use]
    pub fn start_report(&self) -> &StartReport {
        &self.report
    }

    /// Its directory below the run root, which is private and ends with the pod.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many root file systems went into disk slots, and how many were hot-plugged.
    #[must_use]
    pub fn disk_counts(&self) -> Arc<Counts> {
        self.disks.clone()
    }

    /// The numbers that stand for its containers on this node.
    #[must_use]
    pub fn pids(&self) -> &Pids {
        &self.containers.pids
    }

    /// Starts a process; with the main container what a client has put into the pod's network
    /// namespace since its creation becomes its network.
    ///
    /// # Errors
    /// As [`Sandbox::start`], or the guest has no network.
    pub async fn start(&self, id: TaskId) -> Result<(), Error> {
        if id.exec.is_none() && id.container == self.containers.main {
            self.connect().await?;
        }
        Ok(self.sandbox.start(id).await?)
    }

    /// Makes its network of what a client has put into its network namespace since its creation,
    /// unless the namespace was there before the pod.
    ///
    /// # Errors
    /// The guest has no network, and the VM is gone.
    pub async fn connect(&self) -> Result<(), Error> {
        if let Some(network) = self.network.lock().await.take_late()
            && let Err(error) = network.attach(&self.log).await
        {
            // Started again it would run without its network.
            self.sandbox.stop().await;
            return Err(error.into());
        }
        Ok(())
    }

    /// Adds a container, up to the point where its init can be started.
    ///
    /// # Errors
    /// Nothing of it is left. [`Error::ContainerCancelled`] if it was deleted while its root file
    /// system was prepared.
    pub async fn add(&self, mut request: ContainerRequest) -> Result<(), Error> {
        self.containers.admit(&mut request).await?;
        let id = request.id.clone();
        let added = async {
            let prepared = self.containers.prepare(request, None).await?;
            self.create(prepared).await
        };
        match added.await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.containers.dismiss(&id).await;
                Err(error)
            }
        }
    }

    /// Has the guest make a container whose root file system is prepared.
    ///
    /// # Errors
    /// Nothing of it is left in the VM.
    pub(crate) async fn create(&self, prepared: Prepared) -> Result<CreatePhases, Error> {
        let Prepared {
            request, rootfs, ..
        } = prepared;
        let container = NewContainer {
            id: request.id,
            kind: request.kind,
            bundle: request.bundle,
            rootfs,
            mounts: request.mounts,
            stdio: request.stdio,
            options: self.options,
        };
        Ok(self.sandbox.create(container).await?)
    }

    /// Deletes a process; with the main container everything that is left of the pod.
    ///
    /// # Errors
    /// It has not ended, or does not exist.
    pub async fn delete(&self, id: TaskId) -> Result<Exit, Error> {
        let container = id.exec.is_none().then(|| id.container.clone());
        let exit = match self.sandbox.delete(id.clone()).await {
            // It may have been made just before it was cancelled.
            Err(sandbox::Error::NotFound(_)) if self.containers.cancel(&id).await => {
                self.sandbox.delete(id).await?
            }
            answer => answer?,
        };
        match container {
            Some(container) if container == self.containers.main => self.remove().await,
            Some(container) => self.containers.strike(&container).await,
            None => {}
        }
        Ok(exit)
    }

    /// Ends the pod, whatever runs in it, and returns when its VM and its directory are gone.
    pub async fn end(&self) {
        self.sandbox.stop().await;
        self.remove().await;
    }

    async fn remove(&self) {
        *self.network.lock().await = KeptNetwork::default();
        self.containers.remove().await;
    }
}

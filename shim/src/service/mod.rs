//! What is behind the Task and the sandbox API: the one pod of this shim, and the requests that
//! need more than a call on it.

mod api;
mod lifetime;
mod sandbox_api;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use assembly::{ContainerRequest, Launch, PodRequest};
use containerd_shim_protos::{
    api::{
        CreateTaskRequest, DeleteResponse, ExecProcessRequest, StateResponse, StatsResponse,
        Status, UpdateTaskRequest,
    },
    ttrpc,
};
use oci::ContainerKind;
use pod::{
    io::Stdio,
    process::{NewExec, Phase, TaskId},
    sandbox,
};
use rootfs::Mount;
use slog::{Logger, warn};
use system::error::chain;
use tokio::sync::Notify;

use crate::{
    error::Error,
    events, logging, options,
    pod::{Daemon, ServedPod, SharedPod},
    stats,
};
use lifetime::{Awaited, Place, Slot};

/// Serves the one pod of this shim.
pub struct TaskService {
    namespace: String,
    launch: Arc<dyn Launch>,
    slot: Place,
    /// Notified when the daemon is to end.
    exit: Arc<Notify>,
    log: Logger,
}

impl TaskService {
    /// A service without a pod.
    pub fn new(namespace: String, launch: Arc<dyn Launch>, exit: Arc<Notify>, log: Logger) -> Self {
        Self {
            namespace,
            launch,
            slot: Place::default(),
            exit,
            log,
        }
    }

    /// The pod, if one runs.
    fn pod(&self, task: &str) -> Result<SharedPod, Error> {
        match &*self.slot.now() {
            Slot::Up(pod) | Slot::Over(pod) => Ok(pod.clone()),
            Slot::Empty | Slot::Making { .. } | Slot::Closed => Err(Error::NoTask(task.to_owned())),
        }
    }

    async fn create_task(&self, request: CreateTaskRequest) -> Result<u32, Error> {
        if !request.checkpoint.is_empty() {
            return Err(Error::Unimplemented("Creating a task from a checkpoint"));
        }
        let stdio = Stdio::parse(
            request.terminal,
            &request.stdin,
            &request.stdout,
            &request.stderr,
        )
        .map_err(sandbox::Error::from)?;
        let new = ContainerRequest::read(
            request.id,
            Path::new(&request.bundle),
            request.rootfs.into_iter().map(read_mount).collect(),
            stdio,
        )?;
        let config = options::config_path(request.options.as_ref())?;
        match new.kind.clone() {
            ContainerKind::PodContainer { sandbox_id } => {
                let pod = self
                    .pod(&new.id)
                    .map_err(|_| Error::NoSandbox(sandbox_id))?;
                to_its_end("Adding the container", async move {
                    let id = new.id.clone();
                    pod.add(new).await?;
                    Ok(pod.pids().of(&id))
                })
                .await
            }
            ContainerKind::SingleContainer | ContainerKind::PodSandbox => {
                let pod = PodRequest::of_container(&new, config)?;
                self.create_pod(pod, Some(new)).await
            }
        }
    }

    async fn create_pod(
        &self,
        request: PodRequest,
        first: Option<ContainerRequest>,
    ) -> Result<u32, Error> {
        if !self.slot.begin(request.id()) {
            return Err(Error::SecondSandbox);
        }
        // A client that cancels does not end the making half-way: the slot follows what was made.
        let (launch, namespace) = (self.launch.clone(), self.namespace.clone());
        let (slot, log) = (self.slot.clone(), self.log.clone());
        let _awaited = Awaited(&self.slot);
        let making = tokio::spawn(async move {
            let daemon = Daemon {
                launch: &*launch,
                namespace: &namespace,
                debug: &logging::DEBUG,
                log: &log,
            };
            let made = ServedPod::open(request, first, daemon).await;
            let pod = slot.made(made.map(Arc::new), &log).await?;
            Ok(pod.sandbox.pid())
        });
        making.await.unwrap_or(Err(Error::Lost("Making the pod")))
    }

    async fn delete_task(&self, id: TaskId) -> Result<DeleteResponse, Error> {
        if id.exec.is_none() {
            self.slot.cancel(Some(&id.container));
        }
        let pod = self.pod(&id.container)?;
        let pid = pod.pids().of(&id.container);
        let slot = self.slot.clone();
        let exit = to_its_end("Deleting the task", async move {
            let exit = pod.delete(id).await?;
            if !pod.is_sandbox() && pod.sandbox.count().await == 0 {
                slot.over();
            }
            Ok(exit)
        });
        let exit = exit.await?;
        Ok(DeleteResponse {
            pid,
            exit_status: exit.status,
            exited_at: events::exited_at(exit),
            ..Default::default()
        })
    }

    async fn state_of(&self, id: TaskId) -> Result<StateResponse, Error> {
        let pod = self.pod(&id.container)?;
        let state = pod.sandbox.state(id.clone()).await?;
        Ok(StateResponse {
            pid: pod.pids().of(&id.container),
            id: id.container,
            exec_id: id.exec.unwrap_or_default(),
            bundle: state.bundle.to_string_lossy().into_owned(),
            status: status(state.phase).into(),
            stdin: state
                .stdio
                .stdin
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            stdout: events::stream_name(state.stdio.stdout.as_ref()),
            stderr: events::stream_name(state.stdio.stderr.as_ref()),
            terminal: state.stdio.terminal,
            exit_status: state.exit.map(|exit| exit.status).unwrap_or_default(),
            exited_at: state.exit.map(|exit| events::timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn add_exec(&self, request: ExecProcessRequest) -> Result<(), Error> {
        let pod = self.pod(&request.id)?;
        oci::validate_id(&request.exec_id).map_err(oci::OciError::from)?;
        let spec = request.spec.unwrap_or_default();
        let new = NewExec {
            process: oci::exec_process(&spec.type_url, &spec.value)?,
            stdio: Stdio::parse(
                request.terminal,
                &request.stdin,
                &request.stdout,
                &request.stderr,
            )
            .map_err(sandbox::Error::from)?,
            id: TaskId::new(request.id, request.exec_id),
        };
        Ok(pod.sandbox.add_exec(new).await?)
    }

    async fn counters(&self, id: String) -> Result<StatsResponse, Error> {
        let pod = self.pod(&id)?;
        let counters = pod.sandbox.stats(id).await?;
        let metrics = stats::metrics(counters, stats::host_is_v2());
        let any = events::any(&*metrics).map_err(|_| Error::Lost("Encoding the counters"))?;
        Ok(StatsResponse {
            stats: Some(any).into(),
            ..Default::default()
        })
    }

    async fn update_task(&self, request: UpdateTaskRequest) -> Result<(), Error> {
        let pod = self.pod(&request.id)?;
        let any = request.resources.unwrap_or_default();
        let resources = oci::update_resources(&any.type_url, &any.value)?;
        Ok(pod.sandbox.update(request.id, resources).await?)
    }

    fn answer<T>(&self, request: &'static str, result: Result<T, Error>) -> ttrpc::Result<T> {
        result.map_err(|error| {
            warn!(self.log, "request failed";
                "request" => request, "error" => chain(&error));
            error.into()
        })
    }
}

/// Does something to its end, whatever becomes of the client: its request is dropped at its
/// deadline, and no one would know what was half made.
async fn to_its_end<T: Send + 'static>(
    what: &'static str,
    work: impl Future<Output = Result<T, assembly::Error>> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::spawn(work).await.map_err(|_| Error::Lost(what))?;
    Ok(done?)
}

fn status(phase: Phase) -> Status {
    match phase {
        Phase::Creating | Phase::Created | Phase::Starting | Phase::Ending => Status::CREATED,
        Phase::Running => Status::RUNNING,
        Phase::Pausing => Status::PAUSING,
        Phase::Paused | Phase::Resuming => Status::PAUSED,
        Phase::Stopped | Phase::Deleting => Status::STOPPED,
    }
}

fn read_mount(mount: containerd_shim_protos::types::mount::Mount) -> Mount {
    Mount {
        fs_type: mount.type_,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    }
}

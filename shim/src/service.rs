//! The Task API, version 2 and 3: requests read, handed to the pod, answers written.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
        CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
        PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
        ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
        StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    shim_async::Task,
    ttrpc::{self, r#async::TtrpcContext},
};
use runtime_core::{
    io::Stdio,
    oci::{self, ContainerKind},
    process::{NewExec, TaskId},
    rootfs::Mount,
    sandbox::{self, Phase},
};
use slog::{Logger, info, warn};
use tokio::sync::{Notify, watch};

use crate::{
    create, error::{self, Error}, events, info::VERSION, launch::Launch, options,
    pod::{NewTask, SharedPod}, stats,
};

/// What the shim has of its pod.
#[derive(Clone)]
enum Slot {
    /// Nothing yet, or no more.
    Empty,
    /// One is being made.
    Making,
    /// It runs, or its remains wait to be deleted.
    Up(SharedPod),
}

/// Serves one pod.
pub struct TaskService {
    namespace: String,
    launch: Arc<dyn Launch>,
    slot: watch::Sender<Slot>,
    /// Told when the daemon is to end.
    exit: Arc<Notify>,
    log: Logger,
}

impl TaskService {
    /// A service without a pod.
    pub fn new(namespace: String, launch: Arc<dyn Launch>, exit: Arc<Notify>, log: Logger) -> Self {
        Self { namespace, launch, slot: watch::Sender::new(Slot::Empty), exit, log }
    }

    /// The pod, if one runs.
    fn pod(&self, task: &str) -> Result<SharedPod, Error> {
        match &*self.slot.borrow() {
            Slot::Up(pod) => Ok(pod.clone()),
            Slot::Empty | Slot::Making => Err(Error::NoTask(task.to_owned())),
        }
    }

    async fn create_task(&self, request: CreateTaskRequest) -> Result<u32, Error> {
        if !request.checkpoint.is_empty() {
            return Err(Error::Unimplemented("Creating a task from a checkpoint"));
        }
        let stdio = Stdio::parse(request.terminal, &request.stdin, &request.stdout, &request.stderr)
            .map_err(sandbox::Error::from)?;
        let new = NewTask::read(
            request.id,
            PathBuf::from(request.bundle),
            request.rootfs.into_iter().map(read_mount).collect(),
            stdio,
            options::config_path(request.options.as_ref())?,
        )?;
        match new.kind.clone() {
            ContainerKind::PodContainer { sandbox_id } => {
                let pod = self.pod(&new.id).map_err(|_| Error::NoSandbox(sandbox_id))?;
                pod.add(new).await?;
                Ok(pod.sandbox.pid())
            }
            ContainerKind::SingleContainer | ContainerKind::PodSandbox => self.create_pod(new).await,
        }
    }

    async fn create_pod(&self, new: NewTask) -> Result<u32, Error> {
        let free = self.slot.send_if_modified(|slot| {
            let free = matches!(slot, Slot::Empty);
            if free {
                *slot = Slot::Making;
            }
            free
        });
        if !free {
            return Err(Error::SecondSandbox);
        }
        // A client that gives up does not end the making half-way: the slot follows what was made.
        let (launch, namespace) = (self.launch.clone(), self.namespace.clone());
        let (slot, log) = (self.slot.clone(), self.log.clone());
        let making = tokio::spawn(async move {
            let made = create::pod(new, &*launch, &namespace, &log).await.map(Arc::new);
            slot.send_replace(match &made {
                Ok(pod) => Slot::Up(pod.clone()),
                Err(_) => Slot::Empty,
            });
            made.map(|pod| pod.sandbox.pid())
        });
        making.await.unwrap_or(Err(Error::Lost("Making the pod")))
    }

    async fn state_of(&self, id: TaskId) -> Result<StateResponse, Error> {
        let pod = self.pod(&id.container)?;
        let state = pod.sandbox.state(id.clone()).await?;
        Ok(StateResponse {
            id: id.container,
            exec_id: id.exec.unwrap_or_default(),
            bundle: state.bundle.to_string_lossy().into_owned(),
            pid: pod.sandbox.pid(),
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
            stdio: Stdio::parse(request.terminal, &request.stdin, &request.stdout, &request.stderr)
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
        Ok(StatsResponse { stats: Some(any).into(), ..Default::default() })
    }

    async fn update_task(&self, request: UpdateTaskRequest) -> Result<(), Error> {
        let pod = self.pod(&request.id)?;
        let any = request.resources.unwrap_or_default();
        let resources = oci::update_resources(&any.type_url, &any.value)?;
        Ok(pod.sandbox.update(request.id, resources).await?)
    }

    /// Ends the daemon, unless containers are left.
    async fn shut_down(&self, now: bool) {
        let mut slot = self.slot.subscribe();
        let settled = slot.wait_for(|slot| !matches!(slot, Slot::Making)).await;
        let pod = match settled.as_deref() {
            Ok(Slot::Up(pod)) => Some(pod.clone()),
            _ => None,
        };
        drop(settled);
        if let Some(pod) = pod {
            let left = pod.sandbox.count().await;
            if left > 0 && !now {
                info!(self.log, "containers are left, the shim stays"; "containers" => left);
                return;
            }
            pod.end().await;
        }
        self.exit.notify_one();
    }

    /// Lets go of the pod and waits until its last events were taken, for as long as the caller
    /// likes.
    pub async fn release(&self) {
        if let Slot::Up(pod) = self.slot.send_replace(Slot::Empty) {
            let publishing = pod.events.lock().await.take();
            drop(pod);
            if let Some(publishing) = publishing {
                let _ = publishing.await;
            }
        }
    }

    fn answer<T>(&self, request: &'static str, result: Result<T, Error>) -> ttrpc::Result<T> {
        result.map_err(|error| {
            warn!(self.log, "request failed";
                "request" => request, "error" => error::chain(&error));
            error.into()
        })
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        let pid = self.answer("Create", self.create_task(request).await)?;
        Ok(CreateTaskResponse { pid, ..Default::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let started = async {
            let pod = self.pod(&request.id)?;
            pod.sandbox.start(TaskId::new(request.id, request.exec_id)).await?;
            Ok(pod.sandbox.pid())
        };
        let pid = self.answer("Start", started.await)?;
        Ok(StartResponse { pid, ..Default::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        // Asked of tasks that may be gone: a refusal is no news.
        Ok(self.state_of(TaskId::new(request.id, request.exec_id)).await?)
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        let deleted = async {
            let pod = self.pod(&request.id)?;
            let exit = pod.delete(TaskId::new(request.id, request.exec_id)).await?;
            Ok(DeleteResponse {
                pid: pod.sandbox.pid(),
                exit_status: exit.status,
                exited_at: events::exited_at(exit),
                ..Default::default()
            })
        };
        self.answer("Delete", deleted.await)
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let pids = async {
            let pod = self.pod(&request.id)?;
            pod.sandbox.state(TaskId::new(request.id, "")).await?;
            Ok(vec![ProcessInfo { pid: pod.sandbox.pid(), ..Default::default() }])
        };
        let processes = self.answer("Pids", pids.await)?;
        Ok(PidsResponse { processes, ..Default::default() })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let paused = async { Ok(self.pod(&request.id)?.sandbox.pause(request.id).await?) };
        self.answer("Pause", paused.await)?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let resumed = async { Ok(self.pod(&request.id)?.sandbox.resume(request.id).await?) };
        self.answer("Resume", resumed.await)?;
        Ok(Empty::new())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        self.answer("Checkpoint", Err(Error::Unimplemented("Checkpoint")))
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let killed = async {
            let pod = self.pod(&request.id)?;
            let id = TaskId::new(request.id, request.exec_id);
            Ok(pod.sandbox.signal(id, request.signal).await?)
        };
        self.answer("Kill", killed.await)?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        self.answer("Exec", self.add_exec(request).await)?;
        Ok(Empty::new())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> ttrpc::Result<Empty> {
        let resized = async {
            let pod = self.pod(&request.id)?;
            let id = TaskId::new(request.id, request.exec_id);
            Ok(pod.sandbox.resize(id, request.width, request.height).await?)
        };
        self.answer("ResizePty", resized.await)?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        let closed = async {
            let pod = self.pod(&request.id)?;
            if request.stdin {
                pod.sandbox.close_stdin(TaskId::new(request.id, request.exec_id)).await?;
            }
            Ok(())
        };
        self.answer("CloseIO", closed.await)?;
        Ok(Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        self.answer("Update", self.update_task(request).await)?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let waited = async {
            let pod = self.pod(&request.id)?;
            Ok(pod.sandbox.wait(TaskId::new(request.id, request.exec_id)).await?)
        };
        let exit = self.answer("Wait", waited.await)?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: events::exited_at(exit),
            ..Default::default()
        })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        self.answer("Stats", self.counters(request.id).await)
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        let task_pid = self.pod(&request.id).map(|pod| pod.sandbox.pid()).unwrap_or_default();
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: VERSION.to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> ttrpc::Result<Empty> {
        self.shut_down(request.now).await;
        Ok(Empty::new())
    }
}

fn status(phase: Phase) -> Status {
    match phase {
        Phase::Creating | Phase::Created | Phase::Starting => Status::CREATED,
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

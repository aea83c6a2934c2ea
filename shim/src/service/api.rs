//! The Task API, version 2 and 3: requests read, handed to the pod, answers written.

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
        CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
        PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
        ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
        StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    shim_async::Task,
    ttrpc::{self, r#async::TtrpcContext},
};
use pod::process::TaskId;

use super::{TaskService, to_its_end};
use crate::{error::Error, events, info::VERSION};

#[async_trait]
impl Task for TaskService {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        let pid = self.answer("Create", self.create_task(request).await)?;
        Ok(CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let started = async {
            let pod = self.pod(&request.id)?;
            let pid = pod.pids().of(&request.id);
            let id = TaskId::new(request.id, request.exec_id);
            to_its_end("Starting the process", async move { pod.start(id).await }).await?;
            Ok(pid)
        };
        let pid = self.answer("Start", started.await)?;
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        // Asked of tasks that may be gone: a refusal is no news.
        Ok(self
            .state_of(TaskId::new(request.id, request.exec_id))
            .await?)
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: DeleteRequest,
    ) -> ttrpc::Result<DeleteResponse> {
        let deleted = self.delete_task(TaskId::new(request.id, request.exec_id));
        self.answer("Delete", deleted.await)
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let pids = async {
            let pod = self.pod(&request.id)?;
            let pid = pod.pids().of(&request.id);
            pod.sandbox.state(TaskId::new(request.id, "")).await?;
            Ok(vec![ProcessInfo {
                pid,
                ..Default::default()
            }])
        };
        let processes = self.answer("Pids", pids.await)?;
        Ok(PidsResponse {
            processes,
            ..Default::default()
        })
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
            // Of an exec there is but the one process.
            if request.all && id.exec.is_none() {
                return Ok(pod.sandbox.signal_all(id.container, request.signal).await?);
            }
            Ok(pod.sandbox.signal(id, request.signal).await?)
        };
        self.answer("Kill", killed.await)?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        self.answer("Exec", self.add_exec(request).await)?;
        Ok(Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let resized = async {
            let pod = self.pod(&request.id)?;
            let id = TaskId::new(request.id, request.exec_id);
            Ok(pod
                .sandbox
                .resize(id, request.width, request.height)
                .await?)
        };
        self.answer("ResizePty", resized.await)?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        let closed = async {
            let pod = self.pod(&request.id)?;
            if request.stdin {
                pod.sandbox
                    .close_stdin(TaskId::new(request.id, request.exec_id))
                    .await?;
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
            Ok(pod
                .sandbox
                .wait(TaskId::new(request.id, request.exec_id))
                .await?)
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

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: ConnectRequest,
    ) -> ttrpc::Result<ConnectResponse> {
        let task_pid = self
            .pod(&request.id)
            .map(|pod| pod.pids().of(&request.id))
            .unwrap_or_default();
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: VERSION.to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> ttrpc::Result<Empty> {
        // A pod of the sandbox API is not ended by its containers' clients, but by its cleaning up.
        if request.now || !self.has_sandbox() {
            self.shut_down(request.now).await;
        }
        Ok(Empty::new())
    }
}

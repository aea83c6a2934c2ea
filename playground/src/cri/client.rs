//! The calls of the CRI that kubelet makes, one method each.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use protobuf::MessageField;

use super::{api, rpc};
use crate::{
    Error, Result,
    wait::{Deadline, ready},
};

/// No call takes longer, the start of a booted VM on a busy machine included.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often a state is asked for that is not announced, as kubelet's PLEG does.
pub(super) const RELIST: Duration = Duration::from_millis(40);

/// A client of the CRI plugin.
#[derive(Debug, Clone)]
pub struct Cri {
    socket: PathBuf,
}

impl Cri {
    /// A client of the containerd that listens on this socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    fn call<Q: protobuf::Message, R: protobuf::Message>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<R> {
        rpc::call(&self.socket, method, request, DEADLINE)
    }

    /// Calls `Version`: name and release of the runtime.
    pub fn version(&self) -> Result<api::VersionResponse> {
        self.call("Version", &api::VersionRequest::new())
    }

    /// `Status`: what the plugin tells of its own configuration, as JSON by name.
    pub fn info(&self) -> Result<std::collections::HashMap<String, String>> {
        let mut request = api::StatusRequest::new();
        request.verbose = true;
        let answer: api::StatusResponse = self.call("Status", &request)?;
        Ok(answer.info)
    }

    /// Waits until the plugin serves, which it does some time after its daemon.
    pub fn ready(&self) -> Result<()> {
        let deadline = Deadline::after(DEADLINE);
        loop {
            match self.pods() {
                Err(Error::Rpc {
                    code: 2, message, ..
                }) if message.contains("not initialized") && !deadline.left().is_zero() => {}
                answer => return answer.map(drop),
            }
            match ready(&[], Deadline::after(RELIST), "the CRI plugin") {
                Ok(_) | Err(Error::Timeout { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// `RunPodSandbox`; returns the sandbox's identifier.
    pub fn run_pod(&self, config: &api::PodSandboxConfig, handler: &str) -> Result<String> {
        let mut request = api::RunPodSandboxRequest::new();
        request.config = MessageField::some(config.clone());
        handler.clone_into(&mut request.runtime_handler);
        let answer: api::RunPodSandboxResponse = self.call("RunPodSandbox", &request)?;
        Ok(answer.pod_sandbox_id)
    }

    /// Calls `StopPodSandbox`, which ends all containers of the pod.
    pub fn stop_pod(&self, id: &str) -> Result<()> {
        let mut request = api::StopPodSandboxRequest::new();
        id.clone_into(&mut request.pod_sandbox_id);
        let _: api::StopPodSandboxResponse = self.call("StopPodSandbox", &request)?;
        Ok(())
    }

    /// Calls `RemovePodSandbox`; the pod must be stopped.
    pub fn remove_pod(&self, id: &str) -> Result<()> {
        let mut request = api::RemovePodSandboxRequest::new();
        id.clone_into(&mut request.pod_sandbox_id);
        let _: api::RemovePodSandboxResponse = self.call("RemovePodSandbox", &request)?;
        Ok(())
    }

    /// Calls `PodSandboxStatus`, without the verbose part.
    pub fn pod_status(&self, id: &str) -> Result<api::PodSandboxStatus> {
        let answer = self.pod_inspected(id)?;
        Ok(answer.status.unwrap_or_default())
    }

    /// `PodSandboxStatus` with all that `crictl inspectp` shows.
    pub fn pod_inspected(&self, id: &str) -> Result<api::PodSandboxStatusResponse> {
        let mut request = api::PodSandboxStatusRequest::new();
        id.clone_into(&mut request.pod_sandbox_id);
        request.verbose = true;
        self.call("PodSandboxStatus", &request)
    }

    /// Calls `PodSandboxStats`: CPU, memory and network of the whole pod.
    pub fn pod_stats(&self, id: &str) -> Result<api::PodSandboxStats> {
        let mut request = api::PodSandboxStatsRequest::new();
        id.clone_into(&mut request.pod_sandbox_id);
        let answer: api::PodSandboxStatsResponse = self.call("PodSandboxStats", &request)?;
        Ok(answer.stats.unwrap_or_default())
    }

    /// `ListPodSandbox`: all there are.
    pub fn pods(&self) -> Result<Vec<api::PodSandbox>> {
        let request = api::ListPodSandboxRequest::new();
        let answer: api::ListPodSandboxResponse = self.call("ListPodSandbox", &request)?;
        Ok(answer.items)
    }

    /// `CreateContainer`; returns the container's identifier.
    pub fn create(
        &self,
        pod: &str,
        config: &api::ContainerConfig,
        pod_config: &api::PodSandboxConfig,
    ) -> Result<String> {
        let mut request = api::CreateContainerRequest::new();
        pod.clone_into(&mut request.pod_sandbox_id);
        request.config = MessageField::some(config.clone());
        request.sandbox_config = MessageField::some(pod_config.clone());
        let answer: api::CreateContainerResponse = self.call("CreateContainer", &request)?;
        Ok(answer.container_id)
    }

    /// Calls `StartContainer` for a container that was created.
    pub fn start(&self, id: &str) -> Result<()> {
        let mut request = api::StartContainerRequest::new();
        id.clone_into(&mut request.container_id);
        let _: api::StartContainerResponse = self.call("StartContainer", &request)?;
        Ok(())
    }

    /// `StopContainer`: SIGTERM, and SIGKILL after this many seconds.
    pub fn stop(&self, id: &str, grace: i64) -> Result<()> {
        let mut request = api::StopContainerRequest::new();
        id.clone_into(&mut request.container_id);
        request.timeout = grace;
        let _: api::StopContainerResponse = self.call("StopContainer", &request)?;
        Ok(())
    }

    /// Calls `RemoveContainer`, which ends it first where it runs.
    pub fn remove(&self, id: &str) -> Result<()> {
        let mut request = api::RemoveContainerRequest::new();
        id.clone_into(&mut request.container_id);
        let _: api::RemoveContainerResponse = self.call("RemoveContainer", &request)?;
        Ok(())
    }

    /// Calls `ContainerStatus`, without the verbose part.
    pub fn status(&self, id: &str) -> Result<api::ContainerStatus> {
        let mut request = api::ContainerStatusRequest::new();
        id.clone_into(&mut request.container_id);
        let answer: api::ContainerStatusResponse = self.call("ContainerStatus", &request)?;
        Ok(answer.status.unwrap_or_default())
    }

    /// Calls `ContainerStats`: CPU and memory of one container.
    pub fn stats(&self, id: &str) -> Result<api::ContainerStats> {
        let mut request = api::ContainerStatsRequest::new();
        id.clone_into(&mut request.container_id);
        let answer: api::ContainerStatsResponse = self.call("ContainerStats", &request)?;
        Ok(answer.stats.unwrap_or_default())
    }

    /// `ListContainerStats` of one pod.
    pub fn stats_of_pod(&self, pod: &str) -> Result<Vec<api::ContainerStats>> {
        let mut filter = api::ContainerStatsFilter::new();
        pod.clone_into(&mut filter.pod_sandbox_id);
        let mut request = api::ListContainerStatsRequest::new();
        request.filter = MessageField::some(filter);
        let answer: api::ListContainerStatsResponse = self.call("ListContainerStats", &request)?;
        Ok(answer.stats)
    }

    /// Calls `UpdateContainerResources` with new limits.
    pub fn update(&self, id: &str, linux: api::LinuxContainerResources) -> Result<()> {
        let mut request = api::UpdateContainerResourcesRequest::new();
        id.clone_into(&mut request.container_id);
        request.linux = MessageField::some(linux);
        let _: api::UpdateContainerResourcesResponse =
            self.call("UpdateContainerResources", &request)?;
        Ok(())
    }

    /// Calls `ReopenContainerLog`, as kubelet does after it moved the file.
    pub fn reopen_log(&self, id: &str) -> Result<()> {
        let mut request = api::ReopenContainerLogRequest::new();
        id.clone_into(&mut request.container_id);
        let _: api::ReopenContainerLogResponse = self.call("ReopenContainerLog", &request)?;
        Ok(())
    }

    /// `ExecSync`, with a timeout in seconds, 0 for none.
    pub fn exec_sync(
        &self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<api::ExecSyncResponse> {
        let mut request = api::ExecSyncRequest::new();
        id.clone_into(&mut request.container_id);
        request.cmd = command.iter().map(|&word| word.to_owned()).collect();
        request.timeout = timeout;
        self.call("ExecSync", &request)
    }

    /// `Exec`; returns where the streams can be had.
    pub fn exec(&self, request: &api::ExecRequest) -> Result<String> {
        let answer: api::ExecResponse = self.call("Exec", request)?;
        Ok(answer.url)
    }

    /// `Attach`; returns where the streams can be had.
    pub fn attach(&self, request: &api::AttachRequest) -> Result<String> {
        let answer: api::AttachResponse = self.call("Attach", request)?;
        Ok(answer.url)
    }

    /// `PortForward`; returns where the streams can be had.
    pub fn port_forward(&self, pod: &str, port: u16) -> Result<String> {
        let mut request = api::PortForwardRequest::new();
        pod.clone_into(&mut request.pod_sandbox_id);
        request.port = vec![i32::from(port)];
        let answer: api::PortForwardResponse = self.call("PortForward", &request)?;
        Ok(answer.url)
    }
}

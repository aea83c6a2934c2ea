//! Calls about containers.

use std::{fs, time::Duration};

use agent_client::agent;
use protobuf::well_known_types::empty::Empty;

use super::Service;
use crate::{
    cgroup,
    error::{Doing, Error, Result},
    oci,
};

impl Service {
    pub(super) async fn create_container(
        &self,
        request: agent::CreateContainerRequest,
    ) -> Result<Empty> {
        self.0.create_container(request).await?;
        Ok(Empty::new())
    }

    pub(super) async fn start_container(
        &self,
        request: agent::StartContainerRequest,
    ) -> Result<Empty> {
        self.0
            .container(&request.container_id)?
            .start(&self.0.zygote)
            .await?;
        Ok(Empty::new())
    }

    /// A timeout of 0 seconds means the agent's own limit.
    pub(super) async fn remove_container(
        &self,
        request: agent::RemoveContainerRequest,
    ) -> Result<Empty> {
        let timeout = Some(request.timeout)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.into()));
        self.0
            .remove_container(&request.container_id, timeout)
            .await?;
        Ok(Empty::new())
    }

    pub(super) async fn exec_process(&self, request: agent::ExecProcessRequest) -> Result<Empty> {
        let wanted = request
            .process
            .into_option()
            .ok_or_else(|| Error::Invalid("the request has no process".into()))?;
        let container = self.0.container(&request.container_id)?;
        container
            .execute(&self.0.zygote, &request.exec_id, wanted)
            .await?;
        Ok(Empty::new())
    }

    pub(super) async fn signal_process(
        &self,
        request: agent::SignalProcessRequest,
    ) -> Result<Empty> {
        let container = self.0.created_container(&request.container_id).await?;
        container
            .signal(&self.0.reaper, &request.exec_id, request.signal)
            .await?;
        Ok(Empty::new())
    }

    pub(super) async fn wait_process(
        &self,
        request: agent::WaitProcessRequest,
    ) -> Result<agent::WaitProcessResponse> {
        let status = self
            .0
            .container(&request.container_id)?
            .wait(&request.exec_id)
            .await?;
        Ok(agent::WaitProcessResponse {
            status,
            ..Default::default()
        })
    }

    pub(super) async fn update_container(
        &self,
        request: agent::UpdateContainerRequest,
    ) -> Result<Empty> {
        let container = self.0.container(&request.container_id)?;
        container
            .cgroup
            .update(oci::resources(request.resources.get_or_default()))?;
        Ok(Empty::new())
    }

    pub(super) async fn stats_container(
        &self,
        request: agent::StatsContainerRequest,
    ) -> Result<agent::StatsContainerResponse> {
        let container = self.0.container(&request.container_id)?;
        let interfaces =
            fs::read_to_string("/proc/net/dev").doing(|| "read /proc/net/dev".into())?;
        Ok(agent::StatsContainerResponse {
            cgroup_stats: Some(cgroup::statistics(&container.cgroup)?).into(),
            network_stats: cgroup::network(&interfaces),
            ..Default::default()
        })
    }

    pub(super) async fn pause_container(
        &self,
        request: agent::PauseContainerRequest,
    ) -> Result<Empty> {
        self.0.container(&request.container_id)?.pause(true).await?;
        Ok(Empty::new())
    }

    pub(super) async fn resume_container(
        &self,
        request: agent::ResumeContainerRequest,
    ) -> Result<Empty> {
        self.0
            .container(&request.container_id)?
            .pause(false)
            .await?;
        Ok(Empty::new())
    }

    pub(super) async fn get_oom_event(
        &self,
        _request: agent::GetOOMEventRequest,
    ) -> Result<agent::OOMEvent> {
        Ok(agent::OOMEvent {
            container_id: self.0.next_oom_event().await?,
            ..Default::default()
        })
    }
}

//! The two ttrpc services: unpack the request, do it, pack the answer.

mod containers;
mod guest;
mod sandbox;
mod streams;

use std::{sync::Arc, time::Instant};

use agent_client::{
    agent, agent_ttrpc::AgentService, health, health::health_check_response::ServingStatus,
    health_ttrpc::Health, types,
};
use async_trait::async_trait;
use protobuf::well_known_types::empty::Empty;
use ttrpc::asynchronous::TtrpcContext;

use crate::{
    agent::Agent,
    error::{Error, Result},
};

/// What the kata-agent's health service calls its own protocol.
const PROTOCOL_VERSION: &str = "0.0.1";

/// Answers for the whole agent.
pub struct Service(Arc<Agent>);

impl Service {
    /// A service for `agent`.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self(agent)
    }

    /// Logs how a call went, and packs its answer.
    fn answer<T>(
        &self,
        call: &'static str,
        began: Instant,
        outcome: Result<T>,
    ) -> ttrpc::Result<T> {
        let microseconds = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(answer) => {
                slog::debug!(self.0.log, "answered"; "call" => call, "us" => microseconds);
                Ok(answer)
            }
            Err(error) => {
                let cause = error.chain();
                slog::warn!(self.0.log, "refused";
                    "call" => call, "us" => microseconds, "cause" => cause);
                Err(error.into())
            }
        }
    }
}

#[async_trait]
impl Health for Service {
    async fn check(
        &self,
        _: &TtrpcContext,
        _: health::CheckRequest,
    ) -> ttrpc::Result<health::HealthCheckResponse> {
        Ok(health::HealthCheckResponse {
            status: ServingStatus::SERVING.into(),
            ..Default::default()
        })
    }

    async fn version(
        &self,
        _: &TtrpcContext,
        _: health::CheckRequest,
    ) -> ttrpc::Result<health::VersionCheckResponse> {
        Ok(health::VersionCheckResponse {
            grpc_version: PROTOCOL_VERSION.into(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        })
    }
}

/// Defines calls that are answered by a method of the same name.
macro_rules! calls {
    ($($name:ident: $request:ty => $answer:ty;)*) => {
        #[async_trait]
        impl AgentService for Service {
            $(async fn $name(
                &self,
                _: &TtrpcContext,
                request: $request,
            ) -> ttrpc::Result<$answer> {
                let began = Instant::now();
                let outcome = Service::$name(self, request).await;
                self.answer(stringify!($name), began, outcome)
            })*
        }
    };
}

calls! {
    create_sandbox: agent::CreateSandboxRequest => Empty;
    destroy_sandbox: agent::DestroySandboxRequest => Empty;
    create_container: agent::CreateContainerRequest => Empty;
    start_container: agent::StartContainerRequest => Empty;
    remove_container: agent::RemoveContainerRequest => Empty;
    exec_process: agent::ExecProcessRequest => Empty;
    signal_process: agent::SignalProcessRequest => Empty;
    wait_process: agent::WaitProcessRequest => agent::WaitProcessResponse;
    update_container: agent::UpdateContainerRequest => Empty;
    stats_container: agent::StatsContainerRequest => agent::StatsContainerResponse;
    pause_container: agent::PauseContainerRequest => Empty;
    resume_container: agent::ResumeContainerRequest => Empty;
    write_stdin: agent::WriteStreamRequest => agent::WriteStreamResponse;
    read_stdout: agent::ReadStreamRequest => agent::ReadStreamResponse;
    read_stderr: agent::ReadStreamRequest => agent::ReadStreamResponse;
    close_stdin: agent::CloseStdinRequest => Empty;
    tty_win_resize: agent::TtyWinResizeRequest => Empty;
    get_oom_event: agent::GetOOMEventRequest => agent::OOMEvent;
    copy_file: agent::CopyFileRequest => Empty;
    update_interface: agent::UpdateInterfaceRequest => types::Interface;
    update_routes: agent::UpdateRoutesRequest => agent::Routes;
    list_interfaces: agent::ListInterfacesRequest => agent::Interfaces;
    list_routes: agent::ListRoutesRequest => agent::Routes;
    add_arp_neighbors: agent::AddARPNeighborsRequest => Empty;
    online_cpu_mem: agent::OnlineCPUMemRequest => Empty;
    reseed_random_dev: agent::ReseedRandomDevRequest => Empty;
    set_guest_date_time: agent::SetGuestDateTimeRequest => Empty;
    get_guest_details: agent::GuestDetailsRequest => agent::GuestDetailsResponse;
    set_policy: agent::SetPolicyRequest => Empty;
    update_ephemeral_mounts: agent::UpdateEphemeralMountsRequest => Empty;
    remove_stale_virtiofs_share_mounts: agent::RemoveStaleVirtiofsShareMountsRequest => Empty;
    get_ip_tables: agent::GetIPTablesRequest => agent::GetIPTablesResponse;
    set_ip_tables: agent::SetIPTablesRequest => agent::SetIPTablesResponse;
    get_metrics: agent::GetMetricsRequest => agent::Metrics;
    mem_hotplug_by_probe: agent::MemHotplugByProbeRequest => Empty;
    add_swap: agent::AddSwapRequest => Empty;
    add_swap_path: agent::AddSwapPathRequest => Empty;
    get_volume_stats: agent::VolumeStatsRequest => agent_client::csi::VolumeStatsResponse;
    resize_volume: agent::ResizeVolumeRequest => Empty;
    get_diagnostic_data: agent::GetDiagnosticDataRequest => agent::GetDiagnosticDataResponse;
}

fn unsupported<T>(call: &str) -> Result<T> {
    Err(Error::Unsupported(call.to_owned()))
}

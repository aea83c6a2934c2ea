//! The two ttrpc services: they unpack a request, carry it out, and pack the answer.

mod containers;
mod guest;
mod sandbox;
mod streams;

use std::{sync::Arc, task::Poll, time::Instant};

use agent_client::{
    agent, agent_ttrpc::AgentService, health, health::health_check_response::ServingStatus,
    health_ttrpc::Health, types,
};
use async_trait::async_trait;
use futures::{FutureExt, poll};
use protobuf::well_known_types::empty::Empty;
use ttrpc::asynchronous::TtrpcContext;

use crate::{
    agent::Agent,
    error::{Error, Result},
};

/// The protocol version that the kata-agent's health service reports.
const PROTOCOL_VERSION: &str = "0.0.1";

/// Implements both services of the API: the agent's own and that of its health.
#[derive(Clone)]
pub struct Service(Arc<Agent>);

impl Service {
    /// The services through which `agent` is called.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self(agent)
    }

    /// Logs the outcome of a call, and packs its answer.
    fn answer<T>(
        &self,
        call: &'static str,
        began: Instant,
        outcome: Result<T>,
    ) -> ttrpc::Result<T> {
        let microseconds = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(answer) => {
                slog::debug!(self.0.log, "call answered"; "call" => call, "us" => microseconds);
                Ok(answer)
            }
            Err(error) => {
                let cause = error.chain();
                slog::warn!(self.0.log, "call failed";
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

/// Runs a call to completion. ttrpc drops a call at its deadline and when its connection ends; a
/// container would then be left half-made, and without a name to remove it by.
///
/// The call is polled once before a task is spawned for it, so that it reserves a name as early as
/// it can. ttrpc has a task for each call, so the order of two calls is open all the same.
async fn to_completion<T: Send + 'static>(
    call: impl Future<Output = ttrpc::Result<T>> + Send + 'static,
) -> ttrpc::Result<T> {
    let mut call = call.boxed();
    match poll!(&mut call) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => tokio::spawn(call).await.unwrap_or_else(|_| Err(ending())),
    }
}

/// The answer of a call whose task was cancelled. A panic ends the whole agent (`panic = "abort"`).
fn ending() -> ttrpc::Error {
    Error::State("The agent is ending".into()).into()
}

/// Runs a call as long as its caller waits: one that changes nothing, or reads from a stream, where
/// data that is read for a caller that is gone would be lost.
async fn while_awaited<T>(call: impl Future<Output = ttrpc::Result<T>>) -> ttrpc::Result<T> {
    call.await
}

/// Implements each call by the method of [`Service`] with the same name. The first word is
/// the function that runs it.
macro_rules! calls {
    ($($run:ident $name:ident: $request:ty => $answer:ty;)*) => {
        #[async_trait]
        impl AgentService for Service {
            $(async fn $name(
                &self,
                _: &TtrpcContext,
                request: $request,
            ) -> ttrpc::Result<$answer> {
                let service = self.clone();
                let call = async move {
                    let began = Instant::now();
                    let outcome = Service::$name(&service, request).await;
                    service.answer(stringify!($name), began, outcome)
                };
                $run(call).await
            })*
        }
    };
}

calls! {
    to_completion create_sandbox: agent::CreateSandboxRequest => Empty;
    to_completion destroy_sandbox: agent::DestroySandboxRequest => Empty;
    to_completion create_container: agent::CreateContainerRequest => Empty;
    to_completion start_container: agent::StartContainerRequest => Empty;
    to_completion remove_container: agent::RemoveContainerRequest => Empty;
    to_completion exec_process: agent::ExecProcessRequest => Empty;
    to_completion signal_process: agent::SignalProcessRequest => Empty;
    while_awaited wait_process: agent::WaitProcessRequest => agent::WaitProcessResponse;
    to_completion update_container: agent::UpdateContainerRequest => Empty;
    while_awaited stats_container: agent::StatsContainerRequest => agent::StatsContainerResponse;
    to_completion pause_container: agent::PauseContainerRequest => Empty;
    to_completion resume_container: agent::ResumeContainerRequest => Empty;
    while_awaited write_stdin: agent::WriteStreamRequest => agent::WriteStreamResponse;
    while_awaited read_stdout: agent::ReadStreamRequest => agent::ReadStreamResponse;
    while_awaited read_stderr: agent::ReadStreamRequest => agent::ReadStreamResponse;
    to_completion close_stdin: agent::CloseStdinRequest => Empty;
    to_completion tty_win_resize: agent::TtyWinResizeRequest => Empty;
    while_awaited get_oom_event: agent::GetOOMEventRequest => agent::OOMEvent;
    to_completion copy_file: agent::CopyFileRequest => Empty;
    to_completion update_interface: agent::UpdateInterfaceRequest => types::Interface;
    to_completion update_routes: agent::UpdateRoutesRequest => agent::Routes;
    while_awaited list_interfaces: agent::ListInterfacesRequest => agent::Interfaces;
    while_awaited list_routes: agent::ListRoutesRequest => agent::Routes;
    to_completion add_arp_neighbors: agent::AddARPNeighborsRequest => Empty;
    to_completion online_cpu_mem: agent::OnlineCPUMemRequest => Empty;
    to_completion reseed_random_dev: agent::ReseedRandomDevRequest => Empty;
    to_completion set_guest_date_time: agent::SetGuestDateTimeRequest => Empty;
    while_awaited get_guest_details: agent::GuestDetailsRequest => agent::GuestDetailsResponse;
    to_completion set_policy: agent::SetPolicyRequest => Empty;
    to_completion update_ephemeral_mounts: agent::UpdateEphemeralMountsRequest => Empty;
    to_completion remove_stale_virtiofs_share_mounts: agent::RemoveStaleVirtiofsShareMountsRequest
        => Empty;
    while_awaited get_ip_tables: agent::GetIPTablesRequest => agent::GetIPTablesResponse;
    to_completion set_ip_tables: agent::SetIPTablesRequest => agent::SetIPTablesResponse;
    while_awaited get_metrics: agent::GetMetricsRequest => agent::Metrics;
    to_completion mem_hotplug_by_probe: agent::MemHotplugByProbeRequest => Empty;
    to_completion add_swap: agent::AddSwapRequest => Empty;
    to_completion add_swap_path: agent::AddSwapPathRequest => Empty;
    while_awaited get_volume_stats: agent::VolumeStatsRequest
        => agent_client::csi::VolumeStatsResponse;
    to_completion resize_volume: agent::ResizeVolumeRequest => Empty;
    while_awaited get_diagnostic_data: agent::GetDiagnosticDataRequest
        => agent::GetDiagnosticDataResponse;
}

/// Fails a call because of `feature`, which this agent does not implement.
fn unsupported<T>(feature: &str) -> Result<T> {
    Err(Error::Unsupported(feature.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_call_completes_when_its_caller_is_gone() {
        let (go, begin) = oneshot::channel::<()>();
        let (done, outcome) = oneshot::channel();
        let call = async move {
            begin.await.unwrap();
            done.send("done").unwrap();
            Ok(())
        };
        let caller = timeout(Duration::from_millis(10), to_completion(call));
        assert!(caller.await.is_err(), "the caller has waited long enough");
        go.send(()).unwrap();
        assert_eq!(outcome.await, Ok("done"));
    }
}

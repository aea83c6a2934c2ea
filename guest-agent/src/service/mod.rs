//! The two ttrpc services: unpack the request, do it, pack the answer.

mod containers;
mod guest;
mod sandbox;
mod streams;

use std::{panic::AssertUnwindSafe, sync::Arc, task::Poll, time::Instant};

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

/// What the kata-agent's health service calls its own protocol.
const PROTOCOL_VERSION: &str = "0.0.1";

/// Answers for the whole agent.
#[derive(Clone)]
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

/// Runs a call to its end, whatever becomes of its caller. ttrpc drops a call at its deadline and with its
/// connection: what it makes would then be left without a name, and half of it missing.
///
/// It begins at once, so that it takes a name as early as it can; but ttrpc has a task for each call of a
/// connection, and nothing says which of two begins first.
async fn to_its_end<T: Send + 'static>(
    name: &'static str,
    call: impl Future<Output = ttrpc::Result<T>> + Send + 'static,
) -> ttrpc::Result<T> {
    let broken = || Error::Broken(name).into();
    let mut call = AssertUnwindSafe(call).catch_unwind().boxed();
    let outcome = match poll!(&mut call) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => tokio::spawn(call).await.map_err(|_| broken())?,
    };
    outcome.unwrap_or_else(|_| Err(broken()))
}

/// Runs a call as long as its caller waits: it changes nothing, or takes from a stream what nobody else
/// would get.
async fn while_awaited<T>(
    _name: &'static str,
    call: impl Future<Output = ttrpc::Result<T>>,
) -> ttrpc::Result<T> {
    call.await
}

/// Defines calls that are answered by a method of the same name, each with the function that runs it.
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
                $run(stringify!($name), call).await
            })*
        }
    };
}

calls! {
    to_its_end create_sandbox: agent::CreateSandboxRequest => Empty;
    to_its_end destroy_sandbox: agent::DestroySandboxRequest => Empty;
    to_its_end create_container: agent::CreateContainerRequest => Empty;
    to_its_end start_container: agent::StartContainerRequest => Empty;
    to_its_end remove_container: agent::RemoveContainerRequest => Empty;
    to_its_end exec_process: agent::ExecProcessRequest => Empty;
    to_its_end signal_process: agent::SignalProcessRequest => Empty;
    while_awaited wait_process: agent::WaitProcessRequest => agent::WaitProcessResponse;
    to_its_end update_container: agent::UpdateContainerRequest => Empty;
    while_awaited stats_container: agent::StatsContainerRequest => agent::StatsContainerResponse;
    to_its_end pause_container: agent::PauseContainerRequest => Empty;
    to_its_end resume_container: agent::ResumeContainerRequest => Empty;
    while_awaited write_stdin: agent::WriteStreamRequest => agent::WriteStreamResponse;
    while_awaited read_stdout: agent::ReadStreamRequest => agent::ReadStreamResponse;
    while_awaited read_stderr: agent::ReadStreamRequest => agent::ReadStreamResponse;
    to_its_end close_stdin: agent::CloseStdinRequest => Empty;
    to_its_end tty_win_resize: agent::TtyWinResizeRequest => Empty;
    while_awaited get_oom_event: agent::GetOOMEventRequest => agent::OOMEvent;
    to_its_end copy_file: agent::CopyFileRequest => Empty;
    to_its_end update_interface: agent::UpdateInterfaceRequest => types::Interface;
    to_its_end update_routes: agent::UpdateRoutesRequest => agent::Routes;
    while_awaited list_interfaces: agent::ListInterfacesRequest => agent::Interfaces;
    while_awaited list_routes: agent::ListRoutesRequest => agent::Routes;
    to_its_end add_arp_neighbors: agent::AddARPNeighborsRequest => Empty;
    to_its_end online_cpu_mem: agent::OnlineCPUMemRequest => Empty;
    to_its_end reseed_random_dev: agent::ReseedRandomDevRequest => Empty;
    to_its_end set_guest_date_time: agent::SetGuestDateTimeRequest => Empty;
    while_awaited get_guest_details: agent::GuestDetailsRequest => agent::GuestDetailsResponse;
    to_its_end set_policy: agent::SetPolicyRequest => Empty;
    to_its_end update_ephemeral_mounts: agent::UpdateEphemeralMountsRequest => Empty;
    to_its_end remove_stale_virtiofs_share_mounts: agent::RemoveStaleVirtiofsShareMountsRequest => Empty;
    while_awaited get_ip_tables: agent::GetIPTablesRequest => agent::GetIPTablesResponse;
    to_its_end set_ip_tables: agent::SetIPTablesRequest => agent::SetIPTablesResponse;
    while_awaited get_metrics: agent::GetMetricsRequest => agent::Metrics;
    to_its_end mem_hotplug_by_probe: agent::MemHotplugByProbeRequest => Empty;
    to_its_end add_swap: agent::AddSwapRequest => Empty;
    to_its_end add_swap_path: agent::AddSwapPathRequest => Empty;
    while_awaited get_volume_stats: agent::VolumeStatsRequest => agent_client::csi::VolumeStatsResponse;
    to_its_end resize_volume: agent::ResizeVolumeRequest => Empty;
    while_awaited get_diagnostic_data: agent::GetDiagnosticDataRequest => agent::GetDiagnosticDataResponse;
}

fn unsupported<T>(call: &str) -> Result<T> {
    Err(Error::Unsupported(call.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_call_goes_on_when_its_caller_is_gone() {
        let (go, begin) = oneshot::channel::<()>();
        let (done, told) = oneshot::channel();
        let call = async move {
            begin.await.unwrap();
            done.send("done").unwrap();
            Ok(())
        };
        let caller = timeout(Duration::from_millis(10), to_its_end("call", call));
        assert!(caller.await.is_err(), "the caller's time is over");
        go.send(()).unwrap();
        assert_eq!(told.await, Ok("done"));
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error() {
        for yields in [false, true] {
            let call = async move {
                if yields {
                    tokio::task::yield_now().await;
                }
                assert!(std::hint::black_box(false), "a fault of the test's own");
                Ok(())
            };
            let error = to_its_end("call", call).await.unwrap_err().to_string();
            assert!(error.contains("call"), "{error}");
        }
    }
}

//! The sandbox API: a pod without a pause container. Its containers come by the Task API.
//!
//! A pod made here lives until ShutdownSandbox, however many containers it has; the Task API's
//! Shutdown does not end it.

use std::path::PathBuf;

use super::{TaskService, lifetime::Slot, to_its_end};
use crate::{error::Error, events, info::RUNTIME, pod::SharedPod, pod_config::PodConfig};
use assembly::PodRequest;
use async_trait::async_trait;
use containerd_shim_protos::{
    sandbox_api::{
        CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
        PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
        SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse,
        StartSandboxRequest, StartSandboxResponse, StopSandboxRequest, StopSandboxResponse,
        WaitSandboxRequest, WaitSandboxResponse,
    },
    sandbox_async::Sandbox,
    ttrpc::{self, r#async::TtrpcContext},
    types::platform::Platform,
};

const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

impl TaskService {
    async fn create_sandbox_of(&self, request: CreateSandboxRequest) -> Result<(), Error> {
        let id = request.sandbox_id;
        oci::validate_id(&id).map_err(oci::OciError::from)?;
        let config = PodConfig::read(request.options.as_ref())?;
        let spec = config.spec(&id, &request.netns_path)?;
        let content = config.content(&id);
        // The configuration's file came with the start of this process: the environment names it.
        let pod = PodRequest::of_sandbox(id, PathBuf::from(request.bundle_path), &spec, content)?;
        self.create_pod(pod, None).await?;
        Ok(())
    }

    /// The pod, if it was made by this API under this name.
    fn sandbox(&self, id: &str) -> Result<SharedPod, Error> {
        let pod = self.pod(id)?;
        if pod.id() == id && pod.is_sandbox() {
            Ok(pod)
        } else {
            Err(Error::NoTask(id.to_owned()))
        }
    }

    /// Whether there is a pod that the sandbox API made.
    pub(super) fn has_sandbox(&self) -> bool {
        matches!(&*self.slot.now(), Slot::Up(pod) if pod.is_sandbox())
    }

    fn status_of(&self, request: &SandboxStatusRequest) -> Result<SandboxStatusResponse, Error> {
        let pod = self.sandbox(&request.sandbox_id)?;
        let exit = pod.exit();
        let mut answer = SandboxStatusResponse {
            sandbox_id: request.sandbox_id.clone(),
            pid: pod.sandbox.pid(),
            state: if exit.is_none() { READY } else { NOT_READY }.to_owned(),
            created_at: Some(events::timestamp(pod.created)).into(),
            exited_at: exit.map(|exit| events::timestamp(exit.at)).into(),
            ..Default::default()
        };
        if request.verbose {
            answer.info.insert("info".to_owned(), info(&pod));
        }
        Ok(answer)
    }
}

/// What a person sees of a pod, as the CRI's clients expect it: JSON under the name `info`.
fn info(pod: &SharedPod) -> String {
    serde_json::json!({
        "pid": pod.sandbox.pid(),
        "runtimeType": RUNTIME,
        "start": pod.start_report(),
    })
    .to_string()
}

#[async_trait]
impl Sandbox for TaskService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let created = self.create_sandbox_of(request).await;
        self.answer("CreateSandbox", created)?;
        Ok(CreateSandboxResponse::new())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let started = async {
            let pod = self.sandbox(&request.sandbox_id)?;
            let connecting = pod.clone();
            to_its_end(
                "Connecting the pod",
                async move { connecting.connect().await },
            )
            .await?;
            Ok(StartSandboxResponse {
                pid: pod.sandbox.pid(),
                created_at: Some(events::timestamp(pod.created)).into(),
                ..Default::default()
            })
        };
        self.answer("StartSandbox", started.await)
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        _: PlatformRequest,
    ) -> ttrpc::Result<PlatformResponse> {
        // Guests are of the host's architecture, by Go's names for it.
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(PlatformResponse {
            platform: Some(Platform {
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        })
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: StopSandboxRequest,
    ) -> ttrpc::Result<StopSandboxResponse> {
        // Containers were stopped by their own calls, with their own timeouts.
        if let Ok(pod) = self.sandbox(&request.sandbox_id) {
            pod.end().await;
        }
        Ok(StopSandboxResponse::new())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: WaitSandboxRequest,
    ) -> ttrpc::Result<WaitSandboxResponse> {
        let pod = self.answer("WaitSandbox", self.sandbox(&request.sandbox_id))?;
        let exit = pod.exited().await;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: events::exited_at(exit),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        Ok(self.status_of(&request)?)
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: PingRequest,
    ) -> ttrpc::Result<PingResponse> {
        let pod = self.sandbox(&request.sandbox_id)?;
        match pod.exit() {
            None => Ok(PingResponse::new()),
            Some(_) => Err(Error::NoTask(request.sandbox_id).into()),
        }
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        _: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        self.shut_down(true).await;
        Ok(ShutdownSandboxResponse::new())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        _: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        self.answer(
            "SandboxMetrics",
            Err(Error::Unimplemented("SandboxMetrics")),
        )
    }
}

//! A small agent in this process.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_client::{
    Code, FINDS_PRESENT_DEVICES, MAX_DATA, MAX_REPLY, agent, agent_ttrpc, health, health_ttrpc,
    types,
};
use async_trait::async_trait;
use protobuf::well_known_types::empty::Empty;
use ttrpc::asynchronous::{Server, TtrpcContext, transport::Listener};

pub const SOON: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Guest {
    was_asked: AtomicBool,
}

fn refusal(code: Code, message: &str) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, message))
}

#[async_trait]
impl agent_ttrpc::AgentService for Guest {
    async fn start_container(
        &self,
        _: &TtrpcContext,
        request: agent::StartContainerRequest,
    ) -> ttrpc::Result<Empty> {
        match request.container_id.as_str() {
            "slow" => std::future::pending().await,
            "good" => Ok(Empty::new()),
            _ => Err(refusal(Code::NOT_FOUND, &"\x1b[31m".repeat(100_000))),
        }
    }

    async fn wait_process(
        &self,
        _: &TtrpcContext,
        request: agent::WaitProcessRequest,
    ) -> ttrpc::Result<agent::WaitProcessResponse> {
        if request.exec_id == "forever" {
            std::future::pending::<()>().await;
        }
        let mut reply = agent::WaitProcessResponse::new();
        reply.status = 137;
        Ok(reply)
    }

    async fn read_stdout(
        &self,
        _: &TtrpcContext,
        request: agent::ReadStreamRequest,
    ) -> ttrpc::Result<agent::ReadStreamResponse> {
        let mut reply = agent::ReadStreamResponse::new();
        match request.exec_id.as_str() {
            "gone" => return Err(refusal(Code::NOT_FOUND, "no such process")),
            "denied" => return Err(refusal(Code::PERMISSION_DENIED, "policy")),
            "liar" => reply.data = vec![0; request.len as usize + 1],
            "ended" => {}
            _ => reply.data = vec![b'x'; request.len as usize],
        }
        Ok(reply)
    }

    async fn write_stdin(
        &self,
        _: &TtrpcContext,
        request: agent::WriteStreamRequest,
    ) -> ttrpc::Result<agent::WriteStreamResponse> {
        let mut reply = agent::WriteStreamResponse::new();
        reply.len = request.data.len() as u32 + u32::from(request.exec_id == "liar");
        Ok(reply)
    }

    /// The first question gets no answer.
    async fn get_guest_details(
        &self,
        _: &TtrpcContext,
        _: agent::GuestDetailsRequest,
    ) -> ttrpc::Result<agent::GuestDetailsResponse> {
        if !self.was_asked.swap(true, Ordering::Relaxed) {
            return Err(refusal(Code::UNAVAILABLE, "not now"));
        }
        let mut details = agent::AgentDetails::new();
        details.extra_features = vec![FINDS_PRESENT_DEVICES.to_owned()];
        let mut reply = agent::GuestDetailsResponse::new();
        reply.agent_details = Some(details).into();
        Ok(reply)
    }

    async fn list_interfaces(
        &self,
        _: &TtrpcContext,
        _: agent::ListInterfacesRequest,
    ) -> ttrpc::Result<agent::Interfaces> {
        let mut reply = agent::Interfaces::new();
        reply.Interfaces = vec![types::Interface::new(); MAX_REPLY / 2 + 1];
        Ok(reply)
    }

    async fn get_metrics(
        &self,
        _: &TtrpcContext,
        _: agent::GetMetricsRequest,
    ) -> ttrpc::Result<agent::Metrics> {
        let mut reply = agent::Metrics::new();
        reply.metrics = "m".repeat(MAX_DATA - 100);
        Ok(reply)
    }
}

#[async_trait]
impl health_ttrpc::Health for Guest {
    async fn check(
        &self,
        _: &TtrpcContext,
        _: health::CheckRequest,
    ) -> ttrpc::Result<health::HealthCheckResponse> {
        let mut reply = health::HealthCheckResponse::new();
        reply.status = health::health_check_response::ServingStatus::SERVING.into();
        Ok(reply)
    }
}

fn services() -> HashMap<String, ttrpc::asynchronous::Service> {
    let mut services = agent_ttrpc::create_agent_service(Arc::new(Guest::default()));
    services.extend(health_ttrpc::create_health(Arc::new(Guest::default())));
    services
}

pub async fn serve(listener: Listener) -> Server {
    let mut server = Server::new()
        .register_service(services())
        .add_listener(listener);
    server.start().await.unwrap();
    server
}

pub fn wait(exec_id: &str) -> agent::WaitProcessRequest {
    let mut request = agent::WaitProcessRequest::new();
    request.exec_id = exec_id.to_owned();
    request
}

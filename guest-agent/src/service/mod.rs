//! The two ttrpc services: unpack the request, do it, pack the answer.

mod guest;

use agent_client::{
    agent::{
        GuestDetailsRequest, GuestDetailsResponse, ReseedRandomDevRequest, SetGuestDateTimeRequest,
    },
    agent_ttrpc::AgentService,
    health::{
        CheckRequest, HealthCheckResponse, VersionCheckResponse,
        health_check_response::ServingStatus,
    },
    health_ttrpc::Health,
};
use async_trait::async_trait;
use protobuf::well_known_types::empty::Empty;
use slog::Logger;
use ttrpc::asynchronous::TtrpcContext;

use crate::{clock, entropy};

/// What the kata-agent's health service calls its own protocol.
const PROTOCOL_VERSION: &str = "0.0.1";

/// Answers for the whole agent.
pub struct Service {
    log: Logger,
}

impl Service {
    /// A service for an agent.
    pub fn new(log: Logger) -> Self {
        Self { log }
    }
}

#[async_trait]
impl Health for Service {
    async fn check(
        &self,
        _context: &TtrpcContext,
        _request: CheckRequest,
    ) -> ttrpc::Result<HealthCheckResponse> {
        Ok(HealthCheckResponse {
            status: ServingStatus::SERVING.into(),
            ..Default::default()
        })
    }

    async fn version(
        &self,
        _context: &TtrpcContext,
        _request: CheckRequest,
    ) -> ttrpc::Result<VersionCheckResponse> {
        Ok(VersionCheckResponse {
            grpc_version: PROTOCOL_VERSION.into(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        })
    }
}

#[async_trait]
impl AgentService for Service {
    async fn reseed_random_dev(
        &self,
        _context: &TtrpcContext,
        request: ReseedRandomDevRequest,
    ) -> ttrpc::Result<Empty> {
        entropy::reseed(&request.data)?;
        Ok(Empty::new())
    }

    async fn set_guest_date_time(
        &self,
        _context: &TtrpcContext,
        request: SetGuestDateTimeRequest,
    ) -> ttrpc::Result<Empty> {
        clock::set(request.Sec, request.Usec)?;
        slog::debug!(self.log, "clock set"; "seconds" => request.Sec);
        Ok(Empty::new())
    }

    async fn get_guest_details(
        &self,
        _context: &TtrpcContext,
        request: GuestDetailsRequest,
    ) -> ttrpc::Result<GuestDetailsResponse> {
        Ok(guest::details(&request))
    }
}

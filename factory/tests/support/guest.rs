//! A guest's agent on a unix socket, as behind a virtio-serial port.

use std::{collections::HashMap, path::Path, sync::Arc};

use agent_client::{
    agent::{OnlineCPUMemRequest, ReseedRandomDevRequest, SetGuestDateTimeRequest},
    agent_ttrpc::{AgentService, create_agent_service},
    health::{CheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
    health_ttrpc::{Health, create_health},
    serial::sessions,
};
use async_trait::async_trait;
use protobuf::well_known_types::empty::Empty;
use tokio::{net::UnixListener, task::AbortHandle};
use ttrpc::{
    Code,
    asynchronous::{Server, TtrpcContext, transport::Listener},
};

/// What the guest does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestFault {
    /// It never answers on the port.
    Silent,
    ReseedRefused,
    ReseedHangs,
    ClockRefused,
    OnlineRefused,
}

/// A running guest.
pub struct Guest {
    task: AbortHandle,
}

struct Service {
    fault: Option<GuestFault>,
}

impl Guest {
    pub fn listen(socket: &Path, fault: Option<GuestFault>) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let task = tokio::spawn(async move {
            let mut servers = Vec::new();
            while let Ok((port, _)) = listener.accept().await {
                if fault == Some(GuestFault::Silent) {
                    std::mem::forget(port);
                    continue;
                }
                let service = Arc::new(Service { fault });
                let mut services: HashMap<_, _> = create_agent_service(service.clone());
                services.extend(create_health(service));
                let listener = Listener::new(sessions(port));
                let mut server = Server::new()
                    .add_listener(listener)
                    .register_service(services);
                server.start().await.unwrap();
                servers.push(server);
            }
        });
        Self {
            task: task.abort_handle(),
        }
    }

    pub fn end(&self) {
        self.task.abort();
    }
}

fn refused() -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(Code::INTERNAL, "ordered by the test"))
}

#[async_trait]
impl Health for Service {
    async fn check(&self, _: &TtrpcContext, _: CheckRequest) -> ttrpc::Result<HealthCheckResponse> {
        Ok(HealthCheckResponse {
            status: ServingStatus::SERVING.into(),
            ..Default::default()
        })
    }
}

#[async_trait]
impl AgentService for Service {
    async fn reseed_random_dev(
        &self,
        _: &TtrpcContext,
        request: ReseedRandomDevRequest,
    ) -> ttrpc::Result<Empty> {
        match self.fault {
            Some(GuestFault::ReseedRefused) => Err(refused()),
            Some(GuestFault::ReseedHangs) => std::future::pending().await,
            _ if request.data.len() == 512 && request.data.iter().any(|byte| *byte != 0) => {
                Ok(Empty::new())
            }
            _ => Err(refused()),
        }
    }

    async fn online_cpu_mem(
        &self,
        _: &TtrpcContext,
        _: OnlineCPUMemRequest,
    ) -> ttrpc::Result<Empty> {
        match self.fault {
            Some(GuestFault::OnlineRefused) => Err(refused()),
            _ => Ok(Empty::new()),
        }
    }

    async fn set_guest_date_time(
        &self,
        _: &TtrpcContext,
        request: SetGuestDateTimeRequest,
    ) -> ttrpc::Result<Empty> {
        let good = request.Sec > 1_700_000_000 && self.fault != Some(GuestFault::ClockRefused);
        if good {
            Ok(Empty::new())
        } else {
            Err(refused())
        }
    }
}

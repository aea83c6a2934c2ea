//! The ttrpc server, and what it listens on.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_client::{SERIAL_PORT_NAME, agent_ttrpc, health_ttrpc, serial};
use slog::Logger;
use ttrpc::asynchronous::{Server, transport::Listener};

use crate::{
    error::{Doing, Error, Result},
    ports,
    service::Service,
    uevent::Uevents,
    vsock,
};

/// How long the VMM may take to announce its ports. On a busy host that is long after the guest is
/// up.
const PORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Listens on the virtio port for the agent if there is one, else on vsock.
///
/// # Errors
///
/// When neither appears in time.
pub async fn guest_listener(uevents: &Uevents, log: &Logger) -> Result<Listener> {
    enum Device {
        Port(PathBuf),
        Vsock,
    }

    let find = || match ports::find(Path::new(ports::CLASS), SERIAL_PORT_NAME) {
        Some(path) => Some(Device::Port(path)),
        None => ports::has_vsock(Path::new(ports::DEVICES)).then_some(Device::Vsock),
    };
    let event = "the agent's virtio port or a vsock device";
    match uevents.wait_for(event, PORT_TIMEOUT, find).await? {
        Device::Port(path) => {
            let device: OwnedFd = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .on("open", &path)?
                .into();
            let port = serial::Port::new(device).on("watch", &path)?;
            Ok(Listener::new(serial::sessions(port)))
        }
        Device::Vsock => Ok(Listener::new(vsock::from_host(log.clone())?)),
    }
}

/// Listens on a ttrpc address.
///
/// # Errors
///
/// When the address is invalid or in use.
pub fn listener(address: &str) -> Result<Listener> {
    Listener::bind(address).doing(|| format!("listen on {address}"))
}

/// Serves on `listener` until the returned server is dropped or shut down.
///
/// # Errors
///
/// When the server does not start.
pub async fn serve(listener: Listener, service: Arc<Service>) -> Result<Server> {
    let mut services: HashMap<_, _> = agent_ttrpc::create_agent_service(Arc::clone(&service) as _);
    services.extend(health_ttrpc::create_health(service as _));
    let mut server = Server::new()
        .add_listener(listener)
        .register_service(services);
    server.start().await.map_err(|error| Error::Runtime {
        doing: "start serving".into(),
        reason: error.to_string(),
    })?;
    Ok(server)
}

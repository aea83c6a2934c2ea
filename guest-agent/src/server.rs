//! Where the agent answers, and on what.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use agent_client::{agent_ttrpc, health_ttrpc, serial};
use slog::Logger;
use ttrpc::asynchronous::{Server, transport::Listener};

use crate::{
    error::{Doing, Error, Result},
    ports,
    service::Service,
    uevent::Uevents,
    vsock,
};

/// How long the monitor may take to tell of its ports: it does so when it comes to it, which on a
/// busy host is long after the guest is up.
const PORTS: Duration = Duration::from_secs(60);

/// Where the guest's agent is reached: on the virtio port made for it, or by vsock if there is a device
/// for that.
///
/// # Errors
///
/// When there is neither.
pub async fn guest_listener(uevents: &Uevents, log: &Logger) -> Result<Listener> {
    let port = || ports::find(Path::new(ports::CLASS), ports::SERVICE);
    let way = || match port() {
        Some(path) => Some(Some(path)),
        None => ports::has_vsock(Path::new(ports::DEVICES)).then_some(None),
    };
    match uevents.wait_for("the agent's port", PORTS, way).await? {
        Some(path) => {
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
        None => Ok(Listener::new(vsock::from_host(log.clone())?)),
    }
}

/// Listens on a ttrpc address.
///
/// # Errors
///
/// When the address is taken, or is none.
pub fn listener(address: &str) -> Result<Listener> {
    Listener::bind(address).doing(|| format!("listen on {address}"))
}

/// Answers on `listener` until the returned server is dropped or shut down.
///
/// # Errors
///
/// When the server could not be started.
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

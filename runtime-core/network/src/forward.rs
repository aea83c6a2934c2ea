//! Forwards connections from the loopback of the pod's network namespace to the guest. That is
//! where CRI's port-forward connects, and nothing else listens there.
//!
//! Each is relayed to a new connection to the pod's own address, as kubelet's probes use. So a
//! program that listens only on the guest's loopback is not reached.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, TcpListener as StdListener},
    os::fd::AsFd,
    time::Duration,
};

use slog::{Logger, debug};
use system::bpf::Attached;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{Namespace, NetworkError, netlink::Netlink, steer::steer};

/// The most connections at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 64;
/// How long the guest may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Forwards to the first of the guest's addresses that accepts. Never ends without an error.
///
/// # Errors
/// The kernel cannot do it (before Linux 5.9), or the namespace has no loopback.
pub async fn forward(
    namespace: Namespace,
    guest: Vec<IpAddr>,
    log: &Logger,
) -> Result<(), NetworkError> {
    let (listener, _steering) = namespace.within(listen).await?;
    let failed = |source| NetworkError::Kernel {
        action: "Forwarding connections".to_owned(),
        path: namespace.path().to_owned(),
        source,
    };
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if relays.len() < CONNECTIONS => match accepted {
                Ok((client, _)) => drop(relays.spawn(relay(client, guest.clone(), log.clone()))),
                // The client cancelled it while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(failed(error)),
            },
            Some(_) = relays.join_next() => {}
        }
    }
}

async fn listen(netlink: &mut Netlink) -> Result<(StdListener, Attached), NetworkError> {
    let listen = || {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let namespace = File::open("/proc/thread-self/ns/net")?;
        let steering = steer(&listener, namespace.as_fd())?;
        Ok((listener, steering))
    };
    listen().map_err(|error| netlink.failed("Listening on the loopback".to_owned(), error))
}

async fn relay(mut client: TcpStream, guest: Vec<IpAddr>, log: Logger) {
    let Ok(port) = client.local_addr().map(|own| own.port()) else {
        return;
    };
    for address in guest {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect((address, port))).await {
            Ok(Ok(mut server)) => {
                // Both sides see the end of the connection; an error has no other reader.
                let _ = copy_bidirectional(&mut client, &mut server).await;
                return;
            }
            Ok(Err(error)) => {
                debug!(log, "port not forwarded";
                    "to" => %address, "port" => port, "error" => %error);
            }
            Err(_) => debug!(log, "port not forwarded: timeout"; "to" => %address, "port" => port),
        }
    }
    // The client sees a reset, not an empty answer.
    let _ = client.set_zero_linger();
}

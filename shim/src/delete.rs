//! The `delete` action: undoes what a daemon has left behind, without the daemon and without the
//! guest's agent.

use std::{
    env, fs, io,
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use assembly::bundle;
use containerd_shim_protos::{
    api::{DeleteResponse, ShutdownRequest},
    protobuf::{self, Message},
    shim_async::TaskClient,
    ttrpc::{
        asynchronous::{Client, transport::Socket},
        context,
    },
};
use oci::ContainerKind;
use pod::{process::STATUS_KILLED, state};
use tokio::{runtime::Builder, time::timeout};

use crate::{address, events, flags::Flags};

/// How long a daemon may take to end its pod. containerd gives the whole action five seconds.
const GOODBYE: Duration = Duration::from_secs(2);

/// A clean-up that was not made.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The bundle cannot be read.
    #[error("Reading bundle {path} failed")]
    Bundle {
        /// The directory that was to be read.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The answer was not written.
    #[error("Writing the answer failed")]
    Answer(#[from] io::Error),
    /// The answer cannot be encoded.
    #[error("Encoding the answer failed")]
    Encode(#[from] protobuf::Error),
}

/// Runs the action on a bundle.
///
/// # Errors
/// What kept it from looking. What it could not remove is named on standard error.
pub fn run(flags: &Flags) -> Result<(), DeleteError> {
    let bundle = if flags.bundle.is_empty() {
        env::current_dir()
    } else {
        Ok(PathBuf::from(&flags.bundle))
    };
    let bundle = bundle.map_err(|source| DeleteError::Bundle {
        path: ".".into(),
        source,
    })?;
    let pid = clean(&bundle, flags).map_err(|source| DeleteError::Bundle {
        path: bundle.clone(),
        source,
    })?;
    let response = DeleteResponse {
        pid,
        exit_status: STATUS_KILLED,
        exited_at: Some(events::timestamp(SystemTime::now())).into(),
        ..Default::default()
    };
    let mut stdout = io::stdout();
    stdout.write_all(&response.write_to_bytes()?)?;
    stdout.flush()?;
    Ok(())
}

/// Cleans up and answers the VMM's pid, 0 when there was none.
fn clean(bundle: &Path, flags: &Flags) -> io::Result<u32> {
    let Some(directory) = bundle::noted_sandbox(bundle)? else {
        // Nothing had been made yet, but the socket.
        remove_socket(bundle, flags);
        return Ok(0);
    };
    if is_member(bundle) && shim_answers(bundle, flags) {
        // The pod lives on; its shim has let go of the container, or will.
        return Ok(0);
    }
    // One that lives has its pod end in order, and ends; it would stay for ever without it.
    shut_down(bundle, flags);
    let report = state::cleanup(&directory, bundle);
    for problem in &report.problems {
        eprintln!("containerd-shim-imprint-v2: left behind: {problem}");
    }
    remove_socket(bundle, flags);
    Ok(report
        .vmms
        .first()
        .map(|(vmm, _)| vmm.pid)
        .unwrap_or_default())
}

/// Whether the bundle is of a further container of a pod.
fn is_member(bundle: &Path) -> bool {
    sandbox_of(bundle).is_some()
}

/// The pod that the bundle's container is a further member of.
fn sandbox_of(bundle: &Path) -> Option<String> {
    let bundle = oci::load_bundle(bundle).ok()?;
    match ContainerKind::from_spec(&bundle.spec).ok()? {
        ContainerKind::PodContainer { sandbox_id } => Some(sandbox_id),
        _ => None,
    }
}

fn shim_answers(bundle: &Path, flags: &Flags) -> bool {
    connected(bundle, flags).is_some()
}

/// A connection to the bundle's daemon, if it listens. The file that says where is not in the
/// bundle of a member whose daemon containerd knew by itself.
fn connected(bundle: &Path, flags: &Flags) -> Option<UnixStream> {
    let socket = match fs::read_to_string(bundle.join("address")) {
        Ok(address) => PathBuf::from(address.trim().trim_start_matches("unix://")),
        Err(_) => {
            let sandbox = sandbox_of(bundle)?;
            address::socket_path(&flags.address, &flags.namespace, &sandbox)
        }
    };
    UnixStream::connect(socket).ok()
}

/// Asks a daemon that still serves to end with its pod, and gives it a while. One that hangs is
/// left: what it had made is undone without it.
fn shut_down(bundle: &Path, flags: &Flags) {
    let Some(stream) = connected(bundle, flags) else {
        return;
    };
    let asked = Builder::new_current_thread().enable_all().build();
    let asked = asked.and_then(|runtime| {
        runtime.block_on(async {
            stream.set_nonblocking(true)?;
            let stream = tokio::net::UnixStream::from_std(stream)?;
            let client = TaskClient::new(Client::new(Socket::new(stream)));
            let request = ShutdownRequest {
                id: flags.id.clone(),
                now: true,
                ..Default::default()
            };
            let answer = client.shutdown(context::with_duration(GOODBYE), &request);
            timeout(GOODBYE, answer)
                .await
                .map_err(io::Error::from)?
                .map_err(io::Error::other)
        })
    });
    if let Err(error) = asked {
        eprintln!("containerd-shim-imprint-v2: the daemon did not end when asked: {error}");
    }
}

fn remove_socket(bundle: &Path, flags: &Flags) {
    if !is_member(bundle) && !flags.id.is_empty() {
        let _ = fs::remove_file(address::socket_path(
            &flags.address,
            &flags.namespace,
            &flags.id,
        ));
    }
}

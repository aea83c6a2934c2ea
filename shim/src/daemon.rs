//! The daemon: serves the Task API on the socket that `start` has opened, until it is shut down or
//! has nothing left to serve.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::net::UnixListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use assembly::FromConfig;
use containerd_shim_protos::{
    sandbox_async::{Sandbox, create_sandbox},
    shim_async::{Task, create_task},
    ttrpc::{
        self,
        asynchronous::{Server, Service, transport::Listener},
    },
};
use resources::cgroup;
use slog::{Logger, debug, info, o, warn};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::timeout,
};

use crate::{flags::Flags, info::VERSION, logging, service::TaskService};

/// Threads for calls that block: rootfs packing and files. Idle ones end by themselves.
const BLOCKING_THREADS: usize = 8;

/// How long the last answers and events may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The service as the library knows it, and as containerd before 2.0 does. Messages and methods are
/// the same.
const TASK_V3: &str = "containerd.task.v3.Task";
const TASK_V2: &str = "containerd.task.v2.Task";

/// A daemon that did not serve, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Not started by the `start` action.
    #[error("Stdin is not a listening socket; run `containerd-shim-imprint-v2 start`")]
    NoSocket(#[source] io::Error),
    /// The process could not be set up.
    #[error("Setting up the daemon failed")]
    Setup(#[from] io::Error),
    /// The server did not start.
    #[error("Serving the Task API failed")]
    Serve(#[from] ttrpc::Error),
}

/// Serves until Shutdown, or until there is no pod that a client could ask for.
///
/// # Errors
/// Why it could not.
pub fn run(flags: &Flags) -> Result<(), DaemonError> {
    let (listener, socket) = take_listener().map_err(DaemonError::NoSocket)?;
    let log = logging::logger(flags.debug);
    let log = log.new(o!("id" => flags.id.clone(), "namespace" => flags.namespace.clone()));
    // One thread: a pod has little to do, and its memory is paid for by every pod.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let served = runtime.block_on(serve(flags, listener, &log));
    if let Err(error) = fs::remove_file(&socket) {
        debug!(log, "socket was not removed"; "error" => %error);
    }
    runtime.shutdown_background();
    served
}

/// Takes the socket from standard input and puts nothing in its place, so that no child gets it.
fn take_listener() -> io::Result<(UnixListener, PathBuf)> {
    let stdin = io::stdin();
    let listener = UnixListener::from(stdin.as_fd().try_clone_to_owned()?);
    let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
    let path = path.ok_or_else(|| io::Error::other("the socket has no path"))?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    listener.set_nonblocking(true)?;
    Ok((listener, path))
}

async fn serve(flags: &Flags, listener: UnixListener, log: &Logger) -> Result<(), DaemonError> {
    tokio::task::spawn_blocking(cgroup::prepare_move);
    outlive_signals(log)?;
    let exit = Arc::new(Notify::new());
    let service = Arc::new(TaskService::new(
        flags.namespace.clone(),
        Arc::new(FromConfig),
        exit.clone(),
        log.clone(),
    ));
    let mut server = Server::new()
        .add_listener(Listener::try_from(listener)?)
        .register_service(both_versions(&service))
        .register_service(create_sandbox(
            service.clone() as Arc<dyn Sandbox + Send + Sync>
        ));
    server.start().await?;
    info!(log, "shim serves"; "version" => VERSION, "pid" => std::process::id());

    tokio::select! {
        () = exit.notified() => {}
        () = service.deserted() => info!(log, "no pod left; exiting"),
    }
    if timeout(LAST_WORDS, service.release()).await.is_err() {
        warn!(log, "containerd did not take the last events");
    }
    let _ = timeout(LAST_WORDS, server.shutdown()).await;
    info!(log, "shim ends");
    Ok(())
}

fn both_versions(service: &Arc<TaskService>) -> std::collections::HashMap<String, Service> {
    let task = || service.clone() as Arc<dyn Task + Send + Sync>;
    let mut services = create_task(task());
    if let Some(v2) = create_task(task()).remove(TASK_V3) {
        services.insert(TASK_V2.to_owned(), v2);
    }
    services
}

/// A stop of containerd's unit signals its whole cgroup. Pods are to survive that; who wants the
/// daemon gone shuts it down.
fn outlive_signals(log: &Logger) -> io::Result<()> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let log = log.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                info!(log, "signal ignored"; "signal" => kind.as_raw_value());
            }
        });
    }
    Ok(())
}

//! The guest agent: PID 1 of an Imprint guest, or an ordinary process for tests.
//!
//! [`service`] answers the calls of the kata-agent API; [`agent`] is what they work on. Containers
//! are made by libcontainer in a process of its own ([`zygote`]). No two modules depend on each
//! other, directly or through others. All unsafe code is in [`syscalls`].
#![deny(unsafe_code)]

mod agent;
mod args;
mod beneath;
mod boot;
mod cgroup;
mod clock;
mod container;
mod copy_file;
mod entropy;
mod error;
mod hotplug;
mod identity;
mod log;
mod mounts;
mod network;
mod oci;
mod pci;
mod pid_namespace;
mod ports;
mod reaper;
mod registry;
mod server;
mod service;
mod shared_root;
mod storage;
mod syscalls;
mod sysctl;
mod termination;
mod uevent;
mod vsock;
mod zygote;

use std::{env, fs, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use slog::Logger;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    agent::{Agent, Settings},
    args::Invocation,
    error::{Doing, Result},
    pid_namespace::init,
    service::Service,
};

/// How long a device may take to appear, unless the kernel command line has
/// `agent.hotplug_timeout`, in seconds. When many emulated machines start at once they need more
/// than the kata-agent's 3 seconds.
const HOTPLUG_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let first = env::args_os().nth(1);
    let outcome = if first.is_some_and(|argument| argument == init::ARGUMENT) {
        init::run()
    } else if std::process::id() == 1 {
        run_as_init()
    } else {
        match args::parse(env::args_os().skip(1)) {
            Ok(Invocation::Plain { listen, root }) => run_as_process(&listen, root),
            Ok(Invocation::Zygote { state }) => zygote::worker::run(&state),
            Ok(Invocation::MakeDirectory { root, directory }) => {
                return zygote::directory::make(&root, &directory);
            }
            Err(error) => {
                eprintln!("{error}\nUsage: {}", args::USAGE);
                return ExitCode::from(2);
            }
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// Sets up the guest as its PID 1, and serves until the guest is powered off.
fn run_as_init() -> Result<()> {
    let warnings = boot::prepare()?;
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let parameter = |name: &str| {
        boot::agent_parameters(&command_line)
            .find_map(|(key, value)| (key == name).then_some(value))
    };
    let log = log::logger(parameter("log").unwrap_or("info"));
    for warning in warnings {
        slog::warn!(log, "boot step failed"; "cause" => warning);
    }
    let settings = Settings {
        root: args::DEFAULT_ROOT.into(),
        init: true,
        hotplug_timeout: parameter("hotplug_timeout")
            .and_then(|seconds| seconds.parse().ok())
            .map_or(HOTPLUG_TIMEOUT, Duration::from_secs),
    };
    runtime()?.block_on(async {
        let agent = start(settings, log).await?;
        agent.prepare_root()?;
        network::bring_up_loopback().await?;
        let listener = server::guest_listener(&agent.uevents, &agent.log).await?;
        let _server = server::serve(listener, Arc::new(Service::new(agent))).await?;
        std::future::pending().await
    })
}

/// Serves on a socket until it gets SIGTERM.
fn run_as_process(listen: &str, root: PathBuf) -> Result<()> {
    let settings = Settings {
        root,
        init: false,
        hotplug_timeout: HOTPLUG_TIMEOUT,
    };
    runtime()?.block_on(serve_until_terminated(settings, listen))
}

/// Serves until SIGTERM, and then removes all containers and mounts.
async fn serve_until_terminated(settings: Settings, listen: &str) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).doing(|| "listen to SIGTERM".into())?;
    let agent = start(settings, log::logger("debug")).await?;
    let listener = server::listener(listen)?;
    let _server = server::serve(listener, Arc::new(Service::new(Arc::clone(&agent)))).await?;
    terminate.recv().await;
    agent.remove_all_containers().await;
    agent.storages.remove_all().await;
    let unmounted = shared_root::end(&agent.settings.root);
    let removed = agent.zygote.remove_records();
    unmounted.and(removed)
}

/// An agent that is ready to create containers.
async fn start(settings: Settings, log: Logger) -> Result<Arc<Agent>> {
    let agent = Arc::new(Agent::new(settings, log)?);
    agent.zygote.start().await?;
    if let Err(error) = cgroup::prepare() {
        // Creating a container that needs device rules then fails with the cause.
        slog::warn!(agent.log, "device rules not prepared"; "cause" => error.chain());
    }
    Ok(agent)
}

fn runtime() -> Result<Runtime> {
    Runtime::new().doing(|| "start the threads of the agent".into())
}

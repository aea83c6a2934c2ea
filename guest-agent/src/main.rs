//! The guest agent: PID 1 of an Imprint guest, or an ordinary process for tests.
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
mod making;
mod mounts;
mod network;
mod oci;
mod pci;
mod pid_namespace;
mod ports;
mod raw;
mod reaper;
mod server;
mod service;
mod shared_root;
mod storage;
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
    pid_namespace::keeper,
    service::Service,
};

/// How long a device may take to appear, unless `agent.hotplug_timeout` says otherwise. Emulated
/// machines take more than the usual 3 seconds when many start at once.
const HOTPLUG_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let keeper = env::args_os()
        .nth(1)
        .is_some_and(|first| first == keeper::ARGUMENT);
    let outcome = if keeper {
        keeper::run()
    } else if std::process::id() == 1 {
        run_as_init()
    } else {
        match args::parse(env::args_os().skip(1)) {
            Ok(Invocation::Plain { listen, root }) => run_plain(&listen, root),
            Ok(Invocation::Zygote { state }) => zygote::worker::run(&state),
            Ok(Invocation::MakeDirectory { root, directory }) => {
                return zygote::directory::make(&root, &directory);
            }
            Err(mistake) => {
                eprintln!("{mistake}\nUsage: {}", args::USAGE);
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

/// Turns a bare kernel into a guest and serves until it is powered off.
fn run_as_init() -> Result<()> {
    let complaints = boot::prepare()?;
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let parameter = |name: &str| {
        boot::agent_parameters(&command_line)
            .find_map(|(key, value)| (key == name).then_some(value))
    };
    let log = log::logger(parameter("log").unwrap_or("info"));
    for complaint in complaints {
        slog::warn!(log, "{complaint}");
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
        network::bring_up_loopback().await?;
        let listener = server::guest_listener(&agent.uevents, &agent.log).await?;
        let _server = server::serve(listener, Arc::new(Service::new(agent))).await?;
        std::future::pending().await
    })
}

fn run_plain(listen: &str, root: PathBuf) -> Result<()> {
    let settings = Settings {
        root,
        init: false,
        hotplug_timeout: HOTPLUG_TIMEOUT,
    };
    runtime()?.block_on(serve_plain(settings, listen))
}

/// Serves until it is asked to end, and then leaves no container behind.
async fn serve_plain(settings: Settings, listen: &str) -> Result<()> {
    let mut terminate =
        signal(SignalKind::terminate()).doing(|| "listen for the signal to end".into())?;
    let agent = start(settings, log::logger("debug")).await?;
    let listener = server::listener(listen)?;
    let _server = server::serve(listener, Arc::new(Service::new(Arc::clone(&agent)))).await?;
    terminate.recv().await;
    agent.remove_all_containers().await;
    agent.storages.remove_all().await;
    let unmounted = shared_root::end(&agent.settings.root);
    let forgotten = agent.zygote.forget_records();
    unmounted.and(forgotten)
}

/// An agent that is ready to make containers.
async fn start(settings: Settings, log: Logger) -> Result<Arc<Agent>> {
    let agent = Arc::new(Agent::new(settings, log)?);
    agent.zygote.warm_up().await?;
    if let Err(error) = cgroup::prepare() {
        // Each container that needs rules will be told.
        slog::warn!(agent.log, "device rules are not prepared"; "cause" => error.chain());
    }
    Ok(agent)
}

fn runtime() -> Result<Runtime> {
    Runtime::new().doing(|| "start the agent's threads".into())
}

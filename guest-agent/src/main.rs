//! The guest agent: PID 1 of an Imprint guest, or an ordinary process for tests.
#![deny(unsafe_code)]

mod args;
mod boot;
mod clock;
mod entropy;
mod error;
mod log;
mod ports;
mod server;
mod service;

use std::{env, fs, path::Path, process::ExitCode, sync::Arc};

use slog::Logger;
use tokio::runtime::Runtime;

use crate::{
    args::Invocation,
    error::{Doing, Result},
    service::Service,
};

fn main() -> ExitCode {
    let outcome = if std::process::id() == 1 {
        run_as_init()
    } else {
        match args::parse(env::args_os().skip(1)) {
            Ok(Invocation::Plain { listen, root }) => run_plain(&listen, &root),
            Ok(Invocation::Zygote { state: _ }) => Ok(()),
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
    let level = boot::agent_parameters(&command_line)
        .find_map(|(key, value)| (key == "log").then_some(value))
        .unwrap_or("info");
    let log = log::logger(level);
    for complaint in complaints {
        slog::warn!(log, "{complaint}");
    }
    runtime()?.block_on(async {
        let listener = server::guest_listener()?;
        serve_until_stopped(listener, log).await
    })
}

fn run_plain(listen: &str, _root: &Path) -> Result<()> {
    let log = log::logger("debug");
    runtime()?.block_on(async { serve_until_stopped(server::listener(listen)?, log).await })
}

fn runtime() -> Result<Runtime> {
    Runtime::new().doing(|| "start the agent's threads".into())
}

async fn serve_until_stopped(
    listener: ttrpc::asynchronous::transport::Listener,
    log: Logger,
) -> Result<()> {
    let service = Arc::new(Service::new(log.clone()));
    let _server = server::serve(listener, service).await?;
    slog::info!(log, "serving");
    std::future::pending().await
}

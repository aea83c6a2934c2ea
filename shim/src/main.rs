#![forbid(unsafe_code)]
//! `containerd-shim-imprint-v2`: what containerd starts for a pod.
//!
//! * `start` listens on the pod's socket, starts the daemon and prints the socket's address.
//! * no action: the daemon, which serves the Task API until it is shut down.
//! * `delete` undoes what a daemon that died has left behind.
//! * `-info` and `-v` describe the binary.

mod address;
mod daemon;
mod delete;
mod error;
mod events;
mod flags;
mod info;
mod logging;
mod management;
mod options;
mod pod;
mod pod_config;
mod publisher;
mod service;
mod start;
mod stats;

use std::{env, error::Error as StdError, ffi::OsString, process::ExitCode};

use flags::{Action, Flags};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let flags = match flags::parse(&arguments) {
        Ok(flags) => flags,
        Err(error) => return fail(&error),
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn StdError>> {
    match flags.action {
        Action::Version => info::print_version()?,
        Action::Info => info::print_info()?,
        Action::Start => start::run(flags)?,
        Action::Delete => delete::run(flags)?,
        Action::Serve => daemon::run(flags)?,
    }
    Ok(())
}

/// containerd shows what `start` and `delete` write here to whoever asked for the container.
fn fail(error: &dyn StdError) -> ExitCode {
    eprintln!(
        "containerd-shim-imprint-v2: {}",
        system::error::chain(error)
    );
    ExitCode::FAILURE
}

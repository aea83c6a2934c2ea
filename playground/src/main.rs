#![forbid(unsafe_code)]
//! `imprint-playground`: a private containerd with Imprint in it, to look at or to use.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use playground::{Error, bench, demo, up, wait};

/// A private containerd with Imprint in it
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Run one container in booted and in restored VMs, and compare
    Demo,
    /// Measure what SPECIFICATION.md promises, and fail where a promise is broken
    Bench(bench::Options),
    /// Put the playground up and print what a shell needs to use it
    Up,
    /// Take the playground away
    Down,
}

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match act(arguments.action) {
        Ok(kept) if kept => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error @ Error::Interrupted { .. }) => {
            eprintln!("{}", error.chain());
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// Whether what was measured is as promised.
fn act(action: Action) -> playground::Result<bool> {
    wait::catch_signals()?;
    match action {
        Action::Demo => print(&demo::demo()?)?,
        Action::Bench(options) => {
            let outcome = bench::bench(options)?;
            print(&outcome)?;
            return Ok(!outcome.failed());
        }
        Action::Up => println!("{}", up::up()?),
        Action::Down => up::down()?,
    }
    Ok(true)
}

/// One line of JSON.
fn print(outcome: &impl serde::Serialize) -> playground::Result<()> {
    let line = serde_json::to_string(outcome);
    let line = line.map_err(|error| Error::Unexpected(error.to_string()))?;
    println!("{line}");
    Ok(())
}

#![forbid(unsafe_code)]
//! `imprint-playground`: a private containerd with Imprint in it, to look at or to use.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use imprint_tests::{Error, demo, up, wait};

/// A private containerd with Imprint in it
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Action {
    /// Run one container in booted and in restored VMs, and compare
    Demo,
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ Error::Interrupted { .. }) => {
            eprintln!("{error}");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> imprint_tests::Result<()> {
    wait::catch_signals()?;
    match action {
        Action::Demo => {
            let outcome = demo::demo()?;
            let line = serde_json::to_string(&outcome);
            println!(
                "{}",
                line.map_err(|error| Error::Unexpected(error.to_string()))?
            );
        }
        Action::Up => println!("{}", up::up()?),
        Action::Down => up::down()?,
    }
    Ok(())
}

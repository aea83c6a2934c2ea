#![forbid(unsafe_code)]
//! `imprint`: the command line tool. Makes, shows and destroys VM templates, and checks a node.

mod check;
mod explain;
mod factory_command;
mod selftest;
mod setup;
mod status;
mod terminal;
mod verify;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// What a command ends with. `Ok(false)`: it did its work, and the answer is "no".
type Outcome = Result<bool, Box<dyn Error>>;

/// Virtual machines for containers, restored from templates.
#[derive(Parser)]
#[command(name = "imprint", version, arg_required_else_help = true)]
struct Arguments {
    /// Configuration file [default: /etc/imprint/configuration.toml, then
    /// /usr/share/defaults/imprint/configuration.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log to stderr what is done
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, show or destroy the VM templates
    #[command(subcommand)]
    Factory(Factory),
    /// Check that VMs can be started here with this configuration
    Check,
    /// Restore two clones of the template and show that they are unique; fails if they are not
    Selftest {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say how a running sandbox was started, why so, and where the time went
    Explain {
        /// Id of the sandbox, or its beginning
        sandbox: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the version of this tool
    Version,
}

#[derive(Subcommand)]
enum Factory {
    /// Make a template of each configured shape
    Init {
        /// Make new ones although there are some; running VMs keep the old ones' memory
        #[arg(long)]
        replace: bool,
    },
    /// Say whether VMs are restored from templates, or why not
    Status(Status),
    /// Remove the templates; running VMs are not affected
    Destroy,
}

#[derive(Args)]
struct Status {
    /// As one JSON object
    #[arg(long)]
    json: bool,
    /// Read all memory of the templates and restore a VM from each; fails if any fails
    #[arg(long)]
    verify: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(run(&arguments));
    // Work that was cancelled, as a wait for a lock, must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(error.as_ref()),
    }
}

async fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.as_deref();
    let log = |level| {
        terminal::logger(if arguments.verbose {
            slog::Level::Debug
        } else {
            level
        })
    };
    match &arguments.command {
        Command::Version => {
            println!("imprint {}", env!("CARGO_PKG_VERSION"));
            Ok(true)
        }
        Command::Check => check::check(config, &log(slog::Level::Info)).await,
        Command::Selftest { json } => {
            let log = log(slog::Level::Error);
            let setup = setup::Setup::load(config, &log)?;
            selftest::selftest(&setup, *json, &log).await
        }
        Command::Explain { sandbox, json } => {
            let setup = setup::Setup::load(config, &log(slog::Level::Error))?;
            explain::explain(&setup.config.runtime.run_root, sandbox, *json)
        }
        Command::Factory(command) => {
            let log = log(slog::Level::Error);
            let setup = setup::Setup::load(config, &log)?;
            match command {
                Factory::Init { replace } => factory_command::init(&setup, *replace, &log).await,
                Factory::Destroy => factory_command::destroy(&setup).await,
                Factory::Status(options) => status::status(&setup, options, &log).await,
            }
        }
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("imprint: {}", system::error::chain(error));
    ExitCode::FAILURE
}

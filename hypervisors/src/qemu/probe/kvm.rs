//! Whether a guest really runs under this host's KVM.
//!
//! That `/dev/kvm` exists and makes VMs says little: there are hosts whose KVM emulates the guest's
//! kernel instruction by instruction, or refuses the processor that a guest is to see. So a guest
//! is run, on the processor of real guests. On hardware it takes a few hundredths of a second.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use system::error::chain;

use super::{
    super::{
        command_line::{Accelerator, bare_machine, cpu_model},
        config::QemuConfig,
    },
    payload,
};
use crate::{
    Error, Result, VmExit,
    process::{Process, Start},
};

/// The device through which KVM is used.
pub const DEVICE: &str = "/dev/kvm";

/// Hardware does the payload's 100 million instructions in some 50 ms; one that is emulated takes
/// the better part of a minute.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a guest runs under KVM, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// A guest was seen to run.
    pub works: bool,
    /// What was seen, for a log.
    pub reason: String,
}

/// Why KVM need not even be tried, if so. This is cheap and can change while the host runs.
pub fn obstacle() -> Option<Verdict> {
    let error = File::options().read(true).write(true).open(DEVICE).err()?;
    Some(Verdict {
        works: false,
        reason: format!("{DEVICE} cannot be opened: {error}"),
    })
}

/// The machine and processor a guest under KVM gets: what a verdict holds for.
pub fn machine(config: &QemuConfig) -> String {
    format!(
        "{} {}",
        bare_machine(config),
        cpu_model(config, Accelerator::Kvm)
    )
}

/// Runs a guest under KVM, with the machine and processor that `config` gives its guests.
pub async fn probe(config: &QemuConfig, binary: &Path, log: &slog::Logger) -> Verdict {
    let arguments = |firmware: &File| arguments(config, Accelerator::Kvm, firmware);
    match run(binary, TIMEOUT, arguments, log).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict {
            works: false,
            reason: chain(&error),
        },
    }
}

async fn run(
    binary: &Path,
    timeout: Duration,
    arguments: impl FnOnce(&File) -> std::io::Result<Vec<String>>,
    log: &slog::Logger,
) -> Result<Verdict> {
    let failed = |source| Error::Spawn {
        binary: binary.to_owned(),
        source,
    };
    let firmware = firmware_file().map_err(failed)?;
    let nothing = OwnedFd::from(File::open("/dev/null").map_err(failed)?);
    let guest = Start {
        binary,
        arguments: &arguments(&firmware).map_err(failed)?,
        name: None,
        stdin: nothing,
        stdout: None,
        sockets: Vec::new(),
        netns: None,
    };
    let start = Instant::now();
    let process = Process::spawn(guest, log)?;
    let exit = process.ended_within(timeout).await;
    let took = start.elapsed();
    if exit.is_none() {
        process.kill().await?;
    }
    Ok(verdict(exit, took, timeout))
}

/// What the end of the guest's process says; `None` if it did not end within `timeout`.
fn verdict(exit: Option<VmExit>, took: Duration, timeout: Duration) -> Verdict {
    let (works, reason) = match exit {
        Some(VmExit { code, .. }) if code == Some(payload::SUCCESS) => {
            (true, format!("a guest under KVM was done after {took:?}"))
        }
        Some(VmExit { code, last_words }) => {
            let code = code.map_or_else(|| String::from("unknown"), |code| code.to_string());
            let reason = format!("a guest under KVM failed (exit code {code}): {last_words}");
            (false, reason)
        }
        None => {
            let reason = format!("a guest under KVM was not done after {timeout:?}");
            (false, reason)
        }
    };
    Verdict { works, reason }
}

/// The firmware in a file without a name: nothing is left of it, however the probe ends.
fn firmware_file() -> std::io::Result<File> {
    let mut file = File::from(memfd_create("probe", MemfdFlags::CLOEXEC)?);
    file.write_all(&payload::firmware())?;
    Ok(file)
}

fn arguments(
    config: &QemuConfig,
    accelerator: Accelerator,
    firmware: &File,
) -> std::io::Result<Vec<String>> {
    let own = system::process::own_number()?;
    let path = format!("/proc/{own}/fd/{}", firmware.as_raw_fd());
    let exit = format!("isa-debug-exit,iobase={},iosize=1", payload::EXIT_PORT);
    let (kind, cpu) = (bare_machine(config), cpu_model(config, accelerator));
    let arguments = [
        "-machine",
        &kind,
        "-accel",
        accelerator.option(),
        "-cpu",
        &cpu,
        "-m",
        "16",
        "-bios",
        &path,
    ]
    .into_iter()
    .chain([
        "-nodefaults",
        "-no-user-config",
        "-nographic",
        "-no-reboot",
        "-device",
        &exit,
    ])
    .map(str::to_owned)
    .collect();
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> slog::Logger {
        slog::Logger::root(slog::Discard, slog::o!())
    }

    #[tokio::test]
    async fn the_guest_reports_on_a_machine_that_works() {
        let config = QemuConfig::default();
        if !config.binary.exists() {
            eprintln!("SKIPPED: {} is missing", config.binary.display());
            return;
        }
        let arguments = |firmware: &File| arguments(&config, Accelerator::Tcg, firmware);
        let verdict = run(&config.binary, TIMEOUT, arguments, &log())
            .await
            .unwrap();
        assert!(verdict.works, "{}", verdict.reason);
    }

    #[tokio::test]
    async fn a_vmm_that_fails_gives_a_verdict_and_not_an_error() {
        let script = |_: &File| {
            Ok(vec![
                String::from("-c"),
                String::from("echo no cpu >&2; exit 1"),
            ])
        };
        let verdict = run(Path::new("/bin/sh"), TIMEOUT, script, &log())
            .await
            .unwrap();
        let reason = String::from("a guest under KVM failed (exit code 1): no cpu");
        assert_eq!(
            verdict,
            Verdict {
                works: false,
                reason
            }
        );
    }

    #[tokio::test]
    async fn a_guest_that_is_too_slow_is_none() {
        let script = |_: &File| Ok(vec![String::from("-c"), String::from("kill -STOP $$")]);
        let timeout = Duration::from_millis(50);
        let verdict = run(Path::new("/bin/sh"), timeout, script, &log())
            .await
            .unwrap();
        assert_eq!(verdict.reason, "a guest under KVM was not done after 50ms");
    }
}

//! What PID 1 does before it serves: mounts, kernel modules, limits; and powering off.

mod modules;
mod mounts;

use std::{fs, path::Path, time::Duration};

use nix::{
    sys::{
        reboot::{RebootMode, reboot},
        resource::{Resource, setrlimit},
    },
    unistd::sync,
};
use slog::Logger;
use system::time::pause;

use crate::error::{Doing, Result};

/// Open files that a container's process may have when its specification sets no limit.
const OPEN_FILES: u64 = 1 << 20;

/// How long the answer to the last call may take to leave the guest.
const LAST_ANSWER: Duration = Duration::from_millis(100);

/// Makes a running system of a bare kernel.
///
/// Returns warnings to be logged later, about what failed and not every guest needs.
///
/// # Errors
///
/// When something that every guest needs fails.
pub fn prepare() -> Result<Vec<String>> {
    mounts::leave_initial_root()?;
    mounts::mount_kernel_file_systems()?;
    let mut warnings = modules::load_all(Path::new("/lib/modules"))?;
    enable_controllers(Path::new("/sys/fs/cgroup"))?;
    if let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES) {
        warnings.push(format!(
            "Could not raise RLIMIT_NOFILE to {OPEN_FILES}: {errno}"
        ));
    }
    Ok(warnings)
}

/// Powers the machine off after the answer to the last call has left.
pub async fn power_off_soon(log: Logger) {
    sync();
    pause("ttrpc does not say when an answer has left", LAST_ANSWER).await;
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    slog::crit!(log, "machine not powered off"; "cause" => %errno);
}

/// Enables every controller of the kernel for the groups below the root cgroup.
fn enable_controllers(root: &Path) -> Result<()> {
    let available = root.join("cgroup.controllers");
    let wanted: String = fs::read_to_string(&available)
        .on("read", &available)?
        .split_whitespace()
        .map(|controller| format!("+{controller} "))
        .collect();
    let control = root.join("cgroup.subtree_control");
    fs::write(&control, wanted.trim_end()).on("write", &control)
}

/// The parameters on the kernel command line that begin with `agent.`, as key and value.
pub fn agent_parameters(command_line: &str) -> impl Iterator<Item = (&str, &str)> {
    command_line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("agent."))
        .map(|word| word.split_once('=').unwrap_or((word, "true")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agents_parameters_are_taken() {
        let line = "console=ttyS0 agent.log=debug quiet agent.devmode agent.hotplug_timeout=10\n";
        assert_eq!(
            agent_parameters(line).collect::<Vec<_>>(),
            [
                ("log", "debug"),
                ("devmode", "true"),
                ("hotplug_timeout", "10")
            ]
        );
    }
}

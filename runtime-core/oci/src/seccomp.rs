//! A system call filter for the agent's API.

use agent_client::oci as wire;
use oci_spec::runtime as host;

use super::{OciError, process::wire_name};

/// libseccomp's default error for a refused call.
const EPERM: u32 = 1;

/// The filter, unchanged.
///
/// # Errors
/// The agent's API cannot express a part of it, so it would filter differently.
pub(super) fn guest_seccomp(filter: &host::LinuxSeccomp) -> Result<wire::LinuxSeccomp, OciError> {
    if filter.listener_path().is_some() {
        return Err(OciError::Unsupported {
            field: "linux.seccomp.listenerPath",
        });
    }
    if filter
        .default_errno_ret()
        .is_some_and(|errno| errno != EPERM)
    {
        return Err(OciError::Unsupported {
            field: "linux.seccomp.defaultErrnoRet",
        });
    }
    Ok(wire::LinuxSeccomp {
        DefaultAction: wire_name(&filter.default_action()),
        Architectures: filter
            .architectures()
            .iter()
            .flatten()
            .map(wire_name)
            .collect(),
        Flags: filter.flags().iter().flatten().map(wire_name).collect(),
        Syscalls: filter.syscalls().iter().flatten().map(syscall).collect(),
        ..Default::default()
    })
}

fn syscall(rule: &host::LinuxSyscall) -> wire::LinuxSyscall {
    let mut out = wire::LinuxSyscall {
        Names: rule.names().clone(),
        Action: wire_name(&rule.action()),
        Args: rule.args().iter().flatten().map(argument).collect(),
        ..Default::default()
    };
    if let Some(errno) = rule.errno_ret() {
        out.set_errnoret(errno);
    }
    out
}

fn argument(argument: &host::LinuxSeccompArg) -> wire::LinuxSeccompArg {
    wire::LinuxSeccompArg {
        Index: argument.index() as u64,
        Value: argument.value(),
        ValueTwo: argument.value_two().unwrap_or_default(),
        Op: wire_name(&argument.op()),
        ..Default::default()
    }
}

//! A process for the agent's API.

use agent_client::oci as wire;
use oci_spec::runtime as host;
use protobuf::MessageField;

use super::OciError;

/// Parts of a process that the agent's API has no field for.
pub(super) fn left_out(process: &host::Process) -> Vec<&'static str> {
    [
        (process.io_priority().is_some(), "process.ioPriority"),
        (process.scheduler().is_some(), "process.scheduler"),
        (
            process.exec_cpu_affinity().is_some(),
            "process.execCPUAffinity",
        ),
        (process.user().umask().is_some(), "process.user.umask"),
    ]
    .into_iter()
    .filter_map(|(present, name)| present.then_some(name))
    .collect()
}

/// The process for the guest, without the SELinux label, which is meant for the host.
pub(super) fn guest_process(process: &host::Process) -> Result<wire::Process, OciError> {
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(OciError::Missing("process.args (no command to run)"));
    }
    let cwd = text(process.cwd(), "process.cwd")?;
    if !cwd.starts_with('/') {
        return Err(OciError::Invalid {
            field: "process.cwd",
            value: cwd,
        });
    }
    Ok(wire::Process {
        Terminal: process.terminal().unwrap_or_default(),
        ConsoleSize: process.console_size().map(console_size).into(),
        User: MessageField::some(user(process.user())),
        Args: args,
        Env: process.env().clone().unwrap_or_default(),
        Cwd: cwd,
        Capabilities: process.capabilities().as_ref().map(capabilities).into(),
        Rlimits: process.rlimits().iter().flatten().map(rlimit).collect(),
        NoNewPrivileges: process.no_new_privileges().unwrap_or_default(),
        ApparmorProfile: process.apparmor_profile().clone().unwrap_or_default(),
        OOMScoreAdj: process.oom_score_adj().unwrap_or_default().into(),
        ..Default::default()
    })
}

/// A path as text; `field` names it in an error.
pub(super) fn text(path: &std::path::Path, field: &'static str) -> Result<String, OciError> {
    path.to_str().map(str::to_owned).ok_or(OciError::Invalid {
        field,
        value: path.display().to_string(),
    })
}

/// The name that an enumeration's value has in `config.json`.
pub(super) fn wire_name<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn console_size(size: host::Box) -> wire::Box {
    let bounded = |cells: u64| u32::try_from(cells).unwrap_or(u32::MAX);
    wire::Box {
        Height: bounded(size.height()),
        Width: bounded(size.width()),
        ..Default::default()
    }
}

fn user(user: &host::User) -> wire::User {
    wire::User {
        UID: user.uid(),
        GID: user.gid(),
        AdditionalGids: user.additional_gids().clone().unwrap_or_default(),
        Username: user.username().clone().unwrap_or_default(),
        ..Default::default()
    }
}

fn capabilities(set: &host::LinuxCapabilities) -> wire::LinuxCapabilities {
    let names = |set: &Option<host::Capabilities>| {
        let mut names: Vec<String> = set.iter().flatten().map(wire_name).collect();
        names.sort_unstable();
        names
    };
    wire::LinuxCapabilities {
        Bounding: names(set.bounding()),
        Effective: names(set.effective()),
        Inheritable: names(set.inheritable()),
        Permitted: names(set.permitted()),
        Ambient: names(set.ambient()),
        ..Default::default()
    }
}

fn rlimit(limit: &host::PosixRlimit) -> wire::POSIXRlimit {
    wire::POSIXRlimit {
        Type: wire_name(&limit.typ()),
        Hard: limit.hard(),
        Soft: limit.soft(),
        ..Default::default()
    }
}

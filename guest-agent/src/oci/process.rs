//! Processes: a container's first one, and what is executed beside it later.

use agent_client::oci::Process;
use serde_json::{Value, json};

use super::Members;
use crate::error::{Error, Result};

/// The runtime's form of `process`.
///
/// # Errors
///
/// When it has no arguments, or one that no program can be given.
pub fn process(process: &Process) -> Result<Value> {
    if process.Args.is_empty() {
        return Err(Error::Invalid("the process has no arguments".into()));
    }
    if process
        .Args
        .iter()
        .chain(&process.Env)
        .any(|text| text.contains('\0'))
    {
        return Err(Error::Invalid(
            "an argument or variable contains a NUL byte".into(),
        ));
    }
    let user = process.User.get_or_default();
    let mut members = Members::default();
    members.always("terminal", process.Terminal);
    if let Some(size) = process.ConsoleSize.as_ref() {
        members.always(
            "consoleSize",
            json!({"height": size.Height, "width": size.Width}),
        );
    }
    members.always(
        "user",
        json!({"uid": user.UID, "gid": user.GID, "additionalGids": user.AdditionalGids}),
    );
    members.always("args", process.Args.clone());
    members.always("env", process.Env.clone());
    members.always(
        "cwd",
        if process.Cwd.is_empty() {
            "/"
        } else {
            &process.Cwd
        },
    );
    // Always given: the runtime sets it on the process that containers are forked from, where the
    // last container's value would otherwise stay.
    members.always("oomScoreAdj", process.OOMScoreAdj);
    // Always given, too: no capabilities means none, to the runtime it would mean all.
    let sets = process.Capabilities.get_or_default();
    members.always(
        "capabilities",
        json!({
            "bounding": sets.Bounding,
            "effective": sets.Effective,
            "inheritable": sets.Inheritable,
            "permitted": sets.Permitted,
            "ambient": sets.Ambient,
        }),
    );
    if !process.Rlimits.is_empty() {
        members.always("rlimits", rlimits(process));
    }
    // `false` is left out: the runtime loads the system call filter late, without privileges, for
    // any value that is given.
    members.given("noNewPrivileges", &process.NoNewPrivileges);
    members.given("apparmorProfile", &process.ApparmorProfile);
    members.given("selinuxLabel", &process.SelinuxLabel);
    Ok(members.finish())
}

fn rlimits(process: &Process) -> Value {
    process
        .Rlimits
        .iter()
        .map(|limit| json!({"type": limit.Type, "hard": limit.Hard, "soft": limit.Soft}))
        .collect()
}

/// Completes a process to be executed with what its caller left to the container: capabilities,
/// limits, privileges, profile.
pub fn exec_process(mut wanted: Process, container: &Process) -> Process {
    if wanted.Capabilities.is_none() {
        wanted.Capabilities = container.Capabilities.clone();
    }
    if wanted.Rlimits.is_empty() {
        wanted.Rlimits = container.Rlimits.clone();
    }
    if wanted.ApparmorProfile.is_empty() {
        wanted.ApparmorProfile = container.ApparmorProfile.clone();
    }
    if wanted.Env.is_empty() {
        wanted.Env = container.Env.clone();
    }
    if wanted.Cwd.is_empty() {
        wanted.Cwd = container.Cwd.clone();
    }
    wanted.NoNewPrivileges |= container.NoNewPrivileges;
    if wanted.OOMScoreAdj == 0 {
        wanted.OOMScoreAdj = container.OOMScoreAdj;
    }
    wanted
}

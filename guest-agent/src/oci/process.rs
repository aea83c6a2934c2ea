//! A container's first process, and the ones that are executed beside it later.

use agent_client::oci::Process;
use serde_json::{Value, json};

use super::Members;
use crate::error::{Error, Result};

/// The member `process` of the configuration.
///
/// # Errors
///
/// When there are no arguments, or one contains a NUL byte.
pub fn process(process: &Process) -> Result<Value> {
    check(process)?;
    let user = process.User.get_or_default();
    let mut members = Members::default();
    members.add("terminal", process.Terminal);
    if let Some(size) = process.ConsoleSize.as_ref() {
        let size = json!({"height": size.Height, "width": size.Width});
        members.add("consoleSize", size);
    }
    members.add(
        "user",
        json!({"uid": user.UID, "gid": user.GID, "additionalGids": user.AdditionalGids}),
    );
    members.add("args", process.Args.clone());
    members.add("env", process.Env.clone());
    let directory = match process.Cwd.as_str() {
        "" => "/",
        directory => directory,
    };
    members.add("cwd", directory);
    // Always set: libcontainer sets it on the process that containers are forked from, which would
    // otherwise keep the value of the last container.
    members.add("oomScoreAdj", process.OOMScoreAdj);
    // Always set: without this member libcontainer would keep all capabilities.
    members.add("capabilities", capabilities(process));
    if !process.Rlimits.is_empty() {
        members.add("rlimits", rlimits(process));
    }
    // `false` is left out: for any value that is set, libcontainer loads the system call filter
    // late and without privileges.
    members.add_if_set("noNewPrivileges", &process.NoNewPrivileges);
    members.add_if_set("apparmorProfile", &process.ApparmorProfile);
    members.add_if_set("selinuxLabel", &process.SelinuxLabel);
    Ok(members.finish())
}

fn check(process: &Process) -> Result<()> {
    if process.Args.is_empty() {
        return Err(Error::Invalid("the process has no arguments".into()));
    }
    let mut texts = process.Args.iter().chain(&process.Env);
    if texts.any(|text| text.contains('\0')) {
        return Err(Error::Invalid(
            "an argument or variable contains a NUL byte".into(),
        ));
    }
    Ok(())
}

fn capabilities(process: &Process) -> Value {
    let sets = process.Capabilities.get_or_default();
    json!({
        "bounding": sets.Bounding,
        "effective": sets.Effective,
        "inheritable": sets.Inheritable,
        "permitted": sets.Permitted,
        "ambient": sets.Ambient,
    })
}

fn rlimits(process: &Process) -> Value {
    process
        .Rlimits
        .iter()
        .map(|limit| json!({"type": limit.Type, "hard": limit.Hard, "soft": limit.Soft}))
        .collect()
}

/// Completes a process to be executed: what its caller has not set, such as capabilities, limits
/// and the environment, is that of the container's first process.
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

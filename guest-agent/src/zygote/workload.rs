//! The last steps of a container's process before it becomes the program asked for.

use std::{
    env,
    ffi::CString,
    fs,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use caps::{CapSet, CapsHashSet};
use libcontainer::{
    capabilities::CapabilityExt,
    oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, Process, Spec},
    seccomp::initialize_seccomp,
    workload::{Executor, ExecutorError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    unistd::{execv, read},
};

use super::reason::words;
use crate::raw;

/// The exit code of a first process that cannot execute its program, as runc has it.
const NOT_EXECUTED: i32 = 1;

/// Executes a process's program.
///
/// libcontainer's own executor wants a `PATH` even for absolute names, leaves SIGPIPE ignored, and
/// gives processes beside a container's first one no system call filter.
#[derive(Clone, Default)]
pub struct Workload {
    /// A container's first process, whose start is over before its program is executed.
    first: bool,
    /// Comes to its end when the terminal has its owner and size.
    gate: Option<Arc<OwnedFd>>,
    filter: Option<LinuxSeccomp>,
    /// The effective and permitted capabilities to end with, if there were more until then.
    capabilities: Option<(CapsHashSet, CapsHashSet)>,
}

impl Workload {
    /// For a container's first process, whose filter libcontainer loads.
    pub fn first(gate: Option<Arc<OwnedFd>>) -> Self {
        Self {
            first: true,
            gate,
            ..Self::default()
        }
    }

    /// For the process described in the file `process`, beside the first one: it gets the filter
    /// that the container's specification has.
    ///
    /// The kernel lets a process load a filter that can gain no privileges, or that is privileged
    /// itself. So a process that may gain some keeps CAP_SYS_ADMIN until its filter is loaded; the
    /// file is changed for that.
    pub fn beside(bundle: &Path, process: &Path, gate: Option<Arc<OwnedFd>>) -> io::Result<Self> {
        let filter = Spec::load(bundle.join("config.json"))
            .ok()
            .and_then(|spec| spec.linux().as_ref()?.seccomp().clone());
        let mut workload = Self {
            filter,
            gate,
            ..Self::default()
        };
        if workload.filter.is_none() {
            return Ok(workload);
        }
        let mut wanted: Process = serde_json::from_slice(&fs::read(process)?)?;
        if wanted.no_new_privileges() == Some(true) {
            return Ok(workload);
        }
        let mut sets = wanted.capabilities().clone().unwrap_or_default();
        let mut effective = sets.effective().clone().unwrap_or_default();
        let mut permitted = sets.permitted().clone().unwrap_or_default();
        workload.capabilities = Some((numbers(&effective), numbers(&permitted)));
        effective.insert(Capability::SysAdmin);
        permitted.insert(Capability::SysAdmin);
        sets.set_effective(Some(effective))
            .set_permitted(Some(permitted));
        wanted.set_capabilities(Some(sets));
        fs::write(process, serde_json::to_vec(&wanted)?)?;
        Ok(workload)
    }

    /// Waits until the agent has the terminal ready. Without one, or without the agent, goes on.
    fn pass_gate(&self) {
        let mut nothing = [0];
        while let Some(gate) = &self.gate
            && read(gate, &mut nothing) == Err(Errno::EINTR)
        {}
    }

    fn confine(&self) -> Result<(), String> {
        if let Some(filter) = &self.filter {
            initialize_seccomp(filter).map_err(|error| {
                format!("the system call filter could not be installed: {error}")
            })?;
        }
        if let Some((effective, permitted)) = &self.capabilities {
            for (kind, set) in [
                (CapSet::Effective, effective),
                (CapSet::Permitted, permitted),
            ] {
                caps::set(None, kind, set).map_err(|error| {
                    format!("the {kind:?} capabilities could not be set: {error}")
                })?;
            }
        }
        Ok(())
    }
}

fn numbers(set: &Capabilities) -> CapsHashSet {
    set.iter().map(CapabilityExt::to_cap).collect()
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let wanted = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let path = find_program(wanted).map_err(ExecutorError::Other)?;
        let program = c_string(path.as_os_str().as_encoded_bytes())?;
        let arguments = wanted
            .args()
            .iter()
            .flatten()
            .map(|argument| c_string(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        raw::default_sigpipe();
        self.pass_gate();
        self.confine().map_err(ExecutorError::Other)?;
        let Err(errno) = execv(&program, &arguments);
        let told = format!("exec {}: {}", path.display(), words(errno));
        if self.first {
            // Nobody waits for an answer any more: the container's log is the place to say it.
            let _is_all_there_is = writeln!(io::stderr(), "{told}");
            process::exit(NOT_EXECUTED);
        }
        Err(ExecutorError::Other(told))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let wrong = ExecutorValidationError::ArgValidationError;
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| wrong("no process".into()))?;
        find_program(process).map(drop).map_err(wrong)
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, ExecutorError> {
    CString::new(bytes).map_err(|_nul| ExecutorError::InvalidArg)
}

fn name_of(process: &Process) -> String {
    process
        .args()
        .iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_default()
}

/// Finds the program as a shell would: a name with a slash is a path, any other is looked up in
/// the process's own `PATH`. Runs inside the container. The words of a refusal are runc's, for
/// callers that look into them.
fn find_program(process: &Process) -> Result<PathBuf, String> {
    let name = name_of(process);
    if name.contains('/') {
        return match executable(Path::new(&name)) {
            Ok(()) => Ok(name.into()),
            Err(Errno::ENOENT) => Err(format!(
                "exec: {name:?}: stat {name}: no such file or directory"
            )),
            Err(errno) => Err(cannot_execute(&name, errno)),
        };
    }
    let path = process
        .env()
        .iter()
        .flatten()
        .find_map(|one| one.strip_prefix("PATH="));
    let mut refusal = Errno::ENOENT;
    for directory in env::split_paths(path.unwrap_or_default()) {
        let candidate = directory.join(&name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ENOENT) => {}
            Err(errno) => refusal = errno,
        }
    }
    match refusal {
        Errno::ENOENT => Err(format!(
            "exec: {name:?}: executable file not found in $PATH"
        )),
        errno => Err(cannot_execute(&name, errno)),
    }
}

fn executable(path: &Path) -> Result<(), Errno> {
    let metadata = fs::metadata(path).map_err(|error| match error.raw_os_error() {
        Some(number) if number != Errno::ENOTDIR as i32 => Errno::from_raw(number),
        _ => Errno::ENOENT,
    })?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn cannot_execute(name: &str, errno: Errno) -> String {
    format!("exec: {name:?}: {}", words(errno))
}

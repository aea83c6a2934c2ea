//! The last steps of a new process before it executes its program.

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

use super::reason::message;
use crate::syscalls;

/// The exit code of a first process that cannot execute its program, as with runc.
const NOT_EXECUTED: i32 = 1;

/// Executes a process's program.
///
/// libcontainer's own executor needs `PATH` even for absolute names, leaves SIGPIPE ignored, and
/// loads no system call filter in processes beside a container's first one.
#[derive(Clone, Default)]
pub struct Workload {
    /// Whether this is a container's first process. Its start has been answered before it executes
    /// its program.
    first: bool,
    /// At its end when the terminal has its owner and size.
    terminal_ready: Option<Arc<OwnedFd>>,
    /// The system call filter to load.
    filter: Option<LinuxSeccomp>,
    /// The effective and permitted capabilities of the program, if the process has more until then.
    capabilities: Option<(CapsHashSet, CapsHashSet)>,
}

impl Workload {
    /// For a container's first process. libcontainer loads its system call filter.
    pub fn first(terminal_ready: Option<Arc<OwnedFd>>) -> Self {
        Self {
            first: true,
            terminal_ready,
            ..Self::default()
        }
    }

    /// For a process beside the first one, specified in the file `process`. It gets the system call
    /// filter of the container.
    ///
    /// Loading a filter takes `no_new_privs` or CAP_SYS_ADMIN. A process without `no_new_privs`
    /// keeps CAP_SYS_ADMIN until its filter is loaded; the file `process` is changed for that.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or is not the specification of a process.
    pub fn exec(
        bundle: &Path,
        process: &Path,
        terminal_ready: Option<Arc<OwnedFd>>,
    ) -> io::Result<Self> {
        let filter = Spec::load(bundle.join("config.json"))
            .ok()
            .and_then(|spec| spec.linux().as_ref()?.seccomp().clone());
        let mut workload = Self {
            filter,
            terminal_ready,
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
        workload.capabilities = Some((to_caps(&effective), to_caps(&permitted)));
        effective.insert(Capability::SysAdmin);
        permitted.insert(Capability::SysAdmin);
        sets.set_effective(Some(effective))
            .set_permitted(Some(permitted));
        wanted.set_capabilities(Some(sets));
        fs::write(process, serde_json::to_vec(&wanted)?)?;
        Ok(workload)
    }

    /// Waits until the agent has prepared the terminal, if there is one, or has ended.
    fn wait_for_terminal(&self) {
        let mut never_filled = [0];
        while let Some(ready) = &self.terminal_ready
            && read(ready, &mut never_filled) == Err(Errno::EINTR)
        {}
    }

    /// Loads the system call filter, and then drops the capabilities that this took.
    fn confine(&self) -> Result<(), String> {
        if let Some(filter) = &self.filter {
            initialize_seccomp(filter)
                .map_err(|error| format!("could not load the system call filter: {error}"))?;
        }
        if let Some((effective, permitted)) = &self.capabilities {
            for (kind, set) in [
                (CapSet::Effective, effective),
                (CapSet::Permitted, permitted),
            ] {
                caps::set(None, kind, set)
                    .map_err(|error| format!("could not set the {kind:?} capabilities: {error}"))?;
            }
        }
        Ok(())
    }
}

fn to_caps(set: &Capabilities) -> CapsHashSet {
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
        syscalls::default_sigpipe();
        self.wait_for_terminal();
        self.confine().map_err(ExecutorError::Other)?;
        let Err(errno) = execv(&program, &arguments);
        let error = format!("exec {}: {}", path.display(), message(errno));
        if self.first {
            // The start has been answered already, so the error goes to the container's log.
            let _cannot_be_reported = writeln!(io::stderr(), "{error}");
            process::exit(NOT_EXECUTED);
        }
        Err(ExecutorError::Other(error))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let invalid = ExecutorValidationError::ArgValidationError;
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| invalid("no process".into()))?;
        find_program(process).map(drop).map_err(invalid)
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, ExecutorError> {
    CString::new(bytes).map_err(|_nul| ExecutorError::InvalidArg)
}

fn program_name(process: &Process) -> String {
    process
        .args()
        .iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_default()
}

/// Finds the program as a shell does: a name with a slash is a path, any other is looked up in the
/// process's `PATH`. Runs inside the container. The error messages are runc's, since some callers
/// parse them.
fn find_program(process: &Process) -> Result<PathBuf, String> {
    let name = program_name(process);
    if name.contains('/') {
        return match check_executable(Path::new(&name)) {
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
    let mut failure = Errno::ENOENT;
    for directory in env::split_paths(path.unwrap_or_default()) {
        let candidate = directory.join(&name);
        match check_executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ENOENT) => {}
            Err(errno) => failure = errno,
        }
    }
    match failure {
        Errno::ENOENT => Err(format!(
            "exec: {name:?}: executable file not found in $PATH"
        )),
        errno => Err(cannot_execute(&name, errno)),
    }
}

fn check_executable(path: &Path) -> Result<(), Errno> {
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
    format!("exec: {name:?}: {}", message(errno))
}

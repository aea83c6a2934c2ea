//! A working directory that is in no layer and no volume: made in the container, as by runc.
//!
//! Between the mounts and the change of directory libcontainer runs the `createContainer` hooks of
//! the specification, in the container's mount namespace and outside its root. So the agent's own
//! program is such a hook. Its exit code is the number of the error.

use std::{env, fs::Permissions, io, os::unix::fs::PermissionsExt, path::Path, process::ExitCode};

use libcontainer::{
    error::LibcontainerError,
    oci_spec::runtime::{HookBuilder, Hooks, Spec},
};
use nix::{
    errno::Errno,
    sys::stat::{Mode, umask},
};
use pathrs::{
    Root,
    error::{Error, ErrorKind},
};

/// The option that runs the agent's program as the hook; the root and the directory follow it.
pub const OPTION: &str = "--make-directory";

/// Adds the hook to the specification in the file `configuration`.
///
/// # Errors
///
/// When the file is not a specification, or cannot be written.
pub fn add_hook(configuration: &Path) -> Result<(), LibcontainerError> {
    let mut spec = Spec::load(configuration)?;
    let program = env::current_exe().map_err(LibcontainerError::OtherIO)?;
    let root = spec.root().as_ref().map(|root| root.path().clone());
    let directory = spec.process().as_ref().map(|process| process.cwd().clone());
    let (Some(root), Some(directory)) = (root, directory) else {
        return Ok(());
    };
    let arguments = [
        Path::new("guest-agent"),
        Path::new(OPTION),
        &root,
        &directory,
    ]
    .map(text);
    let arguments = arguments.into_iter().collect::<Result<Vec<_>, _>>()?;
    let hook = HookBuilder::default()
        .path(program)
        .args(arguments)
        .build()?;
    let mut hooks = spec.hooks().clone().unwrap_or_else(Hooks::default);
    let mut list = hooks.create_container().clone().unwrap_or_default();
    list.push(hook);
    hooks.set_create_container(Some(list));
    spec.set_hooks(Some(hooks));
    spec.save(configuration)?;
    Ok(())
}

/// Never converted with loss: that would be the path of another directory.
fn text(path: &Path) -> Result<String, LibcontainerError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let message = format!("{} is not UTF-8", path.display());
        LibcontainerError::OtherIO(io::Error::new(io::ErrorKind::InvalidInput, message))
    })
}

/// Makes `directory` and its missing parents in `root`, owned by root and with the mode 0755. Links
/// are followed within the root; links of procfs, which could lead out of it, are not.
pub fn make(root: &Path, directory: &Path) -> ExitCode {
    umask(Mode::from_bits_truncate(0o022));
    let made = Root::open(root).and_then(|root| {
        root.mkdir_all(directory, &Permissions::from_mode(0o755))
            .map(drop)
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => u8::try_from(error_number(&error)).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

fn error_number(error: &Error) -> i32 {
    match error.kind() {
        ErrorKind::OsError(Some(number)) => number,
        _ => Errno::EINVAL as i32,
    }
}

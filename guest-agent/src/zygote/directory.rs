//! A working directory that no layer and no volume has: made in the container, as runc makes it.
//!
//! What libcontainer lets run between the mounts and the change of directory is the specification's
//! `createContainer` hook, in the container's mount namespace and outside its root. So the agent's own
//! program is the hook, and its exit code the error's number.

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

/// The hook's option of the agent's command line; the root and the directory follow.
pub const OPTION: &str = "--make-directory";

/// Changes the specification in the file `configuration` so that the container's working directory is
/// made before it is entered.
///
/// # Errors
///
/// When the file is no specification, or cannot be written.
pub fn have_it_made(configuration: &Path) -> Result<(), LibcontainerError> {
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

/// A changed name would be another directory's.
fn text(path: &Path) -> Result<String, LibcontainerError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let unreadable = format!("{} is no UTF-8", path.display());
        LibcontainerError::OtherIO(io::Error::new(io::ErrorKind::InvalidInput, unreadable))
    })
}

/// Makes `directory` in `root`, with whatever lacks above it: root's, mode 0755. Links are followed
/// within the root; those of /proc that lead out of any root are not.
pub fn make(root: &Path, directory: &Path) -> ExitCode {
    umask(Mode::from_bits_truncate(0o022));
    let made = Root::open(root).and_then(|root| {
        root.mkdir_all(directory, &Permissions::from_mode(0o755))
            .map(drop)
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => u8::try_from(number(&error)).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

fn number(error: &Error) -> i32 {
    match error.kind() {
        ErrorKind::OsError(Some(number)) => number,
        _ => Errno::EINVAL as i32,
    }
}

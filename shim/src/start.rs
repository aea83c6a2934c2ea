//! The `start` action: listen, start the daemon, say where it listens.
//!
//! The socket listens before the daemon exists and is handed to it as its standard input, so
//! containerd can connect at once and nothing is waited for.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::fcntl::OFlag;
use runtime_core::oci::{self, ContainerKind, OciError};

use crate::{address, flags::Flags};

/// A container for which no shim was started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without these nothing can be named.
    #[error("Flags -id, -namespace and -address are needed to start")]
    MissingFlags,
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] OciError),
    /// A file or a socket.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Writing".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What containerd is told: it learnt to read more than a plain address in version 2.0, and says
/// so by asking for version 3.
fn answer(url: &str, newest: Option<&str>) -> String {
    match newest.and_then(|version| version.parse::<u32>().ok()) {
        Some(version) if version >= 3 => {
            serde_json::json!({"version": 3, "address": url, "protocol": "ttrpc"}).to_string()
        }
        _ => url.to_owned(),
    }
}

/// Runs the action in the bundle, the working directory.
///
/// # Errors
/// Why no shim was started.
pub fn run(flags: &Flags) -> Result<(), StartError> {
    if flags.id.is_empty() || flags.namespace.is_empty() || flags.address.is_empty() {
        return Err(StartError::MissingFlags);
    }
    oci::validate_id(&flags.id).map_err(OciError::from)?;
    let here = env::current_dir().map_err(io_error("Finding", Path::new(".")))?;
    let bundle = oci::load_bundle(&here)?;
    let kind = ContainerKind::of(&bundle.spec)?;
    let socket = address::socket_path(&flags.address, &flags.namespace, kind.sandbox_id(&flags.id));
    let url = address::url(&socket);

    if !matches!(kind, ContainerKind::PodContainer { .. })
        && let Some(listener) = listen(&socket)?
    {
        let started = spawn(flags, listener)
            .and_then(|mut child| record_pid(&child).inspect_err(|_| end(&mut child)));
        started.inspect_err(|_| drop(fs::remove_file(&socket)))?;
    }
    write("address", &url)?;
    let newest = env::var("MAX_SHIM_VERSION").ok();
    let mut stdout = io::stdout();
    stdout
        .write_all(answer(&url, newest.as_deref()).as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(io_error("Writing to", Path::new("stdout")))
}

/// Listens on a socket only the owner can open. `None` when a shim listens there already.
fn listen(socket: &Path) -> Result<Option<UnixListener>, StartError> {
    if let Some(directory) = socket.parent() {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(directory);
        made.map_err(io_error("Making", directory))?;
    }
    let listener = match UnixListener::bind(socket) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Ok(None);
            }
            // A shim that was killed leaves its socket.
            fs::remove_file(socket).map_err(io_error("Removing", socket))?;
            UnixListener::bind(socket)
        }
        other => other,
    };
    let listener = listener.map_err(io_error("Listening on", socket))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))
        .map_err(io_error("Protecting", socket))?;
    Ok(Some(listener))
}

fn spawn(flags: &Flags, listener: UnixListener) -> Result<Child, StartError> {
    let binary = env::current_exe().map_err(io_error("Finding", Path::new("the shim's binary")))?;
    let mut command = Command::new(&binary);
    command
        .args(["-namespace", &flags.namespace])
        .args(["-address", &flags.address])
        .args(["-publish-binary", &flags.publish_binary])
        .args(["-id", &flags.id])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(log_fifo().map_or_else(Stdio::null, Stdio::from))
        // containerd signals its own group when it is stopped from a terminal.
        .process_group(0);
    if flags.debug {
        command.arg("-debug");
    }
    command.spawn().map_err(io_error("Starting", &binary))
}

/// containerd's end of the log. Opened for both directions it needs no reader and outlives one;
/// without blocking it cannot hold up the daemon.
fn log_fifo() -> Option<fs::File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open("log")
        .ok()
}

fn record_pid(child: &Child) -> Result<(), StartError> {
    let pid = child.id();
    raise_oom_score(pid);
    write("shim.pid", &pid.to_string())
}

/// Makes the kernel prefer the daemon to containerd when memory runs out. Not all hosts allow it.
fn raise_oom_score(pid: u32) {
    let parent = fs::read_to_string(format!(
        "/proc/{}/oom_score_adj",
        std::os::unix::process::parent_id()
    ));
    let parent = parent.ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(score) = parent {
        let _ = fs::write(
            format!("/proc/{pid}/oom_score_adj"),
            (score + 1).min(1000).to_string(),
        );
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn write(name: &str, content: &str) -> Result<(), StartError> {
    fs::write(name, content).map_err(io_error("Writing", Path::new(name)))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_containerd_gets_a_plain_address() {
        assert_eq!(answer("unix:///s", None), "unix:///s");
        assert_eq!(answer("unix:///s", Some("2")), "unix:///s");
        assert_eq!(answer("unix:///s", Some("what")), "unix:///s");
        let json: serde_json::Value =
            serde_json::from_str(&answer("unix:///s", Some("3"))).unwrap();
        assert_eq!(json["version"], 3);
        assert_eq!(json["address"], "unix:///s");
        assert_eq!(json["protocol"], "ttrpc");
    }
}

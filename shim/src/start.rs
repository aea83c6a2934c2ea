//! The `start` action: listen, start the daemon, say where it listens.
//!
//! The socket listens before the daemon exists and is handed to it as its standard input, so
//! containerd can connect at once and nothing is waited for.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::{
        fs::OpenOptionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use containerd_shim_protos::protobuf::{Message, well_known_types::any::Any};
use nix::fcntl::OFlag;
use oci::{ContainerKind, OciError};
use system::{directory, process, socket::listen_privately};

use crate::{
    address,
    flags::Flags,
    options::{self, OptionsError},
};

/// Longest options that are read, in bytes.
const MAX_OPTIONS: u64 = 64 << 10;

/// A container for which no shim was started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without these nothing can be named.
    #[error("Flags -id, -namespace and -address are needed to start")]
    MissingFlags,
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] OciError),
    /// The runtime's options cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A file or a socket.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Writing".
        action: &'static str,
        /// The file or socket.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

/// What containerd reads: it learnt to read more than a plain address in version 2.0, and says
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
    let (kind, config) = match oci::load_bundle(&here) {
        Ok(bundle) => (ContainerKind::from_spec(&bundle.spec)?, None),
        // The sandbox API makes pods that no specification describes, and gives the runtime's
        // options to this action alone.
        Err(OciError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            (ContainerKind::PodSandbox, config_of(io::stdin())?)
        }
        Err(error) => return Err(error.into()),
    };
    let socket = address::socket_path(&flags.address, &flags.namespace, kind.sandbox_id(&flags.id));
    let url = address::url(&socket);

    if !matches!(kind, ContainerKind::PodContainer { .. })
        && let Some(listener) = listen(&socket)?
    {
        let started = spawn(flags, listener, config.as_deref())
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
        directory::ensure(directory, 0o711).map_err(io_error("Making", directory))?;
    }
    let listener = match listen_privately(socket) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Ok(None);
            }
            // A shim that was killed leaves its socket.
            fs::remove_file(socket).map_err(io_error("Removing", socket))?;
            listen_privately(socket)
        }
        other => other,
    };
    listener.map(Some).map_err(io_error("Listening on", socket))
}

/// The configuration file that the runtime's options name, as containerd writes them to this
/// process's input.
fn config_of(input: impl Read) -> Result<Option<PathBuf>, StartError> {
    let mut message = Vec::new();
    input
        .take(MAX_OPTIONS)
        .read_to_end(&mut message)
        .map_err(io_error("Reading", Path::new("stdin")))?;
    let options = Any::parse_from_bytes(&message).map_err(OptionsError::Invalid)?;
    Ok(options::config_path(Some(&options))?)
}

fn spawn(
    flags: &Flags,
    listener: UnixListener,
    config: Option<&Path>,
) -> Result<Child, StartError> {
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
    if let Some(config) = config {
        command.env(config::ENVIRONMENT, config);
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
    let number = |pid| process::number_of(process::hold_child(pid)?);
    let raise = || -> io::Result<()> {
        let parent = number(std::os::unix::process::parent_id())?;
        let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj"))?;
        let score: i32 = score.trim().parse().map_err(io::Error::other)?;
        let raised = (score + 1).min(1000).to_string();
        fs::write(format!("/proc/{}/oom_score_adj", number(pid)?), raised)
    };
    let _ = raise();
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
    fn options_are_read_from_the_input_and_may_be_absent() {
        let path = "/etc/imprint/other.toml";
        let mut value = vec![0x12, u8::try_from(path.len()).unwrap()];
        value.extend(path.bytes());
        let options = Any {
            type_url: "runtimeoptions.v1.Options".into(),
            value,
            ..Default::default()
        };
        let message = options.write_to_bytes().unwrap();
        assert_eq!(config_of(&message[..]).unwrap(), Some(PathBuf::from(path)));
        assert_eq!(config_of(&[][..]).unwrap(), None);
        assert!(config_of(&[0xff, 0xff][..]).is_err());
    }

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

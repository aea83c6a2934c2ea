//! The command line, in the style of Go's `flag` package as containerd writes it.

use std::ffi::OsString;

/// What the binary is asked to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// Start a daemon for a new container.
    Start,
    /// Clean up after a daemon.
    Delete,
    /// Be the daemon that serves a pod.
    #[default]
    Serve,
    /// Describe the runtime for containerd.
    Info,
    /// Print the version for a person.
    Version,
}

/// The command line, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// What the binary is asked to do.
    pub action: Action,
    /// Write debug messages to the log.
    pub debug: bool,
    /// Container, or sandbox for the daemon.
    pub id: String,
    /// Namespace in which containerd has the container.
    pub namespace: String,
    /// Path of the gRPC socket on which containerd serves.
    pub address: String,
    /// Path of containerd's own binary, which can publish events.
    pub publish_binary: String,
    /// Bundle; the working directory where it is empty.
    pub bundle: String,
}

/// A command line that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// A flag that this version does not know.
    #[error("Unknown flag {0:?}")]
    Unknown(String),
    /// A flag without its value.
    #[error("Flag -{0} needs a value")]
    NoValue(String),
    /// A switch with a value that is no boolean.
    #[error("Flag -{0} takes true or false")]
    NoBoolean(String),
    /// An action that this version does not know.
    #[error("Unknown action {0:?} (start and delete are known)")]
    Action(String),
    /// An argument that is not UTF-8.
    #[error("Argument {0:?} is not UTF-8")]
    NotText(OsString),
}

/// Reads a command line without the program's name.
///
/// # Errors
/// Unknown flags and actions, missing values.
pub fn parse(arguments: &[OsString]) -> Result<Flags, FlagError> {
    let mut flags = Flags::default();
    let mut rest = arguments.iter();
    let mut question = None;
    while let Some(argument) = rest.next() {
        let text = argument
            .to_str()
            .ok_or_else(|| FlagError::NotText(argument.clone()))?;
        let Some(flag) = text.strip_prefix('-') else {
            flags.action = match text {
                "start" => Action::Start,
                "delete" => Action::Delete,
                _ => return Err(FlagError::Action(text.to_owned())),
            };
            continue;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        match name {
            "debug" => flags.debug = switch(name, value)?,
            "v" | "version" if switch(name, value)? => question = Some(Action::Version),
            "info" if switch(name, value)? => question = Some(Action::Info),
            "v" | "version" | "info" => {}
            _ => {
                let target = match name {
                    "id" => &mut flags.id,
                    "namespace" => &mut flags.namespace,
                    "address" => &mut flags.address,
                    "publish-binary" => &mut flags.publish_binary,
                    "bundle" => &mut flags.bundle,
                    _ => return Err(FlagError::Unknown(text.to_owned())),
                };
                let value = value.or_else(|| rest.next().and_then(|next| next.to_str()));
                value
                    .ok_or_else(|| FlagError::NoValue(name.to_owned()))?
                    .clone_into(target);
            }
        }
    }
    flags.action = question.unwrap_or(flags.action);
    Ok(flags)
}

fn switch(name: &str, value: Option<&str>) -> Result<bool, FlagError> {
    match value {
        None | Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(_) => Err(FlagError::NoBoolean(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Flags, FlagError> {
        parse(
            &line
                .split_whitespace()
                .map(OsString::from)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn containerd_start_line() {
        let flags = read(
            "-namespace k8s.io -address /run/c.sock -publish-binary /bin/containerd -id a1 \
             -debug start",
        )
        .unwrap();
        assert_eq!(flags.action, Action::Start);
        assert_eq!(
            (flags.id.as_str(), flags.namespace.as_str()),
            ("a1", "k8s.io")
        );
        assert!(flags.debug);
    }

    #[test]
    fn other_spellings() {
        assert_eq!(read("--id=x -bundle=/b delete").unwrap().bundle, "/b");
        assert_eq!(read("-v").unwrap().action, Action::Version);
        assert_eq!(read("--version").unwrap().action, Action::Version);
        assert_eq!(read("-info -id x").unwrap().action, Action::Info);
        assert_eq!(read("-id x").unwrap().action, Action::Serve);
        assert!(!read("-debug=false").unwrap().debug);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read("-wat").unwrap_err(), FlagError::Unknown("-wat".into()));
        assert_eq!(read("-id").unwrap_err(), FlagError::NoValue("id".into()));
        assert_eq!(read("stop").unwrap_err(), FlagError::Action("stop".into()));
        assert_eq!(
            read("-debug=maybe").unwrap_err(),
            FlagError::NoBoolean("debug".into())
        );
    }
}

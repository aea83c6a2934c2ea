//! The agent's command line.

use std::{ffi::OsString, path::PathBuf};

use crate::zygote::directory;

/// The agent's directory, unless the command line names another.
pub const DEFAULT_ROOT: &str = "/run/kata-containers";

/// What the program runs as.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// An ordinary process that serves on `listen`, for tests.
    Plain {
        /// A ttrpc address, `unix:///path`.
        listen: String,
        /// The agent's directory, which is emptied for a sandbox.
        root: PathBuf,
    },
    /// The process that containers are forked from. Its standard input is the agent's socket.
    Zygote {
        /// The directory of libcontainer's records.
        state: PathBuf,
    },
    /// The hook that makes a container's working directory, see [`directory`].
    MakeDirectory {
        /// The container's root, as a path outside of it.
        root: PathBuf,
        /// The directory's path in the container.
        directory: PathBuf,
    },
}

/// The options for starting the agent by hand.
pub const USAGE: &str = "guest-agent --listen unix:///PATH [--root DIR]";

/// Parses the arguments, without the name of the program.
///
/// # Errors
///
/// What is wrong with them, as a sentence.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let (mut listen, mut root, mut zygote) = (None, PathBuf::from(DEFAULT_ROOT), None);
    let mut arguments = arguments.into_iter();
    while let Some(option) = arguments.next() {
        let option = option.to_string_lossy().into_owned();
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("Option {option} needs a value"))
        };
        match option.as_str() {
            "--listen" => listen = Some(value()?),
            "--root" => root = value()?.into(),
            "--zygote" => zygote = Some(PathBuf::from(value()?)),
            directory::OPTION => {
                let (root, directory) = (value()?.into(), value()?.into());
                return Ok(Invocation::MakeDirectory { root, directory });
            }
            _ => return Err(format!("Unknown argument {option:?}")),
        }
    }
    match (zygote, listen) {
        (Some(state), _) => Ok(Invocation::Zygote { state }),
        (None, Some(listen)) => {
            let listen = listen
                .into_string()
                .map_err(|_| "The address is not UTF-8".to_owned())?;
            Ok(Invocation::Plain { listen, root })
        }
        (None, None) => Err("Option --listen is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Invocation, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn an_address_makes_a_plain_agent() {
        assert_eq!(
            parse_words(&["--root", "/r", "--listen", "unix:///s"]),
            Ok(Invocation::Plain {
                listen: "unix:///s".into(),
                root: "/r".into()
            })
        );
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert_eq!(
            parse_words(&["--listen"]),
            Err("Option --listen needs a value".into())
        );
        assert_eq!(
            parse_words(&["--lisen"]),
            Err("Unknown argument \"--lisen\"".into())
        );
        assert_eq!(parse_words(&[]), Err("Option --listen is missing".into()));
    }
}

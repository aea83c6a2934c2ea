//! The names that containerd gives to a process's standard streams.

use std::path::PathBuf;

/// The standard streams of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// Whether the process has a terminal, so standard error is not separate.
    pub terminal: bool,
    /// Fifo for standard input; without one, the process reads end-of-file.
    pub stdin: Option<PathBuf>,
    /// Sink of standard output; without one, it is read and dropped.
    pub stdout: Option<Sink>,
    /// Sink of standard error, as `stdout`; always `None` with a terminal.
    pub stderr: Option<Sink>,
}

/// Where output is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// A fifo that the client made.
    Fifo(PathBuf),
    /// A regular file, which is made if it is missing, and appended to.
    File(PathBuf),
}

/// A stream's name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Standard stream {name:?} cannot be used: {reason}")]
pub struct InvalidStdio {
    /// The name that containerd gave.
    pub name: String,
    /// What is wrong with the name.
    pub reason: &'static str,
}

impl Stdio {
    /// Parses the names of a task or exec request. An empty name means no stream; a name without a
    /// scheme is a fifo.
    ///
    /// # Errors
    /// A path is relative, or a scheme is not supported (`binary`).
    pub fn parse(
        terminal: bool,
        stdin: &str,
        stdout: &str,
        stderr: &str,
    ) -> Result<Self, InvalidStdio> {
        let stdin = match sink(stdin)? {
            None => None,
            Some(Sink::Fifo(path)) => Some(path),
            Some(Sink::File(_)) => return Err(invalid(stdin, "input must be a fifo")),
        };
        let stderr = if terminal { None } else { sink(stderr)? };
        Ok(Self {
            terminal,
            stdin,
            stdout: sink(stdout)?,
            stderr,
        })
    }
}

fn sink(name: &str) -> Result<Option<Sink>, InvalidStdio> {
    if name.is_empty() {
        return Ok(None);
    }
    let (scheme, rest) = name.split_once("://").unwrap_or(("fifo", name));
    let path = PathBuf::from(rest);
    let sink = match scheme {
        "fifo" => Sink::Fifo(path),
        "file" => Sink::File(path),
        "binary" => return Err(invalid(name, "logging binaries are not supported")),
        _ => return Err(invalid(name, "unknown scheme (fifo and file are known)")),
    };
    match &sink {
        Sink::Fifo(path) | Sink::File(path) if path.is_absolute() => Ok(Some(sink)),
        _ => Err(invalid(name, "the path is not absolute")),
    }
}

fn invalid(name: &str, reason: &'static str) -> InvalidStdio {
    InvalidStdio {
        name: name.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_scheme() {
        let stdio = Stdio::parse(false, "/f/in", "fifo:///f/out", "file:///var/log/err").unwrap();
        assert_eq!(stdio.stdin, Some("/f/in".into()));
        assert_eq!(stdio.stdout, Some(Sink::Fifo("/f/out".into())));
        assert_eq!(stdio.stderr, Some(Sink::File("/var/log/err".into())));
        assert_eq!(Stdio::parse(false, "", "", "").unwrap(), Stdio::default());
    }

    #[test]
    fn a_terminal_has_no_standard_error() {
        assert_eq!(
            Stdio::parse(true, "", "/f/out", "/f/err").unwrap().stderr,
            None
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for name in [
            "binary:///bin/logger?a=b",
            "http://x/y",
            "relative",
            "file://relative",
        ] {
            let error = Stdio::parse(false, "", name, "").unwrap_err();
            assert_eq!(error.name, name);
        }
        assert!(Stdio::parse(false, "file:///in", "", "").is_err());
    }
}

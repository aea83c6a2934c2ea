//! Where a process's standard streams come from and go to, as containerd names them.

use std::path::PathBuf;

/// The standard streams of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// The process has a terminal: one stream, no standard error of its own.
    pub terminal: bool,
    /// Fifo that is read. `None`: the process reads end-of-file.
    pub stdin: Option<PathBuf>,
    /// `None`: the output is read and thrown away.
    pub stdout: Option<Sink>,
    /// Like `stdout`; always `None` with a terminal.
    pub stderr: Option<Sink>,
}

/// A place for output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// A fifo that somebody else made.
    Fifo(PathBuf),
    /// A regular file, appended to and made if it is missing.
    File(PathBuf),
}

/// A stream's name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Standard stream {name:?} cannot be used: {reason}")]
pub struct InvalidStdio {
    /// As containerd gave it.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

impl Stdio {
    /// Reads the names of a task or exec request. An empty name means no stream; a name without a
    /// scheme is a fifo.
    ///
    /// # Errors
    /// Relative paths, and the schemes that are not served (`binary`).
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

//! What can be wrong with a configuration, told with file and line.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Longest piece of a configuration that an error repeats, in characters.
const MAX_QUOTE: usize = 64;

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, symbolic links resolved.
    pub file: Arc<PathBuf>,
    /// Line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A configuration that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No file at any of the places.
    #[error("No configuration file; looked for {}", list(searched))]
    NotFound {
        /// Where it was looked for, in order.
        searched: Vec<PathBuf>,
    },
    /// A file, or the directory of drop-ins, cannot be read.
    #[error("Configuration {path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than a configuration can be.
    #[error("Configuration {path} is too large: {what}", path = path.display())]
    TooLarge {
        /// The file, or the directory of drop-ins.
        path: PathBuf,
        /// What there is too much of.
        what: String,
    },
    /// Not TOML.
    #[error("{at}: {message}")]
    Syntax {
        /// Where the parser gave up.
        at: Location,
        /// The parser's words.
        message: String,
    },
    /// A key or table that does not exist.
    #[error("{at}: Unknown key {key} in {section}{hint}")]
    UnknownKey {
        /// Where it stands.
        at: Location,
        /// The table it stands in, as `[factory]`.
        section: String,
        /// The key.
        key: String,
        /// What may have been meant, or nothing.
        hint: String,
    },
    /// A value of the wrong type.
    #[error("{at}: {key} must be {expected}, not {found}")]
    WrongType {
        /// Where it stands.
        at: Location,
        /// The key.
        key: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: &'static str,
    },
    /// A value that cannot be.
    #[error("{at}: {key} = {value}: {reason}")]
    Invalid {
        /// Where it stands.
        at: Location,
        /// The key.
        key: String,
        /// Its value, shortened.
        value: String,
        /// Why not.
        reason: String,
    },
    /// A key or table without which there is no configuration.
    #[error("{file}: {what}", file = file.display())]
    Missing {
        /// The main file.
        file: PathBuf,
        /// What is missing.
        what: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

/// Something without which there is no configuration.
pub(super) fn missing(file: &Path, what: impl Into<String>) -> ConfigError {
    ConfigError::Missing {
        file: file.to_path_buf(),
        what: what.into(),
    }
}

/// Text of a configuration, made fit for one line of a log.
pub(super) fn quote(text: &str) -> String {
    let short: String = text.chars().take(MAX_QUOTE).collect();
    let mark = if short.len() < text.len() { "..." } else { "" };
    format!("{}{mark}", short.escape_debug())
}

//! What can be wrong with a configuration, with file and line.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Longest part of a configuration that an error quotes, in characters.
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
    /// None was named, and there is none at the default paths.
    #[error("No configuration file found at {}", list(searched))]
    NotFound {
        /// The paths that were tried, in order.
        searched: Vec<PathBuf>,
    },
    /// A file, or the directory of drop-ins, cannot be read.
    #[error("Configuration {path} cannot be read", path = path.display())]
    Read {
        /// The file, or the directory of drop-ins.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// A file is too long, or there are too many drop-ins.
    #[error("Configuration {path} is too large: {what}", path = path.display())]
    TooLarge {
        /// The file, or the directory of drop-ins.
        path: PathBuf,
        /// The limit that is exceeded.
        what: String,
    },
    /// The file is not TOML.
    #[error("{at}: {message}")]
    Syntax {
        /// Where the parser stopped.
        at: Location,
        /// The parser's message, cut and escaped.
        message: String,
    },
    /// A key or table that does not exist.
    #[error("{at}: Unknown key {key} in {section}{hint}")]
    UnknownKey {
        /// File and line of the key.
        at: Location,
        /// The table that has the key, as `[factory]`.
        section: String,
        /// Name of the key.
        key: String,
        /// A known key of a similar name, as `; did you mean ...?`, or empty.
        hint: String,
    },
    /// A value of the wrong type.
    #[error("{at}: {key} must be {expected}, not {found}")]
    WrongType {
        /// File and line of the key.
        at: Location,
        /// Name of the key.
        key: String,
        /// The type that it must have, with its article.
        expected: String,
        /// The type that it has, with its article.
        found: &'static str,
    },
    /// A value of the right type that is invalid.
    #[error("{at}: {key} = {value}: {reason}")]
    Invalid {
        /// File and line of the key.
        at: Location,
        /// Name of the key.
        key: String,
        /// The value, cut and escaped.
        value: String,
        /// What the value must be, or why it cannot be used.
        reason: String,
    },
    /// A required key or table is missing, or an unset key's default cannot be used.
    #[error("{file}: {what}", file = file.display())]
    Missing {
        /// The main configuration file.
        file: PathBuf,
        /// What is missing, as a sentence.
        what: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

/// The error for a required key or table that is missing.
pub(super) fn missing(file: &Path, what: impl Into<String>) -> ConfigError {
    ConfigError::Missing {
        file: file.to_path_buf(),
        what: what.into(),
    }
}

/// Text of a configuration, cut and escaped for one line of a log.
pub(super) fn quote(text: &str) -> String {
    let short: String = text.chars().take(MAX_QUOTE).collect();
    let mark = if short.len() < text.len() { "..." } else { "" };
    format!("{}{mark}", short.escape_debug())
}

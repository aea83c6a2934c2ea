//! One place that a rule objects to.

use std::fmt;

/// A place in the sources, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the top folder, with `/` between its parts.
    pub path: String,
    /// Counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl Finding {
    /// The top folder that the file is in, or `top` for a file beside them.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.path
            .split_once('/')
            .map_or("top", |(folder, _)| folder)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.problem)
    }
}

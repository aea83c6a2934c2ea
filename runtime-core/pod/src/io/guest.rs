//! Whose streams they are.

use std::fmt;

/// A process as the agent names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestProcess {
    /// Container id.
    pub container: String,
    /// Exec id; the container's id for its init.
    pub exec: String,
}

impl fmt::Display for GuestProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.exec)
    }
}

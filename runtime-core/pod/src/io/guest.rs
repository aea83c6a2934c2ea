//! The process whose streams are moved.

use std::fmt;

/// A process, with the ids that the agent uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestProcess {
    /// Id of the container.
    pub container: String,
    /// Id of the exec; for a container's init, the container's id.
    pub exec: String,
}

impl fmt::Display for GuestProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.exec)
    }
}

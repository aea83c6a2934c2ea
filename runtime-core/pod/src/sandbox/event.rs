//! What happened in a sandbox, in the order in which it happened.

use std::path::PathBuf;

use rootfs::Mount;

use crate::{
    io::Stdio,
    process::{Exit, TaskId},
};

/// Something that clients want to hear of. The sandbox's task sends events in the order
/// create < start < exit < delete for each process, and before it answers the request behind them.
#[derive(Debug, Clone)]
pub enum Event {
    /// A container was made.
    Created {
        /// Its id.
        container: String,
        /// Its bundle.
        bundle: PathBuf,
        /// The mounts its root came as.
        mounts: Vec<Mount>,
        /// Its standard streams.
        stdio: Stdio,
    },
    /// An exec was recorded.
    ExecAdded(TaskId),
    /// A process was started.
    Started(TaskId),
    /// A process ended.
    Exited(TaskId, Exit),
    /// A container was deleted.
    Deleted {
        /// Its id.
        container: String,
        /// How its init had ended.
        exit: Exit,
    },
    /// A container was frozen.
    Paused(String),
    /// A container was thawed.
    Resumed(String),
    /// The guest's kernel killed a process of a container for want of memory, or the host's its VM.
    OutOfMemory(String),
}

//! The events of a sandbox.

use std::path::PathBuf;

use rootfs::Mount;

use crate::{
    io::Stdio,
    process::{Exit, TaskId},
};

/// An event for containerd. The sandbox's task sends the events of a process in the order create,
/// start, exit, delete, and before it answers the request that caused them.
#[derive(Debug, Clone)]
pub enum Event {
    /// A container was created.
    Created {
        /// Id of the container.
        container: String,
        /// Path of its bundle.
        bundle: PathBuf,
        /// The mounts that containerd gave for its root.
        mounts: Vec<Mount>,
        /// The standard streams of its init.
        stdio: Stdio,
    },
    /// An exec was recorded.
    ExecAdded(TaskId),
    /// A process was started.
    Started(TaskId),
    /// A process ended, with this exit.
    Exited(TaskId, Exit),
    /// A container was deleted.
    Deleted {
        /// Id of the container.
        container: String,
        /// How its init had ended.
        exit: Exit,
    },
    /// A container was frozen.
    Paused(String),
    /// A container was thawed.
    Resumed(String),
    /// The guest's OOM killer killed a process of this container, or the host's killed its VM.
    OutOfMemory(String),
}

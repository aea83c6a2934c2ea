//! Why no template was made.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Step;
use crate::{identity::IdentityError, store::StoreError, unusable::Unusable};

/// A template that was not made. Unless the text says what was left behind, nothing was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// There are templates, and they were not to be replaced.
    #[error(
        "There is already a VM template in {path}; `init --replace` makes a new one in its place"
    )]
    AlreadyThere {
        /// The directory in which they are.
        path: PathBuf,
    },
    /// The path cannot be used, or is in use.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A kernel, initrd or binary cannot be read.
    #[error("No template was made")]
    Identity(#[from] IdentityError),
    /// This VMM cannot restore a VM whose memory is a private mapping.
    #[error("VMM {vmm} cannot restore a VM copy-on-write; no template was made")]
    NotSupported {
        /// The name of the VMM.
        vmm: &'static str,
    },
    /// The node has less memory left than the templates would take.
    #[error(
        "No template was made: its memory takes {mib} MiB of the node's, of which \
         {available_mib} MiB are left; default_memory, or the sizes in [[factory.shape]], can be \
         smaller"
    )]
    NoMemory {
        /// Memory of all templates that were to be made, in MiB.
        mib: u64,
        /// What the kernel can provide without swapping (`MemAvailable`), in MiB.
        available_mib: u64,
    },
    /// The VMM failed in a step.
    #[error("No template was made: {step} failed")]
    Vmm {
        /// The step in which it failed.
        step: Step,
        /// The error of the VMM.
        #[source]
        source: hypervisors::Error,
    },
    /// The guest's agent did not answer.
    #[error("No template was made: the guest's agent did not answer")]
    Agent(#[source] agent_client::Error),
    /// The guest's agent does not do what makes a clone unique.
    #[error("No template was made: its clones could not be made unique: {reason}")]
    NotUnique {
        /// The step that failed, and why.
        reason: String,
    },
    /// The VMM ended before its guest's agent answered.
    #[error("No template was made: the VMM ended before the guest's agent answered: {last_words}")]
    Ended {
        /// Its last lines on standard error.
        last_words: String,
    },
    /// Work on a file or mount of the template failed.
    #[error("No template was made: {action} {path} failed")]
    Io {
        /// The step, as in "Mounting a tmpfs on".
        action: &'static str,
        /// What the step was done to.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The template that was just made cannot be used.
    #[error("No template was made: what was saved cannot be used")]
    Useless(#[source] Unusable),
    /// The command was asked to stop.
    #[error("Interrupted; no template was made")]
    Interrupted,
    /// A failure after which not everything could be removed.
    #[error("Making the template failed; left behind: {}", left.join(", "))]
    LeftBehind {
        /// Why the making failed.
        #[source]
        error: Box<InitError>,
        /// What is still there, each with the error of its removal.
        left: Vec<String>,
    },
}

impl InitError {
    pub(super) fn at(step: Step) -> impl FnOnce(hypervisors::Error) -> Self {
        move |source| Self::Vmm { step, source }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

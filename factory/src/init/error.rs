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
    /// One exists.
    #[error(
        "There is already a VM template in {path}; `init --replace` makes a new one in its place"
    )]
    AlreadyThere {
        /// The template path.
        path: PathBuf,
    },
    /// The path cannot be used, or is in use.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A kernel, initrd or binary cannot be looked at.
    #[error("No template was made")]
    Identity(#[from] IdentityError),
    /// This VMM cannot restore on a private mapping.
    #[error("VMM {vmm} cannot restore a VM copy-on-write; no template was made")]
    NotSupported {
        /// Its name.
        vmm: &'static str,
    },
    /// What the template holds would be missed by others.
    #[error(
        "No template was made: its memory takes {mib} MiB of the node's, of which {available_mib} MiB are left; \
         default_memory, or the sizes in [[factory.shape]], can be smaller"
    )]
    NoMemory {
        /// Of all templates that were to be made.
        mib: u64,
        /// What the kernel says can be had without swapping.
        available_mib: u64,
    },
    /// The VMM failed.
    #[error("No template was made: {step} failed")]
    Vmm {
        /// Where.
        step: Step,
        /// Why.
        #[source]
        source: hypervisors::Error,
    },
    /// The guest's agent did not answer.
    #[error("No template was made: the guest's agent did not answer")]
    Agent(#[source] agent_client::Error),
    /// The guest's agent does not do what makes a clone unique.
    #[error("No template was made: its clones could not be made unique: {reason}")]
    NotUnique {
        /// In which step, and why.
        reason: String,
    },
    /// The VMM ended before its guest's agent answered.
    #[error("No template was made: the VMM ended before the guest's agent answered: {last_words}")]
    Ended {
        /// Its last lines on standard error.
        last_words: String,
    },
    /// A file or mount of the template.
    #[error("No template was made: {action} {path} failed")]
    Io {
        /// As in "Mounting".
        action: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was just made does not read back.
    #[error("No template was made: what was saved cannot be used")]
    Useless(#[source] Unusable),
    /// Asked to stop.
    #[error("Interrupted; no template was made")]
    Interrupted,
    /// A failure whose traces could not all be removed.
    #[error("Making the template failed, and this could not be removed: {}", left.join(", "))]
    LeftBehind {
        /// The failure.
        #[source]
        error: Box<InitError>,
        /// What is still there, and why.
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

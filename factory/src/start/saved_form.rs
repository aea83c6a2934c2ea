//! What a clone is restored from: the template's files, or for a monitor whose saved VMs carry a
//! configuration, a directory of the clone's own with one that is about the clone.
//!
//! Of a template only the small configuration is written anew. The state is linked and the memory
//! stays where it is.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use hypervisors::{
    Capabilities, SavedForm, VmSpec,
    clh::{InvalidConfig, SAVED_CONFIG, SAVED_STATE, SavedConfig},
};
use system::file;

use crate::{private, template::Template, unfit::Unfit};

/// Name of a clone's directory, within its run directory.
const SAVED: &str = "saved";
/// No configuration is longer.
const CONFIG_LIMIT: u64 = 1 << 20;

/// Why a clone has nothing to be restored from.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFitted {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where a clone's state is. What was made for the clone goes with the value: a monitor has read it
/// all when its restore is over.
#[derive(Debug)]
pub(super) enum Saved {
    Template(PathBuf),
    Own(PathBuf),
}

impl Saved {
    /// For the clone of `template` that `spec` describes.
    pub(super) fn of(
        template: &Template,
        can: &Capabilities,
        spec: &VmSpec,
    ) -> Result<Self, NotFitted> {
        match can.saved_form {
            SavedForm::State => Ok(Self::Template(template.dir().to_owned())),
            SavedForm::WithConfig => {
                let dir = spec.run_dir.join(SAVED);
                private::make_dir(&dir).map_err(failed("Making", &dir))?;
                // From here on, an error removes the directory.
                let own = Self::Own(dir);
                write(own.dir(), template.dir(), spec)?;
                Ok(own)
            }
        }
    }

    pub(super) fn dir(&self) -> &Path {
        match self {
            Self::Template(dir) | Self::Own(dir) => dir,
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Self::Own(dir) = self {
            // What stays is in the clone's run directory and goes with that.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

fn write(dir: &Path, template: &Path, spec: &VmSpec) -> Result<(), NotFitted> {
    let (config, _) = private::open_file(&template.join(SAVED_CONFIG))?;
    let text = file::read_bounded(config, CONFIG_LIMIT);
    let text = text.map_err(failed("Reading", &template.join(SAVED_CONFIG)))?;
    let fitted = SavedConfig::parse(&text)?.fitted(spec)?;
    let path = dir.join(SAVED_CONFIG);
    file::make(&path)
        .and_then(|mut file| file.write_all(&fitted.encode().map_err(io::Error::other)?))
        .map_err(failed("Writing", &path))?;
    // The template is on a file system of its own, so no hard link.
    let path = dir.join(SAVED_STATE);
    symlink(template.join(SAVED_STATE), &path).map_err(failed("Linking", &path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NotFitted {
    let path = path.to_owned();
    move |source| NotFitted::Io {
        action,
        path,
        source,
    }
}

//! Reads the bundle that containerd prepares.

use std::{
    io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;

use super::OciError;

/// Largest `config.json`, and largest JSON value in a request, in bytes.
pub const MAX_SPEC_BYTES: u64 = 4 << 20;

/// A container's bundle, whose `config.json` was read.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The bundle's directory on the host.
    pub path: PathBuf,
    /// Content of its `config.json`.
    pub spec: Spec,
}

impl Bundle {
    /// The root file system's directory on the host, for a container without rootfs mounts
    /// (OCI runtime specification, config.md, Root: relative paths start at the bundle).
    pub fn rootfs(&self) -> PathBuf {
        let path = self.spec.root().as_ref().map(|root| root.path().as_path());
        self.path.join(path.unwrap_or(Path::new("rootfs")))
    }
}

/// Reads `config.json` of the bundle at `path`, at most [`MAX_SPEC_BYTES`] of it.
pub fn load_bundle(path: &Path) -> Result<Bundle, OciError> {
    let file = path.join("config.json");
    let fail = |source| OciError::Read {
        path: file.clone(),
        source,
    };
    let what = file.display().to_string();
    let content = match system::file::read(&file, MAX_SPEC_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(too_large(&what));
        }
        read => read.map_err(fail)?,
    };
    let spec = parse(&content, &what)?;
    Ok(Bundle {
        path: path.to_owned(),
        spec,
    })
}

/// Reads a bounded JSON value; `what` names it in an error.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    content: &[u8],
    what: &str,
) -> Result<T, OciError> {
    if content.len() as u64 > MAX_SPEC_BYTES {
        return Err(too_large(what));
    }
    serde_json::from_slice(content).map_err(|source| OciError::Parse {
        what: what.to_owned(),
        source,
    })
}

fn too_large(what: &str) -> OciError {
    OciError::TooLarge {
        what: what.to_owned(),
        limit: MAX_SPEC_BYTES,
    }
}

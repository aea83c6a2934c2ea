//! The image of the sandbox container: the busybox image with a first process that only waits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, ctr::Ctr, image, node::Node, program::Program};

/// Name of the image.
pub const PAUSE: &str = "imprint.local/pause:1";

/// Ends at SIGTERM, as a pause container does.
const WAITS: &str = "trap 'exit 0' TERM INT; sleep 2147483647 & wait";

/// Gives a node's CRI plugin the images of its pods: it looks for them in a namespace of its own.
pub fn import(node: &Node) -> Result<()> {
    let ctr = Ctr::new(node.containerd().layout().clone(), "k8s.io");
    ctr.import(&node.archive()?)?;
    ctr.import(&pause_archive(&node.artefacts().images)?)
}

/// Makes the image in `directory`, unless it is there, and returns its archive.
pub fn pause_archive(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join("pause.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let busybox = image::busybox_archive(directory)?;
    let work = tempfile::tempdir_in(directory).map_err(Error::io("Making", directory))?;
    let tag = format!("{}:1", work.path().join("layout").display());
    let copy = |source: &str, target: &str| {
        Program::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", source, target])
            .succeed()
    };
    copy(
        &format!("oci-archive:{}", busybox.display()),
        &format!("oci:{tag}"),
    )?;
    let words = ["sh", "-c", WAITS].map(|word| format!("--config.cmd={word}"));
    Program::new("umoci")
        .args(["config", "--image", &tag, "--clear=config.cmd"])
        .args(words)
        .succeed()?;
    let made = work.path().join("pause.tar");
    copy(
        &format!("oci:{tag}"),
        &format!("oci-archive:{}:{PAUSE}", made.display()),
    )?;
    // Last, and at once: an archive that is there is whole.
    fs::rename(&made, &archive).map_err(Error::io("Placing", &archive))?;
    Ok(archive)
}

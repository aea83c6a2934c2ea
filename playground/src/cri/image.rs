//! Images made from the busybox image: that of the sandbox container, with a first process that
//! only waits, and one with another content.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result, containerd::PAUSE, ctr::Ctr, image, node::Node, program::Program};

/// Ends at SIGTERM, as a pause container does.
const WAITS: &str = "trap 'exit 0' TERM INT; sleep 2147483647 & wait";

/// Gives a node's CRI plugin the images of its pods: it looks for them in a namespace of its own.
pub fn import(node: &Node) -> Result<()> {
    let ctr = Ctr::new(node.containerd().layout().clone(), "k8s.io");
    ctr.import(&node.archive()?)?;
    let images = &node.artefacts().images;
    ctr.import(&pause_archive(images)?)?;
    ctr.import(&other_archive(images)?)?;
    ctr.import(&linked_archive(images)?)
}

/// Name of the image whose file `/who` holds `other`.
pub const OTHER: &str = "imprint.local/other:1";

/// Makes the sandbox container's image in `directory`, unless it is there, and returns its archive.
pub fn pause_archive(directory: &Path) -> Result<PathBuf> {
    changed(directory, "pause.tar", PAUSE, |tag| {
        let words = ["sh", "-c", WAITS].map(|word| format!("--config.cmd={word}"));
        Program::new("umoci")
            .args(["config", "--image", tag, "--clear=config.cmd"])
            .args(words)
            .succeed()
    })
}

/// Makes the image with another content in `directory`, unless it is there, and returns its
/// archive.
pub fn other_archive(directory: &Path) -> Result<PathBuf> {
    changed(directory, "other.tar", OTHER, |tag| {
        let file = tempfile::NamedTempFile::new().map_err(Error::io("Making", "/who"))?;
        fs::write(file.path(), "other\n").map_err(Error::io("Writing", file.path()))?;
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))
            .map_err(Error::io("Opening", file.path()))?;
        Program::new("umoci")
            .args(["insert", "--image", tag])
            .args([file.path()])
            .args(["/who"])
            .succeed()
    })
}

/// Name of the image with links to what it does not have.
pub const LINKED: &str = "imprint.local/linked:1";

/// What is done to the root of that image.
const LINKS: &str = "ln -s /var/lib/absent data && ln -s second first && \
    ln -s var/lib/third/deep second && \
    ln -s ../../../../srv/up up && ln -s /var/lib/parent parent && \
    ln -s ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf && \
    ln -s /etc/alt/hosts etc/hosts";

/// Makes the image with links in `directory`, unless it is there, and returns its archive.
pub fn linked_archive(directory: &Path) -> Result<PathBuf> {
    changed(directory, "linked.tar", LINKED, |tag| {
        let work = tempfile::tempdir().map_err(Error::io("Making", "/tmp"))?;
        let bundle = work.path().join("bundle");
        let umoci = |word: &str| {
            Program::new("umoci")
                .args([word, "--image", tag])
                .args([&bundle])
                .succeed()
        };
        umoci("unpack")?;
        let script = format!("cd '{}' && {LINKS}", bundle.join("rootfs").display());
        Program::new("sh").args(["-c", &script]).succeed()?;
        umoci("repack")
    })
}

/// Makes the archive `name` of the busybox image with a change, which is made to a tag of a layout.
fn changed(
    directory: &Path,
    name: &str,
    image: &str,
    change: impl FnOnce(&str) -> Result<String>,
) -> Result<PathBuf> {
    let archive = directory.join(name);
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
    change(&tag)?;
    let made = work.path().join(name);
    copy(
        &format!("oci:{tag}"),
        &format!("oci-archive:{}:{image}", made.display()),
    )?;
    // Last, and at once: an archive that is there is whole.
    fs::rename(&made, &archive).map_err(Error::io("Placing", &archive))?;
    Ok(archive)
}

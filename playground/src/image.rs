//! Container images made on the spot, without a registry.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{Error, Result, program::Program};

/// Name of the image that the playground and the tests run.
pub const BUSYBOX: &str = "imprint.local/busybox:1";

/// Name of an image of three layers: what is on each is below `/layers`.
pub const LAYERED: &str = "imprint.local/layered:1";

/// Where Debian's `busybox-static` puts the binary.
const BINARY: &str = "/bin/busybox";

/// Users of the image. The tests run as `guest` where root would hide a mistake.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nguest:x:1000:\n";

/// Makes the busybox image in `directory`, unless it is there, and returns its archive.
pub fn busybox_archive(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join("busybox.tar");
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(directory).map_err(Error::io("Making", directory))?;
    let work = work_directory()?;
    let layout = work.path().join("layout");
    let bundle = work.path().join("bundle");
    let tag = format!("{}:1", layout.display());
    umoci(["init", "--layout"], &[&layout])?;
    umoci(["new", "--image"], &[Path::new(&tag)])?;
    umoci(["unpack", "--image"], &[Path::new(&tag), &bundle])?;
    fill(&bundle.join("rootfs"))?;
    umoci(["repack", "--image"], &[Path::new(&tag), &bundle])?;
    let settings = [
        "--config.cmd=sh",
        "--config.env=PATH=/bin",
        "--clear=config.entrypoint",
    ];
    Program::new("umoci")
        .args(["config", "--image", &tag])
        .args(settings)
        .succeed()?;
    finish(&tag, BUSYBOX, &archive)?;
    Ok(archive)
}

/// Makes the image of three layers in `directory`, unless it is there, and returns its archive.
pub fn layered_archive(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join("layered.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let busybox = busybox_archive(directory)?;
    let work = work_directory()?;
    let bundle = work.path().join("bundle");
    let tag = format!("{}:1", work.path().join("layout").display());
    let from = format!("oci-archive:{}", busybox.display());
    copy(&from, &format!("oci:{tag}"))?;
    umoci(["unpack", "--image"], &[Path::new(&tag), &bundle])?;
    for script in [
        "mkdir layers layers/old; echo two > layers/changed; touch layers/gone layers/old/gone",
        "echo three > layers/changed; rm -r layers/gone layers/old; mkdir layers/old",
    ] {
        let root = bundle.join("rootfs");
        let script = format!("cd '{}' && {script}", root.display());
        Program::new("sh").args(["-c", &script]).succeed()?;
        let words = ["repack", "--refresh-bundle", "--image"];
        let paths = [Path::new(&tag), &bundle];
        Program::new("umoci").args(words).args(paths).succeed()?;
    }
    finish(&tag, LAYERED, &archive)?;
    Ok(archive)
}

/// Where an image is made: not beside the archives, which may be on an overlay of several file
/// systems, whose inode numbers umoci takes for those of hard links.
fn work_directory() -> Result<TempDir> {
    tempfile::tempdir().map_err(Error::io("Making", env::temp_dir()))
}

/// Gives an image its name, and the archive its place.
fn finish(tag: &str, name: &str, archive: &Path) -> Result<()> {
    let directory = archive.parent().unwrap_or(archive);
    let work = tempfile::tempdir_in(directory).map_err(Error::io("Making", directory))?;
    let made = work.path().join("made.tar");
    let target = format!("oci-archive:{}:{name}", made.display());
    copy(&format!("oci:{tag}"), &target)?;
    // Last, and at once: an archive that is there is whole.
    fs::rename(&made, archive).map_err(Error::io("Placing", archive))
}

fn copy(source: &str, target: &str) -> Result<()> {
    Program::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", source, target])
        .succeed()
        .map(drop)
}

fn umoci(words: [&str; 2], paths: &[&Path]) -> Result<String> {
    Program::new("umoci").args(words).args(paths).succeed()
}

/// A root file system of one static binary and its names.
fn fill(root: &Path) -> Result<()> {
    for name in [
        "bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var",
    ] {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(Error::io("Making", &path))?;
    }
    let shared = root.join("tmp");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))
        .map_err(Error::io("Opening to all", &shared))?;
    let busybox = root.join("bin/busybox");
    fs::copy(BINARY, &busybox).map_err(Error::io("Copying", BINARY))?;
    for applet in Program::new(BINARY).args(["--list"]).succeed()?.lines() {
        let link = root.join("bin").join(applet);
        if applet != "busybox" {
            symlink("busybox", &link).map_err(Error::io("Linking", &link))?;
        }
    }
    for (name, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        let path = root.join(name);
        fs::write(&path, text).map_err(Error::io("Writing", &path))?;
    }
    Ok(())
}

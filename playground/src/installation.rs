//! An installation of Imprint: the built binaries and the guest.

use std::path::{Path, PathBuf};

use crate::{Error, Result, containerd::Release};

/// What `make build` and `make guest` have made, and what drives it.
#[derive(Debug, Clone)]
pub struct Artefacts {
    /// Directory of `containerd-shim-imprint-v2` and `imprint`.
    pub binaries: PathBuf,
    /// The kernel of a guest whose root is an initramfs.
    pub kernel: PathBuf,
    /// The initramfs of that guest.
    pub initrd: PathBuf,
    /// The kernel of a guest whose root is a disk image, if `make guest` has made it.
    pub image_kernel: PathBuf,
    /// The disk image that is the root of that guest.
    pub image: PathBuf,
    /// Where images are kept between runs.
    pub images: PathBuf,
    /// The containerd to use them with.
    pub containerd: Release,
}

impl Artefacts {
    /// Finds everything in this work tree; `IMPRINT_BINARIES` and `IMPRINT_GUEST` name other
    /// directories.
    pub fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let top = here.parent().unwrap_or(here);
        let from = |variable, default: &str| {
            std::env::var_os(variable).map_or_else(|| top.join(default), PathBuf::from)
        };
        let guest = from("IMPRINT_GUEST", "build/guest");
        let found = Self {
            binaries: from("IMPRINT_BINARIES", "target/release"),
            kernel: guest.join("vmlinux"),
            initrd: guest.join("initrd.img"),
            image_kernel: guest.join("vmlinux-image"),
            image: guest.join("guest.img"),
            images: top.join("build/images"),
            containerd: Release::chosen()?,
        };
        let shim = found.binaries.join("containerd-shim-imprint-v2");
        let tool = found.binaries.join("imprint");
        let needed: [(&'static str, &Path, &'static str); 4] = [
            ("The shim", &shim, "`make build` makes it"),
            ("The command line tool", &tool, "`make build` makes it"),
            ("The guest's kernel", &found.kernel, "`make guest` makes it"),
            (
                "The guest's initramfs",
                &found.initrd,
                "`make guest` makes it",
            ),
        ];
        for (what, path, remedy) in needed {
            if !path.exists() {
                return Err(Error::Missing {
                    what,
                    path: path.to_owned(),
                    remedy,
                });
            }
        }
        Ok(found)
    }

    /// The path of the `imprint` tool.
    #[must_use]
    pub fn imprint(&self) -> PathBuf {
        self.binaries.join("imprint")
    }
}

/// Replaces a file's content at once, so that no reader sees half of it.
pub fn replace_file(path: &Path, text: &str) -> Result<()> {
    system::file::replace(path, text.as_bytes()).map_err(Error::io("Writing", path))
}

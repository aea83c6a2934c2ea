//! An installation of Imprint: the built binaries, the guest, and a configuration file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, containerd::Release};

/// What `make build` and `make guest` have made, and what drives it.
#[derive(Debug, Clone)]
pub struct Artefacts {
    /// Directory of `containerd-shim-imprint-v2` and `imprint`.
    pub binaries: PathBuf,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// The guest's initramfs.
    pub initrd: PathBuf,
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

    /// The `imprint` tool.
    #[must_use]
    pub fn imprint(&self) -> PathBuf {
        self.binaries.join("imprint")
    }
}

/// The values of a configuration file that the tests vary.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The VMM.
    pub vmm: PathBuf,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// The guest's initramfs.
    pub initrd: PathBuf,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Whether a pod may be restored from a template.
    pub enable_template: bool,
    /// Where the template is.
    pub template_path: PathBuf,
    /// Imprint's run directory.
    pub run_root: PathBuf,
    /// Where packed root file systems are kept.
    pub rootfs_cache: PathBuf,
    /// kubelet's directory.
    pub kubelet_root: PathBuf,
}

impl Settings {
    /// The playground's own settings: everything inside `directory`.
    #[must_use]
    pub fn inside(directory: &Path, artefacts: &Artefacts) -> Self {
        let run_root = directory.join("run");
        Self {
            vmm: PathBuf::from("/usr/bin/qemu-system-x86_64"),
            kernel: artefacts.kernel.clone(),
            initrd: artefacts.initrd.clone(),
            memory_mib: 256,
            enable_template: false,
            template_path: run_root.join("vm/template"),
            run_root,
            rootfs_cache: directory.join("rootfs-cache"),
            kubelet_root: directory.join("kubelet"),
        }
    }

    /// The configuration file's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            r#"[hypervisor.qemu]
path = "{}"
kernel = "{}"
initrd = "{}"
default_vcpus = 1
default_memory = {}

[factory]
enable_template = {}
template_path = "{}"

[runtime]
run_root = "{}"
rootfs_cache_dir = "{}"
kubelet_root_dir = "{}"
disable_guest_seccomp = false
"#,
            self.vmm.display(),
            self.kernel.display(),
            self.initrd.display(),
            self.memory_mib,
            self.enable_template,
            self.template_path.display(),
            self.run_root.display(),
            self.rootfs_cache.display(),
            self.kubelet_root.display(),
        )
    }
}

/// Replaces a file's content at once, so that no reader sees half of it.
pub fn replace_file(path: &Path, text: &str) -> Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, text).map_err(Error::io("Writing", &aside))?;
    fs::rename(&aside, path).map_err(Error::io("Placing", path))
}

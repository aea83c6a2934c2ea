//! The configuration file that a node of the tests has.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::installation::Artefacts;

/// Where a first root is within the kernel of a guest whose root is a disk image.
const FIRST_ROOT: &str = "initrdmem=128M,4M memmap=4M$128M";

/// The VMM that the tests use: QEMU, or what `IMPRINT_TEST_HYPERVISOR` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmmKind {
    /// QEMU, configured in `[hypervisor.qemu]`.
    Qemu,
    /// Cloud Hypervisor, configured in `[hypervisor.clh]`.
    CloudHypervisor,
}

impl VmmKind {
    /// The one that this run of the tests is about.
    #[must_use]
    pub fn chosen() -> Self {
        match env::var("IMPRINT_TEST_HYPERVISOR").as_deref() {
            Ok("clh") => Self::CloudHypervisor,
            _ => Self::Qemu,
        }
    }

    /// What its processes' names begin with.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "clh",
        }
    }

    fn path(self) -> PathBuf {
        match self {
            Self::Qemu => PathBuf::from("/usr/bin/qemu-system-x86_64"),
            Self::CloudHypervisor => env::var_os("IMPRINT_TEST_CLH")
                .map_or_else(|| PathBuf::from("/usr/bin/cloud-hypervisor"), PathBuf::from),
        }
    }
}

/// The guest's root file system.
#[derive(Debug, Clone)]
pub enum Root {
    /// An initramfs, unpacked into guest memory.
    Initrd(PathBuf),
    /// A disk with a partition of erofs.
    Image(PathBuf),
}

/// The values of a configuration file that the tests vary.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The kind of VMM.
    pub vmm_kind: VmmKind,
    /// The path of the VMM's binary.
    pub vmm: PathBuf,
    /// The path of the guest's kernel.
    pub kernel: PathBuf,
    /// What the guest's root is, and where.
    pub root: Root,
    /// How QEMU's guests are reached, unless as usual. `IMPRINT_TEST_AGENT_CHANNEL` is for a guest
    /// of another kind.
    pub agent_channel: Option<String>,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Whether a pod may be restored from a template.
    pub enable_template: bool,
    /// Where the template is.
    pub template_path: PathBuf,
    /// The directory of what Imprint keeps while pods run.
    pub run_root: PathBuf,
    /// Where packed root file systems are kept.
    pub rootfs_cache: PathBuf,
    /// The directory that kubelet keeps pods' volumes in.
    pub kubelet_root: PathBuf,
}

impl Settings {
    /// The playground's own settings: everything inside `directory`.
    #[must_use]
    pub fn inside(directory: &Path, artefacts: &Artefacts) -> Self {
        let run_root = directory.join("run");
        let vmm_kind = VmmKind::chosen();
        Self {
            vmm_kind,
            vmm: vmm_kind.path(),
            kernel: artefacts.kernel.clone(),
            root: Root::Initrd(artefacts.initrd.clone()),
            agent_channel: env::var("IMPRINT_TEST_AGENT_CHANNEL").ok(),
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
        let (root, first_root) = match &self.root {
            Root::Initrd(path) => (format!("initrd = \"{}\"", path.display()), ""),
            Root::Image(path) => (
                format!("image = \"{}\"\nrootfs_type = \"erofs\"", path.display()),
                FIRST_ROOT,
            ),
        };
        let channel = self.agent_channel.as_ref();
        let channel = channel
            .map(|channel| format!("agent_channel = \"{channel}\""))
            .unwrap_or_default();
        // What a guest of another kind needs.
        let others = env::var("IMPRINT_TEST_KERNEL_PARAMS").unwrap_or_default();
        let kernel_params = format!("{first_root} {others}");
        // Where an instruction of the guest is emulated twice, restores take seconds.
        let budget = env::var("IMPRINT_TEST_RESTORE_TIMEOUT_MS")
            .map(|ms| format!("restore_timeout_ms = {ms}"))
            .unwrap_or_default();
        format!(
            r#"[hypervisor.{}]
path = "{}"
kernel = "{}"
{root}
kernel_params = "{}"
{channel}
default_vcpus = 1
default_memory = {}

[factory]
enable_template = {}
template_path = "{}"
{budget}

[runtime]
run_root = "{}"
rootfs_cache_dir = "{}"
kubelet_root_dir = "{}"
disable_guest_seccomp = false
"#,
            self.vmm_kind.section(),
            self.vmm.display(),
            self.kernel.display(),
            kernel_params.trim(),
            self.memory_mib,
            self.enable_template,
            self.template_path.display(),
            self.run_root.display(),
            self.rootfs_cache.display(),
            self.kubelet_root.display(),
        )
    }
}

//! What a clone inherits from its template, field by named field.
//!
//! Two identities are compared by content: a kernel that moved to another path is still the same
//! kernel. Nothing is left out by zeroing fields; a field is in [`Identity::fields`] or it is not
//! part of the identity, and both the key and the differences are made from that one list.

use std::{io, path::Path};

use hypervisors::{GuestRoot, Machine, VmSize, VmSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use system::encoding::hex;

use crate::{
    layout::FORMAT_VERSION,
    mismatch::{Field, Mismatch},
    source_file::{DigestedFile, StampedFile},
    unusable::Unusable,
};

/// Whether the guest's root is in memory (an initrd) or on a disk (an image).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RootKind {
    Initrd,
    Image,
}

/// Everything that a clone inherits. `F` says how well its files are known: a [`StampedFile`] was
/// not read and stands for what a pod wants, a [`DigestedFile`] is what a template was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity<F> {
    pub(crate) vmm: String,
    pub(crate) vmm_version: String,
    pub(crate) vmm_binary: F,
    pub(crate) machine: Machine,
    pub(crate) cpu: String,
    pub(crate) kernel: F,
    pub(crate) command_line: String,
    pub(crate) root_kind: RootKind,
    pub(crate) root: F,
    pub(crate) disk_slots: String,
    pub(crate) nic: bool,
    pub(crate) host_kernel: String,
    pub(crate) size: VmSize,
    /// The size that its VM can grow to.
    pub(crate) max_size: VmSize,
}

/// What a pod wants its template to have been made from.
pub type TemplateIdentity = Identity<StampedFile>;

/// What a template was made from.
pub(crate) type KnownIdentity = Identity<DigestedFile>;

/// A file that an identity is made of cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("Cannot read {path}")]
pub struct IdentityError {
    path: std::path::PathBuf,
    #[source]
    source: io::Error,
}

impl IdentityError {
    /// The file that cannot be read.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error of the operating system, in words.
    pub(crate) fn why(&self) -> String {
        self.source.to_string()
    }

    pub(crate) fn into_unusable(self) -> Unusable {
        Unusable::Unreadable {
            why: self.why(),
            path: self.path,
        }
    }

    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            path: path.to_owned(),
            source,
        }
    }
}

impl TemplateIdentity {
    /// The identity of a VM that `vmm` would make from `spec` on this host. Reads the release of
    /// the host's kernel in /proc, and stamps of all other files.
    ///
    /// # Errors
    /// A file is missing, cannot be read, or is not a regular file.
    pub fn of(vmm: &hypervisors::Identity, spec: &VmSpec) -> Result<Self, IdentityError> {
        let stamped = |path: &Path| StampedFile::inspect(path).map_err(IdentityError::at(path));
        let (root_kind, root) = match &spec.kernel.root {
            GuestRoot::Initrd(path) => (RootKind::Initrd, path),
            GuestRoot::Image(path) => (RootKind::Image, path),
        };
        let release = Path::new("/proc/sys/kernel/osrelease");
        let host_kernel = std::fs::read_to_string(release).map_err(IdentityError::at(release))?;
        Ok(Self {
            vmm: vmm.vmm.to_owned(),
            vmm_version: vmm.version.clone(),
            vmm_binary: stamped(&vmm.binary)?,
            machine: vmm.machine.clone(),
            cpu: vmm.cpu.clone(),
            kernel: stamped(&spec.kernel.kernel)?,
            command_line: spec.kernel.command_line.clone(),
            root_kind,
            root: stamped(root)?,
            size: spec.size(),
            max_size: spec.max_size(),
            disk_slots: format!("{} of {} MiB", spec.slots.count, spec.slots.mib),
            nic: spec.nic.is_some(),
            host_kernel: host_kernel.trim_end().to_owned(),
        })
    }

    /// The same with every file's digest. Files that are still the ones in `known` are not read.
    pub(crate) fn digested(
        &self,
        known: Option<&KnownIdentity>,
    ) -> Result<KnownIdentity, IdentityError> {
        let digest = |file: &StampedFile, of: fn(&KnownIdentity) -> &DigestedFile| {
            file.digest(known.map(of))
                .map_err(IdentityError::at(&file.path))
        };
        Ok(Identity {
            vmm: self.vmm.clone(),
            vmm_version: self.vmm_version.clone(),
            vmm_binary: digest(&self.vmm_binary, |known| &known.vmm_binary)?,
            machine: self.machine.clone(),
            cpu: self.cpu.clone(),
            kernel: digest(&self.kernel, |known| &known.kernel)?,
            command_line: self.command_line.clone(),
            root_kind: self.root_kind,
            root: digest(&self.root, |known| &known.root)?,
            size: self.size,
            max_size: self.max_size,
            disk_slots: self.disk_slots.clone(),
            nic: self.nic,
            host_kernel: self.host_kernel.clone(),
        })
    }
}

impl KnownIdentity {
    /// Every part of the identity, in a fixed order.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let mut fields = self.parts();
        fields.extend(sizes(self.size, self.max_size));
        fields
    }

    /// Every part but the sizes.
    fn parts(&self) -> Vec<Field> {
        let root_name = match self.root_kind {
            RootKind::Initrd => "initrd",
            RootKind::Image => "image",
        };
        let mut fields = vec![
            Field::text("VMM", &self.vmm),
            Field::text("VMM version", &self.vmm_version),
            Field::file("VMM binary", &self.vmm_binary),
            Field::text("CPU", &self.cpu),
            Field::file("kernel", &self.kernel),
            Field::text("kernel command line", &self.command_line),
            Field::text("kind of guest root", root_name),
            Field::file("guest root", &self.root),
            Field::text("disk slots", &self.disk_slots),
            Field::text("network interface", if self.nic { "yes" } else { "no" }),
            Field::text("host kernel", &self.host_kernel),
        ];
        let machine = self.machine.fields();
        fields.extend(machine.map(|(name, value)| Field::text(name, &value)));
        fields
    }

    /// SHA-256 over format version and all fields, in hex. Two templates with equal keys are
    /// interchangeable.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            // With its length in front, no part can run into the next.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part(&format!("imprint template {FORMAT_VERSION}"));
        for field in self.fields() {
            part(field.name);
            part(field.value());
        }
        hex(&hash.finalize())
    }

    /// The parts in which this template was made from something else than the VM that is `wanted`.
    /// Sizes are not compared; see [`size_mismatches`].
    pub(crate) fn mismatches(&self, wanted: &Self) -> Vec<Mismatch> {
        let pairs = self.parts().into_iter().zip(wanted.parts());
        pairs
            .filter(|(template, wanted)| !template.matches(wanted))
            .map(|(template, wanted)| Mismatch { template, wanted })
            .collect()
    }
}

/// Where a template of the size `has`, which can grow to `has_max`, is too small for a VM of the
/// size `wanted` that is to grow to `wanted_max`. A larger template serves a smaller VM.
pub(crate) fn size_mismatches(
    (has, has_max): (VmSize, VmSize),
    (wanted, wanted_max): (VmSize, VmSize),
) -> Vec<Mismatch> {
    let large_enough = [
        has.vcpus >= wanted.vcpus,
        has_max.vcpus >= wanted_max.vcpus,
        has.memory_mib >= wanted.memory_mib,
        has_max.memory_mib >= wanted_max.memory_mib,
    ];
    let pairs = sizes(has, has_max)
        .into_iter()
        .zip(sizes(wanted, wanted_max));
    pairs
        .zip(large_enough)
        .filter(|(_, large_enough)| !large_enough)
        .map(|((template, wanted), _)| Mismatch { template, wanted })
        .collect()
}

/// The sizes as parts of an identity.
fn sizes(size: VmSize, max: VmSize) -> [Field; 4] {
    [
        Field::number("vCPUs", size.vcpus),
        Field::number("maximum of vCPUs", max.vcpus),
        Field::number("memory in MiB", size.memory_mib),
        Field::number("memory at most in MiB", max.memory_mib),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use hypervisors::{KernelSpec, MemoryBacking, MemorySpec};

    use super::*;

    pub(crate) fn files(dir: &Path) -> (hypervisors::Identity, VmSpec) {
        let file = |name: &str| {
            let path = dir.join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let vmm = hypervisors::Identity {
            vmm: "fake",
            binary: file("vmm"),
            version: "1".into(),
            machine: Machine::default(),
            cpu: "max".into(),
        };
        let spec = VmSpec {
            id: "vm".into(),
            run_dir: dir.join("run"),
            vcpus: 1,
            max_vcpus: 2,
            memory: MemorySpec {
                mib: 1,
                max_mib: 1,
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: file("kernel"),
                root: GuestRoot::Initrd(file("initrd")),
                command_line: "quiet".into(),
            },
            netns: None,
            slots: hypervisors::DiskSlots::default(),
            nic: None,
        };
        (vmm, spec)
    }

    fn all(template: &KnownIdentity, wanted: &KnownIdentity) -> Vec<Mismatch> {
        let mut all = template.mismatches(wanted);
        all.extend(size_mismatches(
            (template.size, template.max_size),
            (wanted.size, wanted.max_size),
        ));
        all
    }

    #[test]
    fn every_field_of_a_vm_changes_the_key_and_names_itself() {
        type Change = fn(&mut hypervisors::Identity, &mut VmSpec);
        let changes: [(&str, Change); 17] = [
            ("VMM", |m, _| m.vmm = "other"),
            ("VMM version", |m, _| m.version = "2".into()),
            ("VMM binary", |m, _| {
                std::fs::write(&m.binary, "changed").unwrap()
            }),
            ("machine type", |m, _| {
                m.machine.machine_type = Some("microvm".into());
            }),
            ("PCI Express root ports", |m, _| {
                m.machine.root_ports = Some(1)
            }),
            ("CPU", |m, _| m.cpu = "host".into()),
            ("kernel", |_, s| {
                std::fs::write(&s.kernel.kernel, "changed").unwrap()
            }),
            ("kernel command line", |_, s| {
                s.kernel.command_line = "debug".into()
            }),
            ("guest root", |_, s| match &s.kernel.root {
                GuestRoot::Initrd(path) | GuestRoot::Image(path) => {
                    std::fs::write(path, "changed").unwrap();
                }
            }),
            ("kind of guest root", |_, s| {
                s.kernel.root = match s.kernel.root.clone() {
                    GuestRoot::Initrd(path) | GuestRoot::Image(path) => GuestRoot::Image(path),
                };
            }),
            ("vCPUs", |_, s| s.vcpus = 2),
            ("maximum of vCPUs", |_, s| s.max_vcpus = 3),
            ("memory in MiB", |_, s| s.memory.mib = 2),
            ("memory at most in MiB", |_, s| s.memory.max_mib = 2),
            ("disk slots", |_, s| s.slots.count = 2),
            ("disk slots", |_, s| s.slots.mib = 2),
            ("network interface", |_, s| {
                let nothing = std::fs::File::open("/dev/null").unwrap();
                s.nic = Some(hypervisors::NicSpec {
                    mac: "02:00:00:00:00:01".into(),
                    tap: std::sync::Arc::new(nothing.into()),
                });
            }),
        ];
        for (name, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            let (mut vmm, mut spec) = files(dir.path());
            let before = TemplateIdentity::of(&vmm, &spec)
                .unwrap()
                .digested(None)
                .unwrap();
            change(&mut vmm, &mut spec);
            let after = TemplateIdentity::of(&vmm, &spec).unwrap();
            let after = after.digested(Some(&before)).unwrap();
            assert_ne!(before.key(), after.key(), "{name}");
            let names: Vec<_> = all(&before, &after)
                .iter()
                .map(|mismatch| mismatch.template.name)
                .collect();
            assert_eq!(names, [name]);
        }
    }

    #[test]
    fn a_larger_template_serves_a_smaller_vm_and_not_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let (vmm, mut spec) = files(dir.path());
        let known = |spec: &VmSpec| {
            let identity = TemplateIdentity::of(&vmm, spec).unwrap();
            identity.digested(None).unwrap()
        };
        let small = known(&spec);
        (spec.vcpus, spec.max_vcpus) = (2, 4);
        (spec.memory.mib, spec.memory.max_mib) = (3, 9);
        let large = known(&spec);
        assert_eq!(all(&large, &small), []);
        assert_eq!(all(&small, &large).len(), 4);
        assert_ne!(small.key(), large.key());
    }

    #[test]
    fn a_moved_kernel_is_the_same_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let (vmm, mut spec) = files(dir.path());
        let before = TemplateIdentity::of(&vmm, &spec)
            .unwrap()
            .digested(None)
            .unwrap();
        let moved: PathBuf = dir.path().join("kernel-2");
        std::fs::copy(&spec.kernel.kernel, &moved).unwrap();
        spec.kernel.kernel = moved;
        let after = TemplateIdentity::of(&vmm, &spec)
            .unwrap()
            .digested(None)
            .unwrap();
        assert_eq!(all(&before, &after), []);
        assert_eq!(before.key(), after.key());
    }

    #[test]
    fn a_mismatch_names_both_values() {
        let dir = tempfile::tempdir().unwrap();
        let (vmm, mut spec) = files(dir.path());
        let before = TemplateIdentity::of(&vmm, &spec)
            .unwrap()
            .digested(None)
            .unwrap();
        spec.memory.mib = 2;
        let after = TemplateIdentity::of(&vmm, &spec)
            .unwrap()
            .digested(None)
            .unwrap();
        let text = all(&before, &after)[0].to_string();
        assert_eq!(text, "memory in MiB: template has 1, wanted 2");
    }

    #[test]
    fn a_missing_kernel_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (vmm, mut spec) = files(dir.path());
        spec.kernel.kernel = "/nonexistent/vmlinux".into();
        let error = TemplateIdentity::of(&vmm, &spec).unwrap_err();
        assert_eq!(error.to_string(), "Cannot read /nonexistent/vmlinux");
    }
}

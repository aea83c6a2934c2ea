//! Builds the specification that the agent gets for a container.

mod blocks;

use std::{collections::HashMap, path::Path};

use agent_client::oci as wire;
use oci_spec::runtime as host;
use protobuf::MessageField;

use super::{
    Bundle, ContainerKind, HostBind, HostDevice, OciError, devices,
    linux::guest_linux,
    mounts::guest_mounts,
    process::{guest_process, left_out, text},
    validate_id,
};

/// Settings of the node for every container's specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecOptions {
    /// The guest applies system call filters (`disable_guest_seccomp = false`, and the agent
    /// says that it can).
    pub guest_seccomp: bool,
}

/// A container's specification for the guest. It can be finished once every bind mount and block
/// device of the host has its content in the guest.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    spec: wire::Spec,
    /// In the order of their mounts.
    binds: Vec<HostBind>,
    devices: Vec<HostDevice>,
    /// Mounts below a bind, which come right after it, with the bind's index.
    inner: Vec<(usize, wire::Mount)>,
    /// Indices of binds that became something else. They are removed at the end, so that indices
    /// stay valid until then.
    no_mounts: Vec<usize>,
    sandbox_pidns: bool,
    left_out: Vec<&'static str>,
}

impl GuestSpec {
    /// The bind mounts that still need the host's content, in the order of the mounts.
    pub fn host_binds(&self) -> &[HostBind] {
        &self.binds
    }

    /// Sets the source of `bind`: its content is at `guest_source` in the guest.
    pub fn provide(&mut self, bind: &HostBind, guest_source: &str) {
        let Some(position) = self.binds.iter().position(|b| b.index == bind.index) else {
            return;
        };
        let bind = self.binds.remove(position);
        if let Some(mount) = self.spec.Mounts.get_mut(bind.index) {
            guest_source.clone_into(&mut mount.source);
        }
    }

    /// As [`GuestSpec::provide`], for the container to read only.
    pub fn provide_read_only(&mut self, bind: &HostBind, guest_source: &str) {
        let index = self
            .binds
            .iter()
            .find(|b| b.index == bind.index)
            .map(|b| b.index);
        if let Some(mount) = index.and_then(|index| self.spec.Mounts.get_mut(index)) {
            mount
                .options
                .retain(|option| option != "rw" && option != "ro");
            mount.options.push("ro".to_owned());
        }
        self.provide(bind, guest_source);
    }

    /// Adds a writable mount of `guest_source` at `inner`, a path below the destination of `bind`.
    ///
    /// # Errors
    /// The path is not UTF-8.
    pub fn provide_inner(
        &mut self,
        bind: &HostBind,
        inner: &str,
        guest_source: &str,
    ) -> Result<(), OciError> {
        let mount = wire::Mount {
            destination: text(&bind.destination.join(inner), "mounts.destination")?,
            source: guest_source.to_owned(),
            type_: "bind".to_owned(),
            options: ["rbind", "rprivate", "rw"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        self.inner.push((bind.index, mount));
        Ok(())
    }

    /// The value of the container's annotation of this name.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.spec.Annotations.get(name).map(String::as_str)
    }

    /// Adds an annotation, or replaces it.
    pub fn annotate(&mut self, name: &str, value: &str) {
        self.spec
            .Annotations
            .insert(name.to_owned(), value.to_owned());
    }

    /// How many bytes of huge pages of this size the container may use.
    pub fn huge_page_limit(&self, page_bytes: u64) -> Option<u64> {
        let limits = &self
            .spec
            .Linux
            .get_or_default()
            .Resources
            .get_or_default()
            .HugepageLimits;
        // As cgroups name page sizes: 64KB, 2MB, 1GB.
        let name = match page_bytes {
            size if size >= 1 << 30 => format!("{}GB", size >> 30),
            size if size >= 1 << 20 => format!("{}MB", size >> 20),
            size => format!("{}KB", size >> 10),
        };
        limits
            .iter()
            .find(|limit| limit.Pagesize == name)
            .map(|limit| limit.Limit)
    }

    /// Whether the container shares the pid namespace of its pod.
    pub fn sandbox_pidns(&self) -> bool {
        self.sandbox_pidns
    }

    /// Names of the parts that are set and that the guest does not get, for the log.
    pub fn left_out(&self) -> &[&'static str] {
        &self.left_out
    }

    fn arrange_mounts(&mut self) {
        let mut inner = std::mem::take(&mut self.inner);
        for (index, mount) in std::mem::take(&mut self.spec.Mounts)
            .into_iter()
            .enumerate()
        {
            if !self.no_mounts.contains(&index) {
                self.spec.Mounts.push(mount);
            }
            let below = inner.extract_if(.., |(around, _)| *around == index);
            self.spec.Mounts.extend(below.map(|(_, mount)| mount));
        }
    }

    /// The finished specification.
    ///
    /// # Errors
    /// A bind mount or a block device has no content in the guest.
    pub fn finish(mut self) -> Result<wire::Spec, OciError> {
        if let Some(device) = self.devices.first() {
            return Err(OciError::Invalid {
                field: "linux.devices (a block device of the host)",
                value: device.path.display().to_string(),
            });
        }
        if self.binds.is_empty() {
            self.arrange_mounts();
            return Ok(self.spec);
        }
        let destinations = self.binds.iter();
        Err(OciError::HostBindsLeft {
            destinations: destinations
                .map(|b| b.destination.display().to_string())
                .collect(),
        })
    }
}

/// Makes the guest's specification from a bundle's. `rootfs` is the root file system's path in the
/// guest.
///
/// # Errors
/// A required part is missing or invalid, or cannot be passed on without weakening the container.
pub fn guest_spec(
    bundle: &Bundle,
    container_id: &str,
    kind: &ContainerKind,
    rootfs: &str,
    options: SpecOptions,
) -> Result<GuestSpec, OciError> {
    validate_id(container_id)?;
    let host = &bundle.spec;
    let process = host
        .process()
        .as_ref()
        .ok_or(OciError::Missing("process"))?;
    let linux = host
        .linux()
        .as_ref()
        .ok_or(OciError::Missing("linux section"))?;
    let mut guest = guest_linux(linux, options.guest_seccomp)?;
    let devices = devices::take_block_devices(linux, &mut guest.linux.Devices);
    devices::keep_fixed(linux, &mut guest.linux.Devices)?;
    let linux = guest;
    let mounts = host.mounts().as_deref().unwrap_or_default();
    let (mounts, binds) = guest_mounts(mounts, container_id, kind.sandbox_id(container_id))?;
    let mut left_out = left_out(process);
    left_out.extend(linux.left_out);
    left_out.extend(host.hooks().as_ref().map(|_| "hooks"));
    left_out.extend(host.domainname().as_ref().map(|_| "domainname"));
    let readonly = host.root().as_ref().and_then(host::Root::readonly);
    Ok(GuestSpec {
        spec: wire::Spec {
            Version: host.version().clone(),
            Process: MessageField::some(guest_process(process)?),
            Root: MessageField::some(wire::Root {
                Path: rootfs.to_owned(),
                Readonly: readonly.unwrap_or_default(),
                ..Default::default()
            }),
            Hostname: host.hostname().clone().unwrap_or_default(),
            Mounts: mounts,
            Annotations: annotations(host, &bundle.path, kind)?,
            Linux: MessageField::some(linux.linux),
            ..Default::default()
        },
        binds,
        devices,
        inner: Vec::new(),
        no_mounts: Vec::new(),
        sandbox_pidns: linux.joins_pid_namespace,
        left_out,
    })
}

/// Names of annotations of the stock agent.
const POLICY: &str = "io.katacontainers.config.agent.policy";
const INIT_DATA: &str = "io.katacontainers.config.hypervisor.cc_init_data";
const BUNDLE_PATH: &str = "io.katacontainers.pkg.oci.bundle_path";
const CONTAINER_TYPE: &str = "io.katacontainers.pkg.oci.container_type";
const CDI_PREFIX: &str = "cdi.k8s.io/";

fn annotations(
    host: &host::Spec,
    bundle: &Path,
    kind: &ContainerKind,
) -> Result<HashMap<String, String>, OciError> {
    let mut all = host.annotations().clone().unwrap_or_default();
    all.retain(|name, _| name != POLICY && name != INIT_DATA && !name.starts_with(CDI_PREFIX));
    all.insert(BUNDLE_PATH.to_owned(), text(bundle, "bundle path")?);
    all.insert(CONTAINER_TYPE.to_owned(), kind.agent_name().to_owned());
    Ok(all)
}

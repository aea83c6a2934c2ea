//! The disks of containers' root file systems: in a disk slot of the VM if they fit, else
//! hot-plugged.

use std::{collections::HashMap, path::Path, sync::Arc};

use hypervisors::{DiskSlots, PciPath, Result, Vm};
use rootfs::Rootfs;
use slog::{Logger, info, warn};
use system::{
    error::chain,
    sync::{Mutex, MutexGuard},
};

use super::{
    root_disks,
    slots::{Candidate, Placement, Reason, SlotTable},
};

/// The disks of one VM's root file systems.
#[derive(Debug)]
pub struct RootDisks {
    slots: Mutex<SlotTable>,
    counts: Arc<Counts>,
    log: Logger,
}

/// Counts of root file systems: in slots, and hot-plugged by reason.
#[derive(Debug, Default)]
pub struct Counts(Mutex<(u64, HashMap<Reason, u64>)>);

/// A root file system that is attached to a VM.
#[derive(Debug)]
pub(super) enum Attached {
    /// In this slot, at this PCI path.
    Slot(u32, PciPath),
    /// Hot-plugged: the disks' ids and PCI paths, the topmost layer first.
    HotPlugged(Vec<(String, PciPath)>),
}

impl Attached {
    /// The PCI paths of its disks, the topmost layer first.
    pub(super) fn pci_paths(&self) -> Vec<String> {
        match self {
            Self::Slot(_, path) => vec![path.to_string()],
            Self::HotPlugged(disks) => disks.iter().map(|(_, path)| path.to_string()).collect(),
        }
    }
}

impl RootDisks {
    /// The disks of a VM that was started with `slots`. If `first` is given, the root of that
    /// container is in the first slot from the start.
    #[must_use]
    pub fn new(slots: &DiskSlots, first: Option<&str>, log: Logger) -> Self {
        Self {
            slots: Mutex::new(SlotTable::new(slots.count, slot_bytes(slots), first)),
            counts: Arc::default(),
            log,
        }
    }

    /// The counts, which are updated later.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// From now on all disks are hot-plugged: the guest's agent does not find those in slots.
    pub fn hot_plug_all(&self) {
        self.lock().close();
    }

    /// Attaches the root of `container` to a VM.
    ///
    /// # Errors
    /// The VMM refused. The disks are removed again, or the log says that they are not.
    pub(super) async fn attach(
        &self,
        vm: &dyn Vm,
        container: &str,
        rootfs: &Rootfs,
    ) -> Result<Attached> {
        let started_with = self.lock().holds(container);
        let reason = match self.decide(container, rootfs) {
            Placement::Slot(slot) => match self
                .put_into_slot(vm, slot, started_with, container, rootfs)
                .await
            {
                Ok(path) => {
                    self.counts.count_slot();
                    return Ok(Attached::Slot(slot, path));
                }
                Err(reason) => reason,
            },
            Placement::HotPlug(reason) => reason,
        };
        self.counts.count_hot_plug(reason);
        info!(self.log, "root disk hot-plugged"; "container" => container, "reason" => %reason);
        let mut added = Vec::new();
        for disk in root_disks(container, rootfs) {
            match vm.add_disk(&disk).await {
                Ok(path) => added.push((disk.id, path)),
                Err(error) => {
                    self.remove(vm, container, &added).await;
                    return Err(error);
                }
            }
        }
        Ok(Attached::HotPlugged(added))
    }

    /// Removes hot-plugged disks; failures are only logged.
    async fn remove(&self, vm: &dyn Vm, container: &str, disks: &[(String, PciPath)]) {
        for (id, _) in disks {
            if let Err(error) = vm.remove_disk(id).await {
                warn!(self.log, "root disk not removed from the VM";
                    "container" => container, "disk" => id, "error" => chain(&error));
            }
        }
    }

    /// Removes the root of a container from a running VM. The guest must have unmounted it.
    pub(super) async fn detach(&self, vm: &dyn Vm, container: &str, attached: &Attached) {
        let slot = match attached {
            Attached::Slot(slot, _) => *slot,
            Attached::HotPlugged(disks) => return self.remove(vm, container, disks).await,
        };
        match vm.empty_slot(slot).await {
            Ok(()) => self.lock().release(container),
            Err(error) => {
                warn!(self.log, "disk slot not emptied"; "container" => container, "slot" => slot,
                    "error" => chain(&error));
                self.lock().lose(container);
            }
        }
    }

    /// Removes the root of a container that the agent could not create. The agent may still use it.
    /// A hot-plugged disk in use cannot be removed, but the content of a slot could be replaced, so
    /// a slot is left as it is.
    pub(super) async fn withdraw(&self, vm: &dyn Vm, container: &str, attached: &Attached) {
        match attached {
            Attached::HotPlugged(disks) => self.remove(vm, container, disks).await,
            Attached::Slot(..) => self.abandon(container, attached),
        }
    }

    /// Leaves the root of a container, which the guest may still use, in the VM until that ends.
    pub(super) fn abandon(&self, container: &str, attached: &Attached) {
        warn!(self.log, "disk left in the VM"; "reason" => "the guest may still use it",
            "container" => container, "device" => attached.pci_paths().join(" "));
        self.lock().lose(container);
    }

    fn decide(&self, container: &str, rootfs: &Rootfs) -> Placement {
        let disk = match rootfs {
            Rootfs::Erofs { image, .. } => image
                .content_bytes()
                .map_or(Candidate::Foreign, Candidate::Image),
            other if other.read_only() => Candidate::Foreign,
            _ => Candidate::Writable,
        };
        self.lock().place(container, disk)
    }

    /// Puts an image into its slot, unless the VM was started with it. Returns the slot's PCI path.
    async fn put_into_slot(
        &self,
        vm: &dyn Vm,
        slot: u32,
        started_with: bool,
        container: &str,
        rootfs: &Rootfs,
    ) -> std::result::Result<PciPath, Reason> {
        let Some(path) = vm.disk_slot(slot) else {
            // The VMM has no slots: none is tried again.
            self.lock().lose(container);
            return Err(Reason::NoSlots);
        };
        if started_with {
            return Ok(path);
        }
        match self.fill(vm, slot, rootfs).await {
            Ok(()) => Ok(path),
            Err(error) => {
                warn!(self.log, "disk slot not filled"; "slot" => slot, "error" => error);
                self.lock().release(container);
                Err(Reason::Refused)
            }
        }
    }

    async fn fill(
        &self,
        vm: &dyn Vm,
        slot: u32,
        rootfs: &Rootfs,
    ) -> std::result::Result<(), String> {
        let Rootfs::Erofs { image, .. } = rootfs else {
            return Err("it is not an image".to_owned());
        };
        let bytes = self.lock().bytes();
        image.extend_to(bytes).map_err(|error| chain(&error))?;
        let filled = vm.fill_slot(slot, image.path()).await;
        filled.map_err(|error| chain(&error))
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.slots.lock()
    }
}

/// The image of a root file system that can be in a slot from the VM's start, with the length of
/// its content in bytes. Its file is extended to the length of a slot.
#[must_use]
pub fn first_image<'a>(slots: &DiskSlots, rootfs: &'a Rootfs) -> Option<(&'a Path, u64)> {
    let Rootfs::Erofs { image, .. } = rootfs else {
        return None;
    };
    if slots.count == 0 {
        return None;
    }
    let content = image.content_bytes().ok()?;
    image.extend_to(slot_bytes(slots)).ok()?;
    Some((image.path(), content))
}

fn slot_bytes(slots: &DiskSlots) -> u64 {
    u64::from(slots.mib) << 20
}

impl Counts {
    /// Number of root file systems that were put into slots.
    #[must_use]
    pub fn in_slots(&self) -> u64 {
        self.lock().0
    }

    /// Number of root file systems that were hot-plugged for this reason.
    #[must_use]
    pub fn hot_plugged(&self, reason: Reason) -> u64 {
        self.lock().1.get(&reason).copied().unwrap_or_default()
    }

    fn count_slot(&self) {
        self.lock().0 += 1;
    }

    fn count_hot_plug(&self, reason: Reason) {
        *self.lock().1.entry(reason).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<Reason, u64>)> {
        self.0.lock()
    }
}

//! The disks of containers' root file systems: put into a slot of the VM where they fit, else
//! plugged in.

use std::{collections::HashMap, path::Path, sync::Arc};

use hypervisors::{DiskSlots, PciPath, Result, Vm};
use rootfs::Rootfs;
use slog::{Logger, info, warn};
use system::sync::{Mutex, MutexGuard};

use super::{
    root_disks,
    slots::{Candidate, Place, Reason, Slots},
};

/// The disks of one VM's root file systems.
#[derive(Debug)]
pub struct RootDisks {
    slots: Mutex<Slots>,
    counts: Arc<Counts>,
    log: Logger,
}

/// Where root file systems went.
#[derive(Debug, Default)]
pub struct Counts(Mutex<(u64, HashMap<Reason, u64>)>);

/// A root file system that is in a VM.
#[derive(Debug)]
pub(super) enum Attached {
    /// In a slot, which the guest finds there.
    Slot(u32, PciPath),
    /// Plugged in: the disks' ids, and where the guest finds them, the topmost layer first.
    Plugged(Vec<(String, PciPath)>),
}

impl Attached {
    /// Where the guest finds its disks, the topmost layer first.
    pub(super) fn places(&self) -> Vec<String> {
        match self {
            Self::Slot(_, place) => vec![place.to_string()],
            Self::Plugged(disks) => disks.iter().map(|(_, place)| place.to_string()).collect(),
        }
    }
}

impl RootDisks {
    /// The disks of a VM that was started with `slots`. The root of the container `first`, if there
    /// is one, is in the first of them since then.
    #[must_use]
    pub fn new(slots: &DiskSlots, first: Option<&str>, log: Logger) -> Self {
        Self {
            slots: Mutex::new(Slots::new(slots.count, slot_bytes(slots), first)),
            counts: Arc::default(),
            log,
        }
    }

    /// How many went where.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// All disks are plugged in from now on: the guest's agent does not find those in slots.
    pub fn plug_all(&self) {
        self.lock().close();
    }

    /// Gives a VM the root of `container`. On an error it has it not, or the log says so.
    pub(super) async fn attach(
        &self,
        vm: &dyn Vm,
        container: &str,
        rootfs: &Rootfs,
    ) -> Result<Attached> {
        let started_with = self.lock().holds(container);
        let reason = match self.decide(container, rootfs) {
            Place::Slot(slot) => match self
                .exchange(vm, slot, started_with, container, rootfs)
                .await
            {
                Ok(place) => {
                    self.counts.slot();
                    return Ok(Attached::Slot(slot, place));
                }
                Err(reason) => reason,
            },
            Place::HotPlug(reason) => reason,
        };
        self.counts.plug(reason);
        info!(self.log, "root disk is plugged in"; "container" => container, "reason" => %reason);
        let mut plugged = Vec::new();
        for disk in root_disks(container, rootfs) {
            match vm.add_disk(&disk).await {
                Ok(place) => plugged.push((disk.id, place)),
                Err(error) => {
                    self.unplug(vm, container, &plugged).await;
                    return Err(error);
                }
            }
        }
        Ok(Attached::Plugged(plugged))
    }

    async fn unplug(&self, vm: &dyn Vm, container: &str, disks: &[(String, PciPath)]) {
        for (id, _) in disks {
            if let Err(error) = vm.remove_disk(id).await {
                warn!(self.log, "disk of a removed container stays plugged";
                    "container" => container, "disk" => id, "error" => %error);
            }
        }
    }

    /// Takes the root of a container, of which the guest has let go, out of a VM that goes on running.
    pub(super) async fn detach(&self, vm: &dyn Vm, container: &str, attached: &Attached) {
        let slot = match attached {
            Attached::Slot(slot, _) => *slot,
            Attached::Plugged(disks) => return self.unplug(vm, container, disks).await,
        };
        match vm.empty_slot(slot).await {
            Ok(()) => self.lock().release(container),
            Err(error) => {
                warn!(self.log, "disk slot is given up"; "container" => container, "slot" => slot,
                    "error" => %error);
                self.lock().lose(container);
            }
        }
    }

    /// Takes the root of a container that the agent could not make out of the VM. Whether the agent
    /// has undone all that it began is not known: a disk that is in use cannot be unplugged, but the
    /// content of a slot could be exchanged, so that is left as it is.
    pub(super) async fn withdraw(&self, vm: &dyn Vm, container: &str, attached: &Attached) {
        match attached {
            Attached::Plugged(disks) => self.unplug(vm, container, disks).await,
            Attached::Slot(..) => self.give_up(container, attached),
        }
    }

    /// Leaves the root of a container, of which the guest has not let go, in the VM until that ends.
    pub(super) fn give_up(&self, container: &str, attached: &Attached) {
        warn!(self.log, "guest may still use a disk, it stays in the VM";
            "container" => container, "places" => attached.places().join(" "));
        self.lock().lose(container);
    }

    fn decide(&self, container: &str, rootfs: &Rootfs) -> Place {
        let disk = match rootfs {
            Rootfs::Erofs { image, .. } => image
                .content_bytes()
                .map_or(Candidate::Foreign, Candidate::Image),
            other if other.read_only() => Candidate::Foreign,
            _ => Candidate::Writable,
        };
        self.lock().place(container, disk)
    }

    /// Puts an image into a slot that was decided on, unless the VM was started with it there.
    async fn exchange(
        &self,
        vm: &dyn Vm,
        slot: u32,
        started_with: bool,
        container: &str,
        rootfs: &Rootfs,
    ) -> std::result::Result<PciPath, Reason> {
        let Some(place) = vm.disk_slot(slot) else {
            // A monitor without slots: none is ever tried again.
            self.lock().lose(container);
            return Err(Reason::NoSlots);
        };
        if started_with {
            return Ok(place);
        }
        match self.fill(vm, slot, rootfs).await {
            Ok(()) => Ok(place),
            Err(words) => {
                warn!(self.log, "disk slot was not filled"; "slot" => slot, "error" => words);
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
            return Err("it is no image".to_owned());
        };
        let bytes = self.lock().bytes();
        image.extend_to(bytes).map_err(|error| error.to_string())?;
        let filled = vm.fill_slot(slot, image.path()).await;
        filled.map_err(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }
}

/// The image of a root file system that may be in a slot from the VM's start, with the bytes of its
/// content. Its file is at least as long as a slot from now on.
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
    /// How many went into slots.
    #[must_use]
    pub fn in_slots(&self) -> u64 {
        self.lock().0
    }

    /// How many were plugged in for this reason.
    #[must_use]
    pub fn plugged(&self, reason: Reason) -> u64 {
        self.lock().1.get(&reason).copied().unwrap_or_default()
    }

    fn slot(&self) {
        self.lock().0 += 1;
    }

    fn plug(&self, reason: Reason) {
        *self.lock().1.entry(reason).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<Reason, u64>)> {
        self.0.lock()
    }
}

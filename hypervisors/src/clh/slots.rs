//! Disk slots: virtio-blk devices on links in the VM's run directory. The monitor follows those once,
//! when it makes the VM, so a saved configuration need not know what is behind them.
//!
//! ```text
//!   virtio-blk "slot-0" -- <run_dir>/slot-0 --+--> an image, for as long as the VM is there
//!                                             +--> a loop device that shows an image, or nothing
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use slog::warn;
use tokio::sync::Mutex;

use super::{
    api::calls::Info,
    devices,
    vm_config::{DiskConfig, SLOT_QUEUES},
};
use crate::{
    DiskSlots, Error, PciPath, Result, VmSpec,
    loop_device::LoopDevice,
    slots::{bytes, check, expect, name, refused},
};

/// What a VM may have beside its other devices and those that are plugged: a bus has 32 places.
pub const MAX_DISK_SLOTS: u32 = 16;

/// The file that an empty slot shows: it has no content.
const EMPTY: &str = "slot-empty";

/// The disks of a VM's slots, as the monitor is told of them.
pub fn disks(slots: &DiskSlots, run_dir: &Path) -> Vec<DiskConfig> {
    (0..slots.count)
        .map(|slot| DiskConfig::new(&name(slot), &link(run_dir, slot), true, SLOT_QUEUES))
        .collect()
}

/// The path of a slot's disk in the configuration of its VM.
pub fn link(run_dir: &Path, slot: u32) -> PathBuf {
    run_dir.join(name(slot))
}

/// What the slots of a VM will show, before there is a monitor. Dropping it removes the links, which
/// only a monitor that makes a VM follows.
#[derive(Debug)]
pub struct Prepared {
    links: Vec<PathBuf>,
    slots: Slots,
}

/// The slots of one VM.
#[derive(Debug)]
pub struct Slots {
    bytes: u64,
    /// The content of an empty one.
    empty: Option<Arc<File>>,
    /// By slot; `None` for one whose content stays.
    devices: Vec<Option<Arc<LoopDevice>>>,
    /// Held while a slot is changed.
    filled: Mutex<Vec<bool>>,
    places: Vec<PciPath>,
}

impl Prepared {
    /// Makes ready what the slots of `spec` show. Those without a content need a loop device each to
    /// get one later; without, they stay empty, and the log says so.
    pub fn new(spec: &VmSpec, log: &slog::Logger) -> Result<Self> {
        let mut prepared = Self {
            links: Vec::new(),
            slots: Slots::none(bytes(&spec.slots)),
        };
        if spec.slots.count > 0 {
            prepared.fill(spec, log)?;
        }
        Ok(prepared)
    }

    fn fill(&mut self, spec: &VmSpec, log: &slog::Logger) -> Result<()> {
        let path = spec.run_dir.join(EMPTY);
        self.links.push(path.clone());
        let empty = placeholder(&path, self.slots.bytes).map_err(failed("Creating", &path))?;
        for slot in 0..spec.slots.count {
            let content = spec.slots.contents.get(slot as usize);
            let device = match content {
                Some(_) => None,
                None => device(&empty, self.slots.bytes, log),
            };
            let target = match (&device, content) {
                (Some(device), _) => device.path(),
                (None, content) => content.map_or(path.as_path(), PathBuf::as_path),
            };
            let link = link(&spec.run_dir, slot);
            symlink(target, &link).map_err(failed("Linking", &link))?;
            self.links.push(link);
            self.slots.devices.push(device.map(Arc::new));
            self.slots.filled.get_mut().push(content.is_some());
        }
        self.slots.empty = Some(Arc::new(empty));
        Ok(())
    }

    /// The slots of the VM that the monitor has made with them.
    pub fn placed(mut self, info: &Info) -> Result<Slots> {
        let count = self.slots.devices.len() as u32;
        let places = (0..count).map(|slot| devices::place(info, &name(slot)));
        let places = places.collect::<Result<_>>()?;
        let slots = std::mem::replace(&mut self.slots, Slots::none(0));
        Ok(Slots { places, ..slots })
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for link in &self.links {
            let _ = fs::remove_file(link);
        }
    }
}

impl Slots {
    fn none(bytes: u64) -> Self {
        Self {
            bytes,
            empty: None,
            devices: Vec::new(),
            filled: Mutex::default(),
            places: Vec::new(),
        }
    }

    /// Where the guest finds one.
    pub fn place(&self, slot: u32) -> Option<PciPath> {
        self.places.get(slot as usize).cloned()
    }

    /// Shows an image in an empty slot.
    pub async fn fill(&self, slot: u32, path: &Path) -> Result<()> {
        let mut filled = self.filled.lock().await;
        let filled = expect(&mut filled, slot, "fill", false)?;
        check(path, self.bytes)?;
        let image = File::open(path).map_err(failed("Opening disk", path))?;
        self.show(slot, "fill", Arc::new(image)).await?;
        *filled = true;
        Ok(())
    }

    /// Shows nothing in a filled slot, and closes its image.
    pub async fn empty(&self, slot: u32) -> Result<()> {
        let mut filled = self.filled.lock().await;
        let filled = expect(&mut filled, slot, "empty", true)?;
        let Some(empty) = self.empty.clone() else {
            return Err(refused(slot, "empty", "it is of no VM".to_owned()));
        };
        self.show(slot, "empty", empty).await?;
        *filled = false;
        Ok(())
    }

    /// The kernel waits for what the guest still reads.
    async fn show(&self, slot: u32, action: &str, file: Arc<File>) -> Result<()> {
        let Some(Some(device)) = self.devices.get(slot as usize).cloned() else {
            let reason = "there is no loop device behind it".to_owned();
            return Err(refused(slot, action, reason));
        };
        let shown = tokio::task::spawn_blocking(move || device.show(&file)).await;
        match shown {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(refused(slot, action, error.to_string())),
            Err(ended) => Err(refused(slot, action, ended.to_string())),
        }
    }
}

/// A file without content that is as long as a slot.
fn placeholder(path: &Path, bytes: u64) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    file.set_len(bytes)?;
    Ok(file)
}

fn device(empty: &File, bytes: u64, log: &slog::Logger) -> Option<LoopDevice> {
    let device = LoopDevice::of(empty, bytes);
    device
        .inspect_err(|error| {
            warn!(log, "disk slot stays empty: no loop device"; "error" => %error);
        })
        .ok()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

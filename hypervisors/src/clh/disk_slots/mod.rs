//! Disk slots: virtio-blk devices on links in the VM's run directory. The VMM follows those once,
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
    time::Duration,
};

use slog::warn;
use system::loop_device::LoopDevice;
use tokio::{sync::Mutex, task::JoinError, time::timeout};

use super::{api::calls::Info, devices, paths::slot_link};
use crate::{
    Error, PciPath, Result, VmSpec,
    disk_slots::{bytes, check, name, refused, state_in},
    error::io_error,
};

/// The most slots that a VM has: a bus has 32 places, and the others are for other devices.
pub const MAX_DISK_SLOTS: u32 = 16;

/// An image that was just made may have to be written out first.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The file that an empty slot shows: it has no content.
const EMPTY: &str = "slot-empty";

/// What the slots of a VM will show, before there is a VMM. The links, which only a VMM that
/// makes a VM follows, go when it is dropped.
#[derive(Debug)]
pub struct PreparedSlots {
    /// Held for its end.
    _links: Links,
    windows: Vec<Option<Window>>,
    contents: usize,
    bytes: u64,
}

/// Paths that are removed in the end.
#[derive(Debug, Default)]
struct Links(Vec<PathBuf>);

/// A disk whose content can be exchanged.
#[derive(Debug, Clone)]
struct Window {
    device: Arc<LoopDevice>,
    /// What it shows when it shows nothing.
    empty: Arc<File>,
}

/// The slots of one VM.
#[derive(Debug)]
pub struct SlotDisks {
    bytes: u64,
    /// By slot; `None` for one whose content stays.
    windows: Vec<Option<Window>>,
    /// Held while a slot is changed.
    filled: Arc<Mutex<Vec<bool>>>,
    /// By slot; `None` for one that neither has a content nor can get one.
    places: Vec<Option<PciPath>>,
}

impl PreparedSlots {
    /// Makes ready what the slots of `spec` show. Those without a content need a loop device each
    /// to get one later; without, they stay empty, and the log says so.
    pub async fn new(spec: &VmSpec, log: &slog::Logger) -> Result<Self> {
        let (slots, bytes) = (&spec.slots, bytes(&spec.slots));
        let mut links = Links::default();
        let mut windows: Vec<Option<Window>> = slots.contents.iter().map(|_| None).collect();
        if slots.count > 0 {
            let path = spec.run_dir.join(EMPTY);
            let empty = placeholder(&path, bytes).map_err(io_error("Creating", &path))?;
            links.0.push(path.clone());
            let missing = slots.count as usize - slots.contents.len();
            windows.extend(windows_on(empty, missing, bytes, log).await);
            for (slot, window) in (0..).zip(&windows) {
                let content = slots.contents.get(slot as usize).unwrap_or(&path);
                let shown = window.as_ref().map(|window| window.device.path());
                let link = slot_link(&spec.run_dir, slot);
                symlink(shown.unwrap_or(content), &link).map_err(io_error("Linking", &link))?;
                links.0.push(link);
            }
        }
        Ok(Self {
            _links: links,
            windows,
            contents: slots.contents.len(),
            bytes,
        })
    }

    /// The slots of the VM that the VMM has made with them.
    pub fn placed(self, info: &Info) -> Result<SlotDisks> {
        let slots = self.windows.iter().enumerate();
        let places = slots.map(|(slot, window)| {
            let of_use = window.is_some() || slot < self.contents;
            let place = of_use.then(|| devices::place(info, &name(slot as u32)));
            place.transpose()
        });
        let filled = (0..self.windows.len()).map(|slot| slot < self.contents);
        Ok(SlotDisks {
            bytes: self.bytes,
            places: places.collect::<Result<_>>()?,
            filled: Arc::new(Mutex::new(filled.collect())),
            windows: self.windows,
        })
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for link in &self.0 {
            let _ = fs::remove_file(link);
        }
    }
}

impl SlotDisks {
    /// Where the guest finds one that has a content or can get one.
    pub fn place(&self, slot: u32) -> Option<PciPath> {
        self.places.get(slot as usize).cloned().flatten()
    }

    /// Shows an image in an empty slot.
    pub async fn fill(&self, slot: u32, path: &Path) -> Result<()> {
        check(path, self.bytes)?;
        let image = File::open(path).map_err(io_error("Opening disk", path))?;
        self.change(slot, Change::Fill(image)).await
    }

    /// Shows nothing in a filled slot, and closes its image.
    pub async fn empty(&self, slot: u32) -> Result<()> {
        self.change(slot, Change::Empty).await
    }

    async fn change(&self, slot: u32, change: Change) -> Result<()> {
        let action = change.action();
        let late = |_| Error::Timeout {
            waited_for: format!("{action} disk slot {slot}"),
            waited: CHANGE_TIMEOUT,
        };
        let changed = timeout(CHANGE_TIMEOUT, self.change_in_time(slot, change)).await;
        changed.map_err(late)?
    }

    /// The kernel waits for what the guest still reads. Once begun it is not cancelled, and nothing
    /// else is done to the slots before its end.
    async fn change_in_time(&self, slot: u32, change: Change) -> Result<()> {
        let action = change.action();
        let mut filled = self.filled.clone().lock_owned().await;
        state_in(&mut filled, slot, action, matches!(change, Change::Empty))?;
        let Some(Some(window)) = self.windows.get(slot as usize).cloned() else {
            let reason = "there is no loop device behind it".to_owned();
            return Err(refused(slot, action, reason));
        };
        let changed = tokio::task::spawn_blocking(move || {
            let (image, shows) = match &change {
                Change::Fill(image) => (image, true),
                Change::Empty => (&*window.empty, false),
            };
            window.device.show(image)?;
            filled[slot as usize] = shows;
            Ok(())
        });
        let outcome: io::Result<()> = changed
            .await
            .unwrap_or_else(|end| Err(io::Error::other(end)));
        outcome.map_err(|error| refused(slot, action, error.to_string()))
    }
}

/// What is done to a slot.
#[derive(Debug)]
enum Change {
    Fill(File),
    Empty,
}

impl Change {
    fn action(&self) -> &'static str {
        match self {
            Self::Fill(_) => "fill",
            Self::Empty => "empty",
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

/// As many as can be had. The task that makes them touches nothing that a later start would find.
async fn windows_on(
    empty: File,
    count: usize,
    bytes: u64,
    log: &slog::Logger,
) -> Vec<Option<Window>> {
    let made = tokio::task::spawn_blocking(move || {
        let mut windows = Vec::new();
        let empty = Arc::new(empty);
        while windows.len() < count {
            match LoopDevice::attach(&empty, bytes) {
                Ok(device) => windows.push(Window {
                    device: Arc::new(device),
                    empty: empty.clone(),
                }),
                Err(error) => return (windows, Some(error)),
            }
        }
        (windows, None)
    });
    let lost = |end: JoinError| (Vec::new(), Some(io::Error::other(end)));
    let (windows, obstacle) = made.await.unwrap_or_else(lost);
    if let Some(error) = obstacle {
        warn!(log, "disk slots stay empty: no loop device"; "error" => %error);
    }
    let mut windows: Vec<_> = windows.into_iter().map(Some).collect();
    windows.resize_with(count, || None);
    windows
}

#[cfg(test)]
mod tests;

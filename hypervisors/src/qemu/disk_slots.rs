//! Disk slots: a virtio-blk device whose backing is exchanged without the guest's knowledge.
//!
//! ```text
//!   virtio-blk "slot-0" -- raw node "slot-0", of the slot's size --+--> "empty": reads as zeroes
//!                                                                  +--> "slot-0-image": a file
//! ```

use std::path::Path;

use tokio::sync::Mutex;

use super::{
    launch::Vmm,
    layout::disk_slot,
    option_line::{OptionLine, text},
    qmp::command::{BlockdevDel, BlockdevOpen, BlockdevReopen, Content, RawNode},
};
use crate::{
    DiskSlots, Error, Result,
    disk_slots::{bytes, check, name, state_in},
};

/// The node that all empty slots show.
const EMPTY: &str = "empty";

/// Size of what is tried.
const TRIED: u64 = 1 << 20;

/// Adds the slots of a VM to its command line.
pub fn options(line: &mut OptionLine, slots: &DiskSlots) -> Result<()> {
    if slots.count == 0 {
        return Ok(());
    }
    let bytes = bytes(slots);
    let nothing = Content::Nothing {
        size: bytes,
        read_zeroes: true,
    };
    node(line, &opened(EMPTY, nothing))?;
    for index in 0..slots.count {
        let name = name(index);
        let image = image(index);
        let shown = match slots.contents.get(index as usize) {
            Some(path) => {
                node(line, &opened(&image, file(path)?))?;
                image.as_str()
            }
            None => EMPTY,
        };
        node(line, &window(&name, shown, bytes))?;
        let (slot, function) = disk_slot(index);
        line.option(
            "-device",
            format!(
                "virtio-blk-pci,id={name},drive={name},bus=pcie.0,addr={slot:#x}.{function},\
                 multifunction=on"
            ),
        );
    }
    Ok(())
}

/// Whether this QEMU can exchange what a node shows: asked of one without a guest.
pub async fn possible(vmm: &Vmm) -> bool {
    let nothing = || Content::Nothing {
        size: TRIED,
        read_zeroes: true,
    };
    let tried = async {
        vmm.execute(&opened("one", nothing())).await?;
        vmm.execute(&opened("other", nothing())).await?;
        vmm.execute(&window("window", "one", TRIED)).await?;
        let options = [window("window", "other", TRIED)];
        vmm.execute(&BlockdevReopen { options }).await
    };
    tried.await.is_ok()
}

/// The slots of one VM, and which of them show an image.
#[derive(Debug)]
pub struct SlotDisks {
    bytes: u64,
    /// Held while a slot is changed.
    filled: Mutex<Vec<bool>>,
    count: u32,
}

impl SlotDisks {
    /// The slots of a VM that was started with `slots`.
    pub fn new(slots: &DiskSlots) -> Self {
        let filled = (0..slots.count as usize).map(|slot| slot < slots.contents.len());
        Self {
            bytes: bytes(slots),
            filled: Mutex::new(filled.collect()),
            count: slots.count,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Shows an image in an empty slot.
    pub async fn fill(&self, vmm: &Vmm, slot: u32, path: &Path) -> Result<()> {
        let mut filled = self.filled.lock().await;
        let filled = state_in(&mut filled, slot, "fill", false)?;
        check(path, self.bytes)?;
        let image = image(slot);
        vmm.execute(&opened(&image, file(path)?)).await?;
        if let Err(error) = self.show(vmm, slot, &image).await {
            // It is open under a name that only this slot uses; the next attempt fails and says so.
            let _ = close(vmm, &image).await;
            return Err(error);
        }
        *filled = true;
        Ok(())
    }

    /// Shows nothing in a filled slot, and closes its image.
    pub async fn empty(&self, vmm: &Vmm, slot: u32) -> Result<()> {
        let mut filled = self.filled.lock().await;
        let filled = state_in(&mut filled, slot, "empty", true)?;
        self.show(vmm, slot, EMPTY).await?;
        close(vmm, &image(slot)).await?;
        *filled = false;
        Ok(())
    }

    async fn show(&self, vmm: &Vmm, slot: u32, shown: &str) -> Result<()> {
        let name = name(slot);
        let options = [window(&name, shown, self.bytes)];
        vmm.execute(&BlockdevReopen { options }).await.map(drop)
    }
}

async fn close(vmm: &Vmm, image: &str) -> Result<()> {
    let node = BlockdevDel { node_name: image };
    vmm.execute(&node).await.map(drop)
}

fn image(slot: u32) -> String {
    format!("slot-{slot}-image")
}

fn file(path: &Path) -> Result<Content<'_>> {
    Ok(Content::File {
        filename: text(path)?,
        locking: "auto",
    })
}

fn opened<'a>(node_name: &'a str, content: Content<'a>) -> BlockdevOpen<'a> {
    BlockdevOpen {
        node_name,
        read_only: true,
        content,
    }
}

fn window<'a>(node_name: &'a str, shown: &'a str, size: u64) -> RawNode<'a> {
    RawNode {
        driver: "raw",
        node_name,
        read_only: true,
        size,
        file: shown,
    }
}

fn node(line: &mut OptionLine, node: &impl serde::Serialize) -> Result<()> {
    let node = serde_json::to_string(node).map_err(|error| Error::Protocol(error.to_string()))?;
    line.option("-blockdev", node);
    Ok(())
}

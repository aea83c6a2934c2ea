//! Devices that are attached and detached while the VM runs.

use std::{fs, os::unix::fs::FileTypeExt, time::Duration};

use super::{
    api::calls::{Info, PciDeviceInfo, VmAddDisk, VmAddNet, VmRemoveDevice},
    launch::Vmm,
    vm_config::{DiskConfig, NetConfig},
};
use crate::{
    DiskSpec, Error, NetSpec, PciPath, Result,
    device::{check_mac, device_name},
};

/// How long a guest may take to release a device: it has to notice, stop its driver and eject.
const DETACH_TIMEOUT: Duration = Duration::from_secs(15);

/// Attaches a disk and returns where the guest finds it.
pub async fn add_disk(vmm: &Vmm, disk: &DiskSpec, queues: u32) -> Result<PciPath> {
    let name = device_name("disk", &disk.id)?;
    check_backing(disk)?;
    let config = DiskConfig::new(&name, &disk.path, disk.read_only, queues);
    let added = vmm.call(&VmAddDisk(&config)).await;
    settled(vmm, &name, added).await
}

/// Attaches a network interface and returns where the guest finds it.
pub async fn add_net(vmm: &Vmm, net: NetSpec) -> Result<PciPath> {
    let name = device_name("net", &net.id)?;
    check_mac(&net.mac)?;
    let config = NetConfig::new(&name, &net.mac);
    let added = vmm.call_with(&VmAddNet(&config), Some(net.tap)).await;
    let added = added.and_then(|added| {
        added.ok_or_else(|| Error::Protocol(String::from("an interface was attached nowhere")))
    });
    settled(vmm, &name, added).await
}

/// Where the device is. One that was neither attached nor refused may be there, and is detached.
async fn settled(vmm: &Vmm, name: &str, added: Result<PciDeviceInfo>) -> Result<PciPath> {
    let placed = added.and_then(|added| slot_of(&added.bdf));
    if let Err(Error::Protocol(_) | Error::Timeout { .. }) = &placed {
        // Its own failure would say less than why the device was not attached.
        let _ = vmm.call(&VmRemoveDevice { id: name }).await;
    }
    placed
}

/// Detaches a disk and waits until the guest has released it.
pub async fn remove_disk(vmm: &Vmm, id: &str) -> Result<()> {
    let name = device_name("disk", id)?;
    let wanted = name.clone();
    let gone = vmm.wait_for(move |event| {
        event.is("vm", "device-removed") && event.text("id") == Some(&wanted)
    });
    vmm.call(&VmRemoveDevice { id: &name }).await?;
    let what = format!("the guest to release {name}");
    vmm.event(gone, &what, DETACH_TIMEOUT, "a detach")
        .await
        .map(drop)
}

fn check_backing(disk: &DiskSpec) -> Result<()> {
    let failed = |source| Error::Io {
        action: "Opening disk",
        path: disk.path.clone(),
        source,
    };
    let kind = fs::metadata(&disk.path).map_err(failed)?.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    let what = "neither a regular file nor a block device";
    Err(failed(std::io::Error::other(what)))
}

/// Where a device is that the VM has from its start. The VMM numbers those by itself.
pub fn place(info: &Info, id: &str) -> Result<PciPath> {
    let devices = info.device_tree.iter().flatten();
    let mut holders = devices.filter(|(_, device)| device.children.iter().any(|child| child == id));
    match holders
        .next()
        .and_then(|(_, device)| device.pci_bdf.as_deref())
    {
        Some(bdf) => slot_of(bdf),
        None => Err(Error::Protocol(format!("the VM's {id} is on no PCI bus"))),
    }
}

/// `0000:00:06.0` is slot 6 of the only segment this crate makes.
pub fn slot_of(bdf: &str) -> Result<PciPath> {
    let slot = bdf
        .strip_prefix("0000:00:")
        .and_then(|rest| rest.strip_suffix(".0"))
        .and_then(|slot| u32::from_str_radix(slot, 16).ok())
        .filter(|slot| *slot < 32);
    match slot {
        Some(slot) => Ok(PciPath::from_slots(&[slot])),
        None => {
            let bdf: String = bdf.chars().take(40).collect();
            Err(Error::Protocol(format!("a device is at {bdf:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_slot_of_the_root_bus() {
        assert_eq!(slot_of("0000:00:1f.0").unwrap().to_string(), "1f");
        for bdf in [
            "",
            "0001:00:05.0",
            "0000:00:20.0",
            "0000:00:05.1",
            "0000:01:05.0",
        ] {
            assert!(matches!(slot_of(bdf), Err(Error::Protocol(_))), "{bdf}");
        }
    }
}

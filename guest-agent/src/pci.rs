//! Finds devices by their PCI paths.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// Where the kernel shows its devices.
pub const DEVICES: &str = "/sys/devices";

/// A PCI path: the slot on the root bus, then the slot on the bus behind that bridge, and so on.
#[derive(Debug, PartialEq, Eq)]
pub struct PciPath {
    root_bus: u8,
    /// Device and function number on each bus.
    hops: Vec<(u8, u8)>,
}

impl PciPath {
    /// Parses `02/00` or `02.0/00.0`, in hexadecimal. If there are three hops or more, a first hop
    /// of 0x20 or more is the number of an additional root bus.
    ///
    /// # Errors
    ///
    /// When a part is not a number, or too large for a slot (0x1f) or a function (7).
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("{text:?} is not a PCI path"));
        let mut hops = Vec::new();
        for hop in text.split('/') {
            let (slot, function) = hop.split_once('.').unwrap_or((hop, "0"));
            let slot = u8::from_str_radix(slot, 16).map_err(|_| invalid())?;
            let function = u8::from_str_radix(function, 16).map_err(|_| invalid())?;
            hops.push((slot, function));
        }
        let root_bus = match hops[..] {
            [(bus @ 0x20.., 0), _, _, ..] => {
                hops.remove(0);
                bus
            }
            _ => 0,
        };
        if hops
            .iter()
            .any(|(slot, function)| *slot > 0x1f || *function > 7)
        {
            return Err(invalid());
        }
        Ok(Self { root_bus, hops })
    }

    /// The directory of the device in sysfs, if it is there. `devices` is [`DEVICES`]
    /// outside of tests.
    pub fn find(&self, devices: &Path) -> Option<PathBuf> {
        let root = devices.join(format!("pci0000:{:02x}", self.root_bus));
        self.hops.iter().try_fold(root, |bus, (slot, function)| {
            let suffix = format!(":{slot:02x}.{function}");
            entries(&bus).find(|entry| {
                let name = entry.file_name().unwrap_or_default().to_string_lossy();
                name.len() == "0000:00:00.0".len() && name.ends_with(&suffix)
            })
        })
    }
}

/// The name of the block device of the virtio device at `device`, such as `vda`.
pub fn block_device(device: &Path) -> Option<String> {
    of_class(device, "block")
}

/// The name of the network interface of the virtio device at `device`, such as `eth0`.
pub fn network_interface(device: &Path) -> Option<String> {
    of_class(device, "net")
}

fn of_class(device: &Path, class: &str) -> Option<String> {
    entries(device)
        .filter(|entry| {
            entry
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("virtio"))
        })
        .find_map(|virtio| entries(&virtio.join(class)).next())
        .and_then(|found| Some(found.file_name()?.to_str()?.to_owned()))
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parsed() {
        let path = |root_bus, hops: &[(u8, u8)]| PciPath {
            root_bus,
            hops: hops.to_vec(),
        };
        assert_eq!(PciPath::parse("02/00").unwrap(), path(0, &[(2, 0), (0, 0)]));
        assert_eq!(PciPath::parse("1f.7").unwrap(), path(0, &[(0x1f, 7)]));
        assert_eq!(
            PciPath::parse("20/00/02").unwrap(),
            path(0x20, &[(0, 0), (2, 0)])
        );
        for wrong in ["", "/", "02/", "20/00", "xx", "02/../03", "1ff", "00.8"] {
            assert!(PciPath::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_disk_behind_a_bridge_is_found() {
        let devices = tempfile::tempdir().unwrap();
        let bridge = devices.path().join("pci0000:00/0000:00:02.0");
        let function = bridge.join("0000:05:00.0");
        fs::create_dir_all(function.join("virtio3/block/vdb")).unwrap();
        fs::create_dir_all(bridge.join("pci_bus")).unwrap();
        let path = PciPath::parse("02/00").unwrap();
        let found = path.find(devices.path()).unwrap();
        assert_eq!(found, function);
        assert_eq!(block_device(&found).as_deref(), Some("vdb"));
        assert_eq!(network_interface(&found), None);
        assert_eq!(PciPath::parse("03/00").unwrap().find(devices.path()), None);
    }
}

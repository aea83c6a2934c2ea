//! The network interface that a VM has from its start: its tap travels beside the call that makes
//! it, and beside the one that restores it.

use std::os::fd::OwnedFd;

use super::{
    api::calls::{Info, NetFds, VmAddNet},
    devices,
    launch::Vmm,
    vm_config::{NIC, NetConfig},
};
use crate::{Error, NicSpec, PciPath, Result};

/// Adds it to a VM that was described and not started.
pub async fn add(vmm: &Vmm, nic: &NicSpec) -> Result<()> {
    let config = NetConfig::new(NIC, &nic.mac);
    let call = VmAddNet(&config);
    match vmm.call_with(&call, Some(tap(nic)?)).await? {
        None => Ok(()),
        Some(_) => Err(Error::Protocol(String::from(
            "an interface was attached to a VM that is not started",
        ))),
    }
}

/// What a restore says of it, and its tap.
pub fn restored(nic: &NicSpec) -> Result<(NetFds, OwnedFd)> {
    let named = NetFds {
        id: NIC,
        num_fds: 1,
    };
    Ok((named, tap(nic)?))
}

/// Where it is, if the VM is to have one.
pub fn place(nic: Option<&NicSpec>, info: &Info) -> Result<Option<PciPath>> {
    nic.map(|_| devices::place(info, NIC)).transpose()
}

/// The VMM gets a descriptor of its own.
fn tap(nic: &NicSpec) -> Result<OwnedFd> {
    nic.tap.try_clone().map_err(|source| Error::Io {
        action: "Passing on the tap of",
        path: NIC.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::Arc};

    use serde_json::{Value, json};

    use super::*;

    fn nic() -> NicSpec {
        NicSpec {
            mac: "02:00:00:00:00:01".into(),
            tap: Arc::new(File::open("/dev/null").unwrap().into()),
        }
    }

    fn info(tree: &Value) -> Info {
        serde_json::from_value(json!({"state": "Running", "device_tree": tree})).unwrap()
    }

    #[test]
    fn its_place_is_where_the_vmm_has_put_it() {
        let tree = json!({
            "nic": {"id": "nic", "children": [], "parent": "_virtio-pci-nic", "pci_bdf": null},
            "_virtio-pci-nic": {
                "id": "_virtio-pci-nic", "children": ["nic"], "pci_bdf": "0000:00:01.0",
            },
            "_virtio-pci-__rng": {
                "id": "_virtio-pci-__rng", "children": ["__rng"], "pci_bdf": "0000:00:02.0",
            },
        });
        let found = place(Some(&nic()), &info(&tree)).unwrap();
        assert_eq!(found.unwrap().to_string(), "01");
        assert_eq!(place(None, &info(&tree)).unwrap(), None);
    }

    #[test]
    fn one_that_is_nowhere_is_an_error() {
        for tree in [
            Value::Null,
            json!({}),
            json!({"nic": {"children": [], "pci_bdf": null}}),
            json!({"_virtio-pci-nic": {"children": ["nic"], "pci_bdf": null}}),
            json!({"_virtio-pci-nic": {"children": ["nic"], "pci_bdf": "0001:00:01.0"}}),
        ] {
            let found = place(Some(&nic()), &info(&tree));
            assert!(matches!(found, Err(Error::Protocol(_))), "{tree}");
        }
    }
}

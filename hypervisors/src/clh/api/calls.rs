//! The requests this crate makes, with the timeout of each.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::PathBuf, time::Duration};

use hyper::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::clh::vm_config::{DiskConfig, NetConfig, VmConfig};

/// A request: its body is the value, and a value without content has none.
pub trait Call: Serialize + Sync {
    /// The last part of its path.
    const NAME: &'static str;
    /// GET asks, PUT changes.
    const METHOD: Method;
    /// How long an answer may take.
    const TIMEOUT: Duration;
    /// The body of its answer; `()` for none.
    type Reply: DeserializeOwned;
}

macro_rules! calls {
    ($(
        $type:ident $(<$life:lifetime>)? = $method:ident $name:literal -> $reply:ty,
        $seconds:literal s;
    )*) => {$(
        impl $(<$life>)? Call for $type $(<$life>)? {
            const NAME: &'static str = $name;
            const METHOD: Method = Method::$method;
            const TIMEOUT: Duration = Duration::from_secs($seconds);
            type Reply = $reply;
        }
    )*};
}

calls! {
    VmmPing = GET "vmm.ping" -> Ping, 20 s;
    VmmShutdown = PUT "vmm.shutdown" -> (), 20 s;
    VmCreate<'a> = PUT "vm.create" -> (), 20 s;
    VmBoot = PUT "vm.boot" -> (), 60 s;
    VmInfo = GET "vm.info" -> Info, 20 s;
    VmPause = PUT "vm.pause" -> (), 20 s;
    VmResume = PUT "vm.resume" -> (), 20 s;
    VmSnapshot = PUT "vm.snapshot" -> (), 120 s;
    VmRestore = PUT "vm.restore" -> (), 120 s;
    VmAddDisk<'a> = PUT "vm.add-disk" -> PciDeviceInfo, 20 s;
    VmAddNet<'a> = PUT "vm.add-net" -> Option<PciDeviceInfo>, 20 s;
    VmRemoveDevice<'a> = PUT "vm.remove-device" -> (), 20 s;
    VmResize = PUT "vm.resize" -> (), 20 s;
}

/// Asks which VMM answers.
#[derive(Debug, Serialize)]
pub struct VmmPing;

/// Ends the VMM, which has no VM then.
#[derive(Debug, Serialize)]
pub struct VmmShutdown;

/// Describes a VM, which is not started yet.
#[derive(Debug, Serialize)]
pub struct VmCreate<'a>(pub &'a VmConfig);

/// Starts the VM that was described.
#[derive(Debug, Serialize)]
pub struct VmBoot;

/// Asks how the VM is.
#[derive(Debug, Serialize)]
pub struct VmInfo;

/// Stops the vCPUs of a VM that runs.
#[derive(Debug, Serialize)]
pub struct VmPause;

/// Lets the vCPUs of a paused VM run.
#[derive(Debug, Serialize)]
pub struct VmResume;

/// Writes the state of a paused VM into a directory, `file:///dir`.
#[derive(Debug, Serialize)]
pub struct VmSnapshot {
    pub destination_url: String,
}

/// Makes a paused VM of what was written into a directory.
#[derive(Debug, Serialize)]
pub struct VmRestore {
    pub source_url: String,
    /// How memory comes back, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_restore_mode: Option<&'static str>,
    /// The network interface whose tap travels beside the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_fds: Option<[NetFds; 1]>,
}

/// An interface, and how many descriptors it takes of those that travel along.
#[derive(Debug, Serialize)]
pub struct NetFds {
    /// Its name in the VM that was saved.
    pub id: &'static str,
    /// One for each tap.
    pub num_fds: u32,
}

/// Attaches a disk; the guest is notified.
#[derive(Debug, Serialize)]
pub struct VmAddDisk<'a>(pub &'a DiskConfig);

/// Gives the VM a network interface; its tap travels beside the request. One of a VM that is not
/// started is nowhere yet.
#[derive(Debug, Serialize)]
pub struct VmAddNet<'a>(pub &'a NetConfig);

/// Detaches a device: the guest is asked to release it.
#[derive(Debug, Serialize)]
pub struct VmRemoveDevice<'a> {
    pub id: &'a str,
}

/// Hot-plugs vCPUs or memory.
#[derive(Debug, Default, Serialize)]
pub struct VmResize {
    /// How many vCPUs there are to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_vcpus: Option<u32>,
    /// How many bytes of memory there are to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_ram: Option<u64>,
}

/// The VMM that answers a ping.
#[derive(Debug, Clone, Deserialize)]
pub struct Ping {
    /// The version of its package, `51.1.0`.
    pub version: String,
}

/// How the VM is.
#[derive(Debug, Deserialize)]
pub struct Info {
    /// `Created`, `Running`, `Paused`, `Shutdown`.
    pub state: String,
    /// Its devices by name; none while it is only described.
    #[serde(default)]
    pub device_tree: Option<BTreeMap<String, Device>>,
}

/// A device, or what one consists of.
#[derive(Debug, Deserialize)]
pub struct Device {
    /// Names of what is behind it.
    #[serde(default)]
    pub children: Vec<String>,
    /// Segment, bus, device and function, if it is on a bus.
    #[serde(default)]
    pub pci_bdf: Option<String>,
}

/// Where a device was attached.
#[derive(Debug, Deserialize)]
pub struct PciDeviceInfo {
    /// Segment, bus, device and function: `0000:00:06.0`.
    pub bdf: String,
}

/// A descriptor that travels with a request.
pub type Passed = Option<OwnedFd>;

/// A directory as the API names it.
pub fn url(dir: &std::path::Path) -> Option<String> {
    // The VMM takes what follows the scheme as the path, without decoding it.
    let text = PathBuf::from(dir).into_os_string().into_string().ok()?;
    text.starts_with('/').then(|| format!("file://{text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_restore_names_the_interface_whose_tap_it_takes_along() {
        let mut restore = VmRestore {
            source_url: "file:///saved".into(),
            memory_restore_mode: None,
            net_fds: None,
        };
        let wire = |restore: &VmRestore| serde_json::to_value(restore).unwrap();
        assert_eq!(wire(&restore), json!({"source_url": "file:///saved"}));
        restore.net_fds = Some([NetFds {
            id: "nic",
            num_fds: 1,
        }]);
        let expected = json!({
            "source_url": "file:///saved", "net_fds": [{"id": "nic", "num_fds": 1}],
        });
        assert_eq!(wire(&restore), expected);
    }
}

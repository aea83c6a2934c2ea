//! Finds virtio-serial ports by the names that the VMM gave them, and vsock devices.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the kernel lists the ports.
pub const CLASS: &str = "/sys/class/virtio-ports";

/// Where the kernel lists the virtio devices.
pub const DEVICES: &str = "/sys/bus/virtio/devices";
/// Device ID of a socket device (Virtual I/O Device 1.2, section 5).
const VSOCK: &str = "0x0013";

/// Whether one of the virtio devices in the directory `devices` is for vsock.
pub fn has_vsock(devices: &Path) -> bool {
    fs::read_dir(devices)
        .into_iter()
        .flatten()
        .flatten()
        .any(|device| {
            fs::read_to_string(device.path().join("device"))
                .is_ok_and(|number| number.trim_end() == VSOCK)
        })
}

/// The device node of the port `name`, if the directory `class` lists one.
pub fn find(class: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(class)
        .ok()?
        .flatten()
        .find(|port| {
            fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim_end() == name)
        })
        .map(|port| Path::new("/dev").join(port.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_device_is_known_by_its_number() {
        let devices = tempfile::tempdir().unwrap();
        let add = |name: &str, number: &str| {
            fs::create_dir(devices.path().join(name)).unwrap();
            fs::write(devices.path().join(name).join("device"), number).unwrap();
        };
        add("virtio0", "0x0003\n");
        assert!(!has_vsock(devices.path()));
        add("virtio1", "0x0013\n");
        assert!(has_vsock(devices.path()));
    }

    #[test]
    fn a_port_is_found_by_its_name_only() {
        let class = tempfile::tempdir().unwrap();
        for (port, name) in [
            ("vport1p1", "org.example.0\n"),
            ("vport1p2", "imprint.agent\n"),
        ] {
            fs::create_dir(class.path().join(port)).unwrap();
            fs::write(class.path().join(port).join("name"), name).unwrap();
        }
        fs::create_dir(class.path().join("vport1p3")).unwrap();
        assert_eq!(
            find(class.path(), "imprint.agent"),
            Some("/dev/vport1p2".into())
        );
        assert_eq!(find(class.path(), "imprint"), None);
    }
}

//! Block devices of a container, which enter the guest's specification after their disks.

use agent_client::oci as wire;

use super::{GuestSpec, HostBind, HostDevice};

impl GuestSpec {
    /// Removes and returns the block devices that were given to the container individually. Each is
    /// in the guest's specification only after [`add_block_device`](Self::add_block_device).
    pub fn take_block_devices(&mut self) -> Vec<HostDevice> {
        std::mem::take(&mut self.devices)
    }

    /// Adds a device whose disk is in the guest. The agent replaces the numbers of the device and
    /// of its rule by those in the guest.
    pub fn add_block_device(&mut self, device: &HostDevice) {
        let access = if device.read_only { "rm" } else { "rwm" };
        let rule = wire::LinuxDeviceCgroup {
            Allow: true,
            Type: "b".to_owned(),
            Major: device.node.Major,
            Minor: device.node.Minor,
            Access: access.to_owned(),
            ..Default::default()
        };
        let linux = self.linux();
        linux.Devices.push(device.node.clone());
        linux.Resources.mut_or_insert_default().Devices.push(rule);
    }

    /// Turns a bind mount of a block device into a device node of the container with these
    /// permission bits. The agent sets its number.
    pub fn provide_as_device(&mut self, bind: &HostBind, mode: u32) {
        let Some(position) = self.binds.iter().position(|b| b.index == bind.index) else {
            return;
        };
        let bind = self.binds.remove(position);
        self.no_mounts.push(bind.index);
        self.linux().Devices.push(wire::LinuxDevice {
            Path: bind.destination.to_string_lossy().into_owned(),
            Type: "b".to_owned(),
            FileMode: mode,
            ..Default::default()
        });
    }

    fn linux(&mut self) -> &mut wire::Linux {
        self.spec.Linux.mut_or_insert_default()
    }
}

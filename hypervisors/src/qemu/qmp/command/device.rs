//! Commands that attach and detach disks and network interfaces.

use serde::Serialize;

use super::Empty;

commands! {
    NetdevAdd<'a> = "netdev_add" -> Empty;
    NetdevDel<'a> = "netdev_del" -> Empty;
    DeviceAdd<'a> = "device_add" -> Empty;
    DeviceDel<'a> = "device_del" -> Empty;
}

/// Opens a network interface's backing.
#[derive(Debug, Serialize)]
pub struct NetdevAdd<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub id: &'a str,
    /// The name of the tap's descriptor.
    pub fd: &'a str,
    /// Whether the host's kernel moves the packets.
    pub vhost: bool,
    /// The name of the descriptor of `/dev/vhost-net`.
    #[serde(rename = "vhostfd", skip_serializing_if = "Option::is_none")]
    pub vhost_fd: Option<&'a str>,
}

/// Closes a network interface's backing.
#[derive(Debug, Serialize)]
pub struct NetdevDel<'a> {
    pub id: &'a str,
}

/// Attaches a disk or a network interface.
#[derive(Debug, Serialize)]
pub struct DeviceAdd<'a> {
    pub driver: &'a str,
    pub id: &'a str,
    pub bus: &'a str,
    /// The device's number on that bus.
    pub addr: &'a str,
    /// `on`: a virtio device of version 1 only, which takes no I/O ports. Behind a root port it is
    /// one anyway; behind a bridge there are I/O ports for few devices.
    #[serde(rename = "disable-legacy")]
    pub disable_legacy: &'a str,
    /// What the device does its work with.
    #[serde(flatten)]
    pub backing: Backing<'a>,
}

/// What an attached device does its work with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Backing<'a> {
    /// A node that was added by `blockdev-add`.
    Disk { drive: &'a str },
    /// A backing that was added by `netdev_add`.
    Net {
        netdev: &'a str,
        /// The guest's MAC address.
        mac: &'a str,
        /// The option ROM; empty for none.
        romfile: &'a str,
    },
}

/// Asks the guest to release a device; the `DEVICE_DELETED` event tells the end.
#[derive(Debug, Serialize)]
pub struct DeviceDel<'a> {
    pub id: &'a str,
}

//! The guest kernel's command line.

use hypervisors::GuestRoot;

use super::{HypervisorConfig, RootfsType};

/// Longest line that a kernel on x86 reads, in bytes (`COMMAND_LINE_SIZE` less the final NUL).
pub const MAX_LEN: usize = 2047;

/// What every guest gets: messages on the serial port, an end instead of a halt on a panic, and no
/// self-tests of the crypto drivers, which are a sixth of an emulated boot. Memory that is hot-plugged
/// is of use at once, whatever the agent. There are no bounce buffers: where memory could be
/// hot-plugged beyond 4 GiB the kernel would set 64 MiB aside for them, which no virtio device uses.
/// The check of the timer fails on an emulated machine whose host has too much to do (1 of 14 boots at
/// once on two busy cores), and the kernel panics.
const ALWAYS: &str = "console=ttyS0 panic=1 cryptomgr.notests memhp_default_state=online \
    swiotlb=noforce no_timer_check";
/// Units that a stock image with systemd must and must not start.
const SYSTEMD: &str = "systemd.unit=kata-containers.target \
    systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket";

/// Joins the parameters; the configured ones come last, so that they win.
///
/// Nothing of a single VM may enter: all clones of a template have the line of their template.
pub fn assemble(hypervisor: &HypervisorConfig, agent_debug: bool) -> String {
    let mut parameters = vec![ALWAYS];
    if !hypervisor.debug {
        parameters.push("quiet");
    }
    let root;
    if let GuestRoot::Image(_) = hypervisor.root {
        root = image_root(hypervisor.rootfs_type);
        parameters.extend([root.as_str(), SYSTEMD]);
    }
    if agent_debug {
        parameters.push("agent.log=debug");
    }
    if !hypervisor.kernel_params.is_empty() {
        parameters.push(&hypervisor.kernel_params);
    }
    parameters.join(" ")
}

/// The first partition of the first disk, as stock images have it.
fn image_root(rootfs_type: RootfsType) -> String {
    let (flags, name) = match rootfs_type {
        RootfsType::Ext4 => ("rootflags=data=ordered,errors=remount-ro ro", "ext4"),
        RootfsType::Xfs => ("ro", "xfs"),
        RootfsType::Erofs => ("ro", "erofs"),
    };
    format!("root=/dev/vda1 {flags} rootfstype={name}")
}

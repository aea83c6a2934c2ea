//! The guest kernel's command line.

use hypervisors::GuestRoot;

use super::{HypervisorConfig, RootfsType};

/// Longest line that a kernel on x86 reads, in bytes (`COMMAND_LINE_SIZE` less the final NUL).
pub const MAX_LEN: usize = 2047;

/// Parameters of every guest:
///
/// * `console`, `panic`: messages go to the serial port, and a panic ends the VM instead of halting
///   it.
/// * `cryptomgr.notests`: the self-tests of the crypto drivers take a sixth of an emulated boot.
/// * `memhp_default_state`: hot-plugged memory is usable at once, whatever the agent does.
/// * `swiotlb`: where memory can be hot-plugged beyond 4 GiB, the kernel would reserve 64 MiB for
///   bounce buffers, which no virtio device uses.
/// * `no_timer_check`: the check fails on an emulated machine of a busy host, and the kernel panics
///   (measured: 1 of 14 concurrent boots on two busy cores).
const ALWAYS: &str = "console=ttyS0 panic=1 cryptomgr.notests memhp_default_state=online \
    swiotlb=noforce no_timer_check";
/// Which systemd units a stock image starts, and which it must not start.
const SYSTEMD: &str = "systemd.unit=kata-containers.target \
    systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket";

/// Joins the parameters; the configured ones come last, so they override the others.
///
/// Nothing of a single VM may be part of it: all clones have the command line of their template.
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

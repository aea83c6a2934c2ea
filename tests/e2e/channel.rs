//! Who can reach the agent of a pod.

use std::{fs, os::fd::AsRawFd, os::unix::fs::PermissionsExt, path::Path};

use e2e_tests::harness::Case;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use playground::{
    Error, Result, ensure,
    node::Node,
    proc::Process,
    settings::{Settings, VmmKind},
};

use crate::{lifecycle::service, templating::end};

/// The agent's port on a vsock.
const PORT: u32 = 1024;
/// The host's half of a vsock.
const VHOST_VSOCK: &str = "/dev/vhost-vsock";
/// An address that a guest could have.
const FIRST: u32 = 3;

pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "channel::no_process_of_the_host_reaches_the_agent",
        closed,
    )]
}

/// Those that configure the node themselves.
pub fn own_cases() -> Vec<Case> {
    vec![Case::new(
        "channel::a_vsock_must_be_asked_for_by_name",
        asked_for,
    )]
}

/// An agent on a vsock takes the host, and a template of the other channel does not fit.
fn asked_for(node: &Node) -> Result<()> {
    if VmmKind::chosen() != VmmKind::Qemu || !Path::new(VHOST_VSOCK).exists() {
        return Err(Error::Unavailable {
            what: "QEMU with a vsock".to_owned(),
            reason: format!("it takes QEMU and {VHOST_VSOCK}"),
        });
    }
    let usual = Settings {
        enable_template: true,
        ..node.settings()
    };
    node.configure(&usual)?;
    node.ensure_template()?;
    node.configure(&Settings {
        agent_channel: Some("vsock".to_owned()),
        ..usual
    })?;
    let mark = node.mark();
    let (id, running) = service(node, "vsock")?;
    let start = node.start_since(mark)?;
    ensure!(
        start.path.as_str() == "booted" && start.reason.contains("channel"),
        "{start:?}"
    );
    let vmms = node.vmms();
    let vsock = |vmm: &Process| vmm.command.contains("vhost-vsock-pci");
    ensure!(vmms.iter().all(vsock), "{vmms:?}");
    end(node, &id, running)?;
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

fn closed(node: &Node) -> Result<()> {
    let (id, running) = service(node, "channel")?;
    let vmms = node.vmms();
    let [vmm] = vmms.as_slice() else {
        return Err(Error::Unexpected(format!("Instead of one VMM: {vmms:?}")));
    };
    if VmmKind::chosen() == VmmKind::Qemu {
        ensure!(!vmm.command.contains("vsock"), "{}", vmm.command);
        ensure!(
            vmm.command.contains("name=imprint.agent"),
            "{}",
            vmm.command
        );
        let cid = vmm.command.split("guest-cid=").nth(1);
        let cid = cid.and_then(|rest| rest.split(',').next()?.parse().ok());
        refused(cid.unwrap_or(FIRST))?;
    }
    let sockets = private_sockets(&node.settings().run_root)?;
    ensure!(sockets > 0, "No socket of a VM was found");
    end(node, &id, running)
}

/// Nobody answers there, whether the host has vhost-vsock or not.
fn refused(cid: u32) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let Ok(socket) = socket(AddressFamily::Vsock, SockType::Stream, flags, None) else {
        println!("    this host's kernel has no vsock at all");
        return Ok(());
    };
    let address = VsockAddr::new(cid, PORT);
    match connect(socket.as_raw_fd(), &address) {
        Err(errno) => {
            println!("    vsock {cid}:{PORT}: {errno}");
            Ok(())
        }
        Ok(()) => Err(Error::Unexpected(format!(
            "The agent took a connection on vsock {cid}:{PORT}"
        ))),
    }
}

/// How many sockets there are below a directory, each of which only root can open.
fn private_sockets(directory: &Path) -> Result<usize> {
    use std::os::unix::fs::FileTypeExt;
    let mut count = 0;
    let entries = fs::read_dir(directory).map_err(Error::io("Listing", directory))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.is_dir() {
            count += private_sockets(&path)?;
        } else if metadata.file_type().is_socket() {
            let mode = metadata.permissions().mode() & 0o777;
            ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", path.display());
            count += 1;
        }
    }
    Ok(count)
}

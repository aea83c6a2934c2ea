//! Devices that are attached and detached while the VM runs. What fails half way is undone.

use std::{
    fs::{self, OpenOptions},
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    time::Duration,
};

use slog::warn;
use system::sync::{Mutex, MutexGuard};

use super::{
    launch::Vmm,
    layout::Port,
    option_line::text,
    ports::Ports,
    qmp::command::{
        Backing, BlockdevAdd, BlockdevDel, BlockdevFile, CloseFd, DeviceAdd, DeviceDel, NetdevAdd,
        NetdevDel,
    },
};
use crate::{
    DiskSpec, Error, NetSpec, PciPath, Result,
    device::{check_mac, device_name},
};

/// How long a guest may take to release a device: it has to notice, stop its driver and eject.
const DETACH_TIMEOUT: Duration = Duration::from_secs(15);

/// The devices that were attached to one VM while it ran.
#[derive(Debug)]
pub struct AttachedDevices {
    ports: Mutex<Ports>,
    vhost_net: bool,
    log: slog::Logger,
}

impl AttachedDevices {
    /// No devices, and these places for them. With `vhost_net` the host's kernel moves the packets
    /// of network interfaces where it offers to.
    pub fn new(ports: Ports, vhost_net: bool, log: slog::Logger) -> Self {
        Self {
            ports: Mutex::new(ports),
            vhost_net,
            log,
        }
    }

    /// Attaches a disk and returns where the guest finds it.
    pub async fn add_disk(&self, vmm: &Vmm, disk: &DiskSpec) -> Result<PciPath> {
        let reserved = self.reserve(device_name("disk", &disk.id)?)?;
        let node = node_name(reserved.port);
        open_disk(vmm, disk, &node).await?;
        let added = vmm
            .execute(&DeviceAdd {
                driver: "virtio-blk-pci",
                id: &reserved.device,
                bus: &reserved.port.bus(),
                addr: &reserved.port.address(),
                disable_legacy: "on",
                backing: Backing::Disk { drive: &node },
            })
            .await;
        if let Err(error) = added {
            let undone = vmm.execute(&BlockdevDel { node_name: &node }).await;
            self.undone(&reserved.device, undone.map(drop));
            return Err(error);
        }
        Ok(reserved.keep())
    }

    /// Detaches a disk and closes its backing.
    pub async fn remove_disk(&self, vmm: &Vmm, id: &str) -> Result<()> {
        let (device, port) = self.find(id)?;
        detach(vmm, &device).await?;
        let node = node_name(port);
        let closed = vmm.execute(&BlockdevDel { node_name: &node }).await;
        self.free(&device, closed.map(drop))
    }

    /// Attaches a network interface and returns where the guest finds it.
    pub async fn add_net(&self, vmm: &Vmm, net: NetSpec) -> Result<PciPath> {
        check_mac(&net.mac)?;
        let reserved = self.reserve(device_name("net", &net.id)?)?;
        let backing = node_name(reserved.port);
        self.open_net(vmm, &backing, net.tap).await?;
        let added = vmm
            .execute(&DeviceAdd {
                driver: "virtio-net-pci",
                id: &reserved.device,
                bus: &reserved.port.bus(),
                addr: &reserved.port.address(),
                disable_legacy: "on",
                backing: Backing::Net {
                    netdev: &backing,
                    mac: &net.mac,
                    romfile: "",
                },
            })
            .await;
        if let Err(error) = added {
            let undone = vmm.execute(&NetdevDel { id: &backing }).await;
            self.undone(&reserved.device, undone.map(drop));
            return Err(error);
        }
        Ok(reserved.keep())
    }

    async fn open_net(&self, vmm: &Vmm, name: &str, tap: OwnedFd) -> Result<()> {
        let vhost = if self.vhost_net {
            open_vhost_net()
        } else {
            None
        };
        let vhost_name = vhost.as_ref().map(|_| format!("{name}-vhost"));
        vmm.pass(name, tap).await?;
        if let (Some(fd), Some(vhost_name)) = (vhost, &vhost_name)
            && let Err(error) = vmm.pass(vhost_name, fd).await
        {
            close(vmm, name).await;
            return Err(error);
        }
        let netdev = NetdevAdd {
            kind: "tap",
            id: name,
            fd: name,
            vhost: vhost_name.is_some(),
            vhost_fd: vhost_name.as_deref(),
        };
        let opened = vmm.execute(&netdev).await;
        if opened.is_err() {
            close(vmm, name).await;
            if let Some(vhost_name) = &vhost_name {
                close(vmm, vhost_name).await;
            }
        }
        opened.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock()
    }

    fn reserve(&self, device: String) -> Result<Reserved<'_>> {
        match self.lock().take(&device) {
            Ok(port) => Ok(Reserved {
                attached: self,
                device,
                port,
                kept: false,
            }),
            Err(why) => Err(Error::Refused {
                request: format!("attach {device}"),
                reason: why.to_string(),
            }),
        }
    }

    fn find(&self, id: &str) -> Result<(String, Port)> {
        let device = device_name("disk", id)?;
        match self.lock().find(&device) {
            Some(port) => Ok((device, port)),
            None => Err(Error::Refused {
                request: format!("detach {device}"),
                reason: String::from("no such device is attached"),
            }),
        }
    }

    fn undone(&self, device: &str, undone: Result<()>) {
        if let Err(error) = undone {
            warn!(self.log, "cannot undo a failed attach; its place stays unused";
                "device" => device, "error" => system::error::chain(&error));
            self.lock().lose(device);
        }
    }

    fn free(&self, device: &str, closed: Result<()>) -> Result<()> {
        let mut ports = self.lock();
        match &closed {
            Ok(()) => ports.release(device),
            Err(_) => ports.lose(device),
        }
        closed
    }
}

/// A place that is free again unless the device is attached.
struct Reserved<'a> {
    attached: &'a AttachedDevices,
    device: String,
    port: Port,
    kept: bool,
}

impl Reserved<'_> {
    fn keep(mut self) -> PciPath {
        self.kept = true;
        self.port.path()
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.attached.lock().release(&self.device);
        }
    }
}

async fn open_disk(vmm: &Vmm, disk: &DiskSpec, node: &str) -> Result<()> {
    let failed = |source| Error::Io {
        action: "Opening disk",
        path: disk.path.clone(),
        source,
    };
    let kind = fs::metadata(&disk.path).map_err(failed)?.file_type();
    let driver = if kind.is_file() {
        "file"
    } else if kind.is_block_device() {
        "host_device"
    } else {
        return Err(failed(std::io::Error::other(
            "neither a regular file nor a block device",
        )));
    };
    let file = BlockdevFile {
        driver,
        filename: text(&disk.path)?,
        read_only: disk.read_only,
        locking: "auto",
    };
    let discard = if disk.read_only { "ignore" } else { "unmap" };
    let raw = BlockdevAdd {
        driver: "raw",
        node_name: node,
        read_only: disk.read_only,
        discard,
        file,
    };
    vmm.execute(&raw).await.map(drop)
}

async fn detach(vmm: &Vmm, device: &str) -> Result<()> {
    let name = device.to_owned();
    let gone = vmm.wait_for(move |event| {
        event.text("device") == Some(&name)
            && matches!(
                event.name.as_str(),
                "DEVICE_DELETED" | "DEVICE_UNPLUG_GUEST_ERROR"
            )
    });
    vmm.execute(&DeviceDel { id: device }).await?;
    let what = format!("the guest to release {device}");
    let event = vmm.event(gone, &what, DETACH_TIMEOUT, "a detach").await?;
    if event.name == "DEVICE_DELETED" {
        return Ok(());
    }
    Err(Error::Refused {
        request: format!("detach {device}"),
        reason: String::from("the guest does not release it"),
    })
}

/// Closes the descriptor of a device that was not attached. An error here adds nothing.
async fn close(vmm: &Vmm, name: &str) {
    let _ = vmm.execute(&CloseFd { name }).await;
}

fn open_vhost_net() -> Option<OwnedFd> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/vhost-net");
    device.ok().map(OwnedFd::from)
}

/// A block node's name is limited to 31 bytes, so it comes from the port and not from the caller.
fn node_name(port: Port) -> String {
    port.backing()
}

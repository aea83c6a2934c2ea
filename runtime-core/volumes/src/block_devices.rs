//! Gives containers the block devices of their volumes.

use std::path::Path;

use agent_client::{
    agent::{Device, FSGroup, Storage},
    types::FSGroupChangePolicy,
};
use oci::{GUEST_SANDBOX, GuestSpec, HostBind, HostDevice};
use system::encoding::base64url;

use super::{
    Provided, VolumeError, Volumes,
    direct::DirectVolume,
    disk::BlockDevice,
    provide::refused,
    source::{Kind, Source, blocking},
};

impl Volumes {
    /// Provides a bind mount of a block device as a device node in the container.
    pub(super) async fn raw_disk(
        &self,
        bind: &HostBind,
        source: &Source,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        let Kind::Block(number) = source.facts.kind else {
            return Err(VolumeError::Changing {
                path: source.path.clone(),
            });
        };
        let (path, read_only) = (source.path.clone(), bind.read_only());
        let device = blocking(&source.path, move || {
            BlockDevice::at(&path, number, read_only)
        })
        .await?;
        let pci_path = self
            .attach(&device, provided, |reason| refused(bind, reason))
            .await?;
        spec.provide_as_device(bind, source.facts.mode);
        provided.devices.push(node(pci_path, &bind.destination));
        Ok(())
    }

    /// Provides a block device that the container gets by number.
    pub(super) async fn device(
        &self,
        device: &HostDevice,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        let (major, minor, read_only) = (device.major, device.minor, device.read_only);
        let find = move || BlockDevice::numbered(major, minor, read_only);
        let block = blocking(&device.path, find).await?;
        let refuse = |reason| VolumeError::Refused {
            destination: device.path.clone(),
            source_path: format!("block device {}:{}", device.major, device.minor).into(),
            reason,
        };
        let pci_path = self.attach(&block, provided, refuse).await?;
        spec.add_block_device(device);
        provided.devices.push(node(pci_path, &device.path));
        Ok(())
    }

    /// Provides a file system on a block device, which the agent mounts. Returns its path in the
    /// guest.
    pub(super) async fn file_system(
        &self,
        bind: &HostBind,
        volume: DirectVolume,
        provided: &mut Provided,
    ) -> Result<String, VolumeError> {
        let (path, read_only) = (volume.device.clone(), bind.read_only());
        let find = move || BlockDevice::named(&path, read_only);
        let device = blocking(&volume.device, find).await?;
        let pci_path = self
            .attach(&device, provided, |reason| refused(bind, reason))
            .await?;
        let mount_point = format!("{GUEST_SANDBOX}/storage/{}", base64url(pci_path.as_bytes()));
        let mut options = volume.options;
        options.retain(|option| !["ro", "rw", "bind", "rbind"].contains(&option.as_str()));
        options.extend(bind.read_only().then(|| "ro".to_owned()));
        provided.storages.push(Storage {
            driver: "blk".to_owned(),
            source: pci_path,
            fstype: volume.fs_type,
            options,
            mount_point: mount_point.clone(),
            fs_group: volume.group.map(owned_by).into(),
            ..Default::default()
        });
        Ok(mount_point)
    }

    async fn attach(
        &self,
        device: &BlockDevice,
        provided: &mut Provided,
        refuse: impl Fn(String) -> VolumeError,
    ) -> Result<String, VolumeError> {
        let pci_path = self.disks.attach(&*self.vm, device, refuse).await?;
        provided
            .held
            .disks
            .push((device.number, self.disks.clone()));
        Ok(pci_path)
    }
}

fn node(pci_path: String, path: &Path) -> Device {
    Device {
        id: pci_path,
        type_: "blk".to_owned(),
        container_path: path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn owned_by(group_id: u32) -> FSGroup {
    FSGroup {
        group_id,
        group_change_policy: FSGroupChangePolicy::OnRootMismatch.into(),
        ..Default::default()
    }
}

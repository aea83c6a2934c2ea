//! A VM that takes any disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use hypervisors::{AgentChannel, DiskSpec, NetSpec, PciPath, Result, Vm, VmExit, VmmProcess};
use system::sync::Mutex;

pub(super) struct FakeVm {
    channel: AgentChannel,
    pub(super) disks: Mutex<Vec<(PathBuf, bool)>>,
}

impl FakeVm {
    pub(super) fn new() -> Arc<Self> {
        let channel = AgentChannel::VirtioSerial("/none".into());
        Arc::new(Self {
            channel,
            disks: Mutex::default(),
        })
    }
}
#[async_trait]
impl Vm for FakeVm {
    fn process(&self) -> VmmProcess {
        VmmProcess {
            pid: 1,
            start_time: 1,
        }
    }

    fn agent_channel(&self) -> &AgentChannel {
        &self.channel
    }

    fn log_socket(&self) -> Option<&Path> {
        None
    }

    async fn origin(&self) -> Result<String> {
        Ok("made up".to_owned())
    }

    async fn pause(&self) -> Result<()> {
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        Ok(())
    }

    async fn save(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    async fn add_disk(&self, disk: &DiskSpec) -> Result<PciPath> {
        self.disks.lock().push((disk.path.clone(), disk.read_only));
        Ok("02/00".parse().unwrap())
    }

    async fn remove_disk(&self, id: &str) -> Result<()> {
        assert!(id.starts_with("vol-"));
        self.disks.lock().pop();
        Ok(())
    }

    async fn add_net(&self, _: NetSpec) -> Result<PciPath> {
        Ok("03/00".parse().unwrap())
    }

    async fn wait(&self) -> VmExit {
        std::future::pending().await
    }

    async fn kill(&self) -> Result<()> {
        Ok(())
    }
}

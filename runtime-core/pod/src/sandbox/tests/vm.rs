//! A VM that is nothing but its promises.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use hypervisors::{
    AgentChannel, DiskSpec, Error, NetSpec, PciPath, Result, Vm, VmExit, VmmProcess,
};
use system::sync::Mutex;
use tokio::sync::watch;

pub(super) const PID: u32 = 4242;

pub(super) struct FakeVm {
    channel: AgentChannel,
    pub(super) disks: Mutex<Vec<String>>,
    /// What slots were filled, in the order of filling.
    pub(super) filled: Mutex<Vec<u32>>,
    /// What it was asked to grow to, in the order of asking.
    pub(super) growth: Mutex<Vec<String>>,
    /// It refuses to grow.
    pub(super) stiff: Mutex<bool>,
    ended: watch::Sender<bool>,
}

impl FakeVm {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            channel: AgentChannel::VirtioSerial("/none".into()),
            disks: Mutex::default(),
            filled: Mutex::default(),
            growth: Mutex::default(),
            stiff: Mutex::default(),
            ended: watch::Sender::new(false),
        })
    }

    /// The VMM is gone, as after `kill -9`.
    pub(super) fn die(&self) {
        self.ended.send_replace(true);
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.ended.borrow()
    }

    fn grow(&self, wish: String) -> Result<()> {
        if *self.stiff.lock() {
            return Err(Error::Refused {
                request: wish,
                reason: "it is stiff".to_owned(),
            });
        }
        self.growth.lock().push(wish);
        Ok(())
    }

    pub(super) fn disks(&self) -> Vec<String> {
        self.disks.lock().clone()
    }
}

#[async_trait]
impl Vm for FakeVm {
    fn process(&self) -> VmmProcess {
        VmmProcess {
            pid: PID,
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
        self.disks.lock().push(disk.id.clone());
        Ok("02/00".parse().unwrap())
    }

    async fn remove_disk(&self, id: &str) -> Result<()> {
        self.disks.lock().retain(|disk| disk != id);
        Ok(())
    }

    fn disk_slot(&self, slot: u32) -> Option<PciPath> {
        format!("{:02x}", 6 + slot).parse().ok()
    }

    async fn fill_slot(&self, slot: u32, _: &Path) -> Result<()> {
        self.filled.lock().push(slot);
        Ok(())
    }

    async fn add_net(&self, _: NetSpec) -> Result<PciPath> {
        Ok("03/00".parse().unwrap())
    }

    async fn resize_vcpus(&self, vcpus: u32) -> Result<()> {
        self.grow(format!("{vcpus} vCPUs"))
    }

    async fn resize_memory(&self, mib: u32) -> Result<u32> {
        self.grow(format!("{mib} MiB")).map(|()| mib)
    }

    async fn wait(&self) -> VmExit {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        VmExit {
            code: Some(137),
            last_words: "killed".to_owned(),
        }
    }

    async fn kill(&self) -> Result<()> {
        self.die();
        Ok(())
    }
}

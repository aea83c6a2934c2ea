//! A real VMM that gets into trouble while it restores, and never while it boots.

#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

pub mod damage;

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use hypervisors::{
    AgentChannel, Capabilities, DiskSpec, Hypervisor, Identity, NetSpec, PciPath, Result, Vm,
    VmExit, VmSpec, VmmProcess, qemu::Qemu,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Guest, GuestFault};

/// What happens to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The state is cut after the start has checked it.
    StateCutWhileRestoring,
    KilledWhileLoading,
    StoppedWhileLoading,
    KilledAfterResume,
    /// The guest behind the channel is another one, with a fault.
    Guest(GuestFault),
}

pub struct Faulty<'a> {
    qemu: &'a Qemu,
    trouble: Option<Trouble>,
}

impl<'a> Faulty<'a> {
    pub fn new(qemu: &'a Qemu, trouble: Option<Trouble>) -> Self {
        Self { qemu, trouble }
    }
}

#[async_trait]
impl Hypervisor for Faulty<'_> {
    fn capabilities(&self) -> &Capabilities {
        self.qemu.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.qemu.identity()
    }

    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>> {
        self.qemu.boot(spec).await
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        match self.trouble {
            Some(Trouble::StateCutWhileRestoring) => {
                let state = OpenOptions::new()
                    .write(true)
                    .open(saved.join("state"))
                    .unwrap();
                state.set_len(state.metadata().unwrap().len() / 2).unwrap();
            }
            Some(Trouble::KilledWhileLoading) => {
                return signalled(self.qemu, spec, saved, Signal::KILL).await;
            }
            Some(Trouble::StoppedWhileLoading) => {
                return signalled(self.qemu, spec, saved, Signal::STOP).await;
            }
            _ => {}
        }
        let vm = self.qemu.restore(spec, saved).await?;
        let guest = match self.trouble {
            Some(Trouble::Guest(fault)) => {
                let socket = spec.run_dir.join("faulty.sock");
                let guest = Guest::listen(&socket, Some(fault));
                Some((guest, AgentChannel::VirtioSerial(socket)))
            }
            _ => None,
        };
        Ok(Arc::new(FaultyVm {
            vm,
            guest,
            dies: self.trouble == Some(Trouble::KilledAfterResume),
        }))
    }
}

/// Restores, and sends a signal to the VMM as soon as it has opened the state.
async fn signalled(
    qemu: &Qemu,
    spec: &VmSpec,
    saved: &Path,
    signal: Signal,
) -> Result<Arc<dyn Vm>> {
    let (mine, state) = (spec.run_dir.clone(), saved.join("state"));
    let over = Arc::new(AtomicBool::new(false));
    let watched = over.clone();
    let watcher = thread::spawn(move || {
        while !watched.load(Ordering::Relaxed) {
            match vmm_that_holds(&state, &mine) {
                Some(pid) => return kill_process(pid, signal).unwrap(),
                None => thread::yield_now(),
            }
        }
    });
    // Dropped with the future when the timeout is over first.
    let _end = End(over);
    let restored = qemu.restore(spec, saved).await;
    drop(watcher);
    restored
}

struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn vmm_that_holds(state: &Path, run_dir: &Path) -> Option<Pid> {
    let mine = run_dir.to_str()?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        if !String::from_utf8_lossy(&line).contains(mine) {
            return None;
        }
        let mut files = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        let holds =
            files.any(|fd| fs::read_link(fd.path()).is_ok_and(|path: PathBuf| path == state));
        holds.then(|| Pid::from_raw(pid)).flatten()
    })
}

struct FaultyVm {
    vm: Arc<dyn Vm>,
    guest: Option<(Guest, AgentChannel)>,
    dies: bool,
}

impl Drop for FaultyVm {
    fn drop(&mut self) {
        if let Some((guest, _)) = &self.guest {
            guest.end();
        }
    }
}

#[async_trait]
impl Vm for FaultyVm {
    fn process(&self) -> VmmProcess {
        self.vm.process()
    }

    fn agent_channel(&self) -> &AgentChannel {
        match &self.guest {
            Some((_, channel)) => channel,
            None => self.vm.agent_channel(),
        }
    }

    fn log_socket(&self) -> Option<&Path> {
        self.vm.log_socket()
    }

    async fn origin(&self) -> Result<String> {
        self.vm.origin().await
    }

    async fn pause(&self) -> Result<()> {
        self.vm.pause().await
    }

    async fn resume(&self) -> Result<()> {
        self.vm.resume().await?;
        if self.dies {
            let pid = Pid::from_raw(self.process().pid.cast_signed()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        Ok(())
    }

    async fn save(&self, dir: &Path) -> Result<()> {
        self.vm.save(dir).await
    }

    async fn add_disk(&self, disk: &DiskSpec) -> Result<PciPath> {
        self.vm.add_disk(disk).await
    }

    async fn remove_disk(&self, id: &str) -> Result<()> {
        self.vm.remove_disk(id).await
    }

    async fn add_net(&self, net: NetSpec) -> Result<PciPath> {
        self.vm.add_net(net).await
    }

    async fn wait(&self) -> VmExit {
        self.vm.wait().await
    }

    async fn kill(&self) -> Result<()> {
        self.vm.kill().await
    }
}

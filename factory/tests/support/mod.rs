//! A monitor and a guest made of this process, with faults to order.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

mod guest;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use factory::{Budgets, InitOptions, TemplateStore};
use hypervisors::{
    AgentChannel, Capabilities, DiskSpec, Error, GuestRoot, Hypervisor, Identity, KernelSpec,
    MemoryBacking, MemorySpec, NetSpec, PciPath, Result, SavedForm, Vm, VmExit, VmSpec, VmmProcess,
};
use slog::{Discard, Logger, o};
use system::sync::Mutex;
use tokio::sync::watch;

pub use guest::{Guest, GuestFault};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    BootRefused,
    BootDies,
    BootedGuest(GuestFault),
    SaveRefused,
    SecondSaveRefused,
    LoadRefused,
    LoadHangs,
    DiesWhileLoading,
    ResumeRefused,
    DiesAfterResume,
    RestoredGuest(GuestFault),
    CannotRestore,
}

pub struct FakeHypervisor {
    identity: Identity,
    capabilities: Capabilities,
    fault: Option<Fault>,
    /// VMs that were made and not ended.
    pub alive: Arc<AtomicUsize>,
    /// Memory backings VMs were made with.
    pub backings: Mutex<Vec<MemoryBacking>>,
    /// What VMs were made from.
    pub specs: Mutex<Vec<VmSpec>>,
    /// Command lines VMs were booted with.
    pub command_lines: Mutex<Vec<String>>,
    /// The configuration that the last VM was restored from.
    pub restored: Mutex<serde_json::Value>,
}

/// Everything a test needs, in a directory that goes with it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: TemplateStore,
    pub spec: VmSpec,
    pub log: Logger,
    /// What the monitors of this bench write when they save.
    pub saved_form: SavedForm,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        file("vmm");
        let run_dir = dir.path().join("run");
        std::fs::create_dir(&run_dir).unwrap();
        let spec = VmSpec {
            id: "pod".into(),
            run_dir,
            vcpus: 1,
            max_vcpus: 1,
            memory: MemorySpec {
                mib: 4,
                max_mib: 4,
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: file("kernel"),
                root: GuestRoot::Initrd(file("initrd")),
                command_line: "quiet".into(),
            },
            netns: None,
            slots: hypervisors::DiskSlots::default(),
            nic: None,
        };
        let store = TemplateStore::at(dir.path().join("vm/template"));
        Self {
            dir,
            store,
            spec,
            log: Logger::root(Discard, o!()),
            saved_form: SavedForm::State,
        }
    }

    pub fn hypervisor(&self, fault: Option<Fault>) -> FakeHypervisor {
        FakeHypervisor {
            identity: Identity {
                vmm: "fake",
                binary: self.dir.path().join("vmm"),
                version: "1".into(),
                machine: hypervisors::Machine::default(),
                cpu: "none".into(),
            },
            capabilities: Capabilities {
                vcpu_hotplug: false,
                memory_hotplug_beside_file: false,
                disk_slots: true,
                private_file_restore: fault != Some(Fault::CannotRestore),
                saved_form: self.saved_form,
            },
            fault,
            alive: Arc::default(),
            backings: Mutex::default(),
            specs: Mutex::default(),
            command_lines: Mutex::default(),
            restored: Mutex::default(),
        }
    }

    pub async fn init(
        &self,
        fault: Option<Fault>,
        replace: bool,
    ) -> Result<(), factory::InitError> {
        let hypervisor = self.hypervisor(fault);
        let options = InitOptions {
            replace,
            agent_deadline: Duration::from_millis(500),
        };
        let never = std::future::pending();
        let made = factory::init(
            &self.store,
            &hypervisor,
            std::slice::from_ref(&self.spec),
            &options,
            &|_, _| {},
            never,
            &self.log,
        )
        .await;
        assert_eq!(
            hypervisor.alive.load(Ordering::SeqCst),
            0,
            "a source VM was left"
        );
        made.map(drop)
    }

    pub async fn start(&self, hypervisor: &FakeHypervisor) -> factory::Started {
        let plan = factory::choose(true, &self.store, hypervisor, &self.spec).await;
        factory::start(plan, hypervisor, &self.spec, budgets(), &self.log)
            .await
            .unwrap()
    }

    pub fn template_dir(&self) -> PathBuf {
        let templates = self.store.list().unwrap();
        templates[0].as_ref().unwrap().dir().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failed test must not leave its mount.
        let path = self.store.path();
        let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
    }
}

pub fn budgets() -> Budgets {
    Budgets {
        restore: Duration::from_millis(500),
        agent: Duration::from_secs(2),
        stretch: 1,
    }
}

/// Whether mounts can be made. Says so loudly where not.
pub fn can_mount() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: templates need root, to mount a tmpfs");
    }
    root
}

impl FakeHypervisor {
    fn vm(&self, spec: &VmSpec, origin: &'static str, guest: Option<GuestFault>) -> FakeVm {
        self.alive.fetch_add(1, Ordering::SeqCst);
        self.backings.lock().push(spec.memory.backing.clone());
        self.specs.lock().push(spec.clone());
        let socket = spec.run_dir.join("agent.sock");
        let (ended, _) = watch::channel(false);
        FakeVm {
            guest: Guest::listen(&socket, guest),
            channel: AgentChannel::VirtioSerial(socket),
            origin,
            fault: self.fault,
            ended,
            config: self.config(spec),
            made_before: self.specs.lock().len() - 1,
            alive: self.alive.clone(),
        }
    }

    /// A configuration as Cloud Hypervisor saves it.
    fn config(&self, spec: &VmSpec) -> Option<String> {
        let MemoryBacking::File { path, shared } = &spec.memory.backing else {
            return None;
        };
        let size = u64::from(spec.memory.mib) << 20;
        let config = serde_json::json!({
            "memory": {"size": 0, "shared": shared, "zones": [
                {"id": "mem0", "size": size, "file": path, "shared": shared},
            ]},
            "vsock": {"cid": 3, "socket": spec.run_dir.join("clh.sock")},
            "unknown": {"kept": true},
        });
        (self.capabilities.saved_form == SavedForm::WithConfig).then(|| config.to_string())
    }

    fn guest_fault(&self, restored: bool) -> Option<GuestFault> {
        match self.fault {
            Some(Fault::BootedGuest(fault)) if !restored => Some(fault),
            Some(Fault::RestoredGuest(fault)) if restored => Some(fault),
            _ => None,
        }
    }
}

fn refused(request: &str) -> Error {
    Error::Refused {
        request: request.into(),
        reason: "ordered by the test".into(),
    }
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>> {
        if self.fault == Some(Fault::BootRefused) {
            return Err(refused("boot"));
        }
        if let MemoryBacking::File { path, .. } = &spec.memory.backing {
            let memory = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_at(&memory, b"guest memory", 8192).unwrap();
        }
        self.command_lines
            .lock()
            .push(spec.kernel.command_line.clone());
        let vm = self.vm(spec, "booted", self.guest_fault(false));
        if self.fault == Some(Fault::BootDies) {
            vm.end();
        }
        Ok(Arc::new(vm))
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        match self.fault {
            Some(Fault::LoadRefused) => return Err(refused("load")),
            Some(Fault::LoadHangs) => std::future::pending().await,
            Some(Fault::DiesWhileLoading) => {
                let last_words = "Section 7 unknown".into();
                return Err(Error::Exited {
                    during: "load",
                    last_words,
                });
            }
            _ => {}
        }
        match self.capabilities.saved_form {
            SavedForm::State => {
                assert_eq!(std::fs::read(saved.join("state")).unwrap(), b"state");
            }
            SavedForm::WithConfig => {
                assert_eq!(std::fs::read(saved.join("state.json")).unwrap(), b"state");
                let config = std::fs::read(saved.join("config.json")).unwrap();
                *self.restored.lock() = serde_json::from_slice(&config).unwrap();
            }
        }
        Ok(Arc::new(self.vm(spec, "loaded", self.guest_fault(true))))
    }
}

pub struct FakeVm {
    guest: Guest,
    channel: AgentChannel,
    origin: &'static str,
    fault: Option<Fault>,
    /// What is saved beside the state.
    config: Option<String>,
    ended: watch::Sender<bool>,
    made_before: usize,
    alive: Arc<AtomicUsize>,
}

impl FakeVm {
    fn end(&self) {
        if !self.ended.send_replace(true) {
            self.guest.end();
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Vm for FakeVm {
    fn process(&self) -> VmmProcess {
        VmmProcess {
            pid: u32::MAX,
            start_time: 0,
        }
    }

    fn agent_channel(&self) -> &AgentChannel {
        &self.channel
    }

    fn log_socket(&self) -> Option<&Path> {
        None
    }

    async fn origin(&self) -> Result<String> {
        Ok(self.origin.into())
    }

    async fn pause(&self) -> Result<()> {
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        match self.fault {
            Some(Fault::ResumeRefused) => Err(refused("resume")),
            Some(Fault::DiesAfterResume) => {
                self.end();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn save(&self, dir: &Path) -> Result<()> {
        let second = self.made_before > 0;
        if self.fault == Some(Fault::SaveRefused)
            || self.fault == Some(Fault::SecondSaveRefused) && second
        {
            return Err(refused("save"));
        }
        match &self.config {
            None => std::fs::write(dir.join("state"), b"state").unwrap(),
            Some(config) => {
                std::fs::write(dir.join("state.json"), b"state").unwrap();
                std::fs::write(dir.join("config.json"), config).unwrap();
            }
        }
        Ok(())
    }

    async fn add_disk(&self, _: &DiskSpec) -> Result<PciPath> {
        Err(refused("disk"))
    }

    async fn remove_disk(&self, _: &str) -> Result<()> {
        Err(refused("disk"))
    }

    async fn add_net(&self, _: NetSpec) -> Result<PciPath> {
        Err(refused("net"))
    }

    async fn wait(&self) -> VmExit {
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| *ended).await.unwrap();
        VmExit {
            code: Some(1),
            last_words: "Kernel not PVH".into(),
        }
    }

    async fn kill(&self) -> Result<()> {
        self.end();
        Ok(())
    }
}

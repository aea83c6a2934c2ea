//! A VMM and a guest made of this process, with faults to order.

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
use factory::{
    NewTemplates, TemplateStore,
    start::{FirstImage, Request, Start, StartError, Started, Survey, Timeline, Timeouts},
};
use hypervisors::{
    AgentChannel, Capabilities, DiskSpec, Error, GuestRoot, Hypervisor, Identity, KernelSpec,
    MemoryBacking, MemorySpec, NetSpec, PciPath, Result, Vm, VmExit, VmSpec, VmmProcess,
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
    GrowRefused,
    /// Loading and booting.
    AllRefused,
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
    /// What VMs grew to.
    pub growth: Arc<Mutex<Vec<String>>>,
}

/// Everything a test needs, in a directory that goes with it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: TemplateStore,
    pub spec: VmSpec,
    pub log: Logger,
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
                vcpu_hotplug: true,
                memory_hotplug_beside_file: true,
                disk_slots: true,
                private_file_restore: fault != Some(Fault::CannotRestore),
            },
            fault,
            alive: Arc::default(),
            backings: Mutex::default(),
            specs: Mutex::default(),
            command_lines: Mutex::default(),
            growth: Arc::default(),
        }
    }

    pub async fn init(
        &self,
        fault: Option<Fault>,
        replace: bool,
    ) -> Result<(), factory::InitError> {
        let hypervisor = self.hypervisor(fault);
        let new = NewTemplates {
            replace,
            ..self.templates(&hypervisor)
        };
        let made = factory::init(new, &|_, _| {}, std::future::pending()).await;
        assert_eq!(
            hypervisor.alive.load(Ordering::SeqCst),
            0,
            "a source VM was left"
        );
        made.map(drop)
    }

    /// One template, of the VM of this bench.
    pub fn templates<'a>(&'a self, vmm: &'a FakeHypervisor) -> NewTemplates<'a> {
        NewTemplates {
            store: &self.store,
            vmm,
            specs: std::slice::from_ref(&self.spec),
            replace: false,
            agent_timeout: Duration::from_millis(500),
            log: &self.log,
        }
    }

    /// The VM of this bench, where templates are enabled.
    pub fn request(&self) -> Request {
        self.request_of(&self.spec)
    }

    pub fn request_of(&self, spec: &VmSpec) -> Request {
        Request {
            wanted: spec.size(),
            spec: spec.clone(),
            may_grow: true,
            templates: Some(self.store.clone()),
            timeouts: timeouts(),
        }
    }

    pub async fn start(&self, hypervisor: &FakeHypervisor) -> Started {
        self.try_start(&self.request(), hypervisor).await.unwrap()
    }

    pub async fn try_start(
        &self,
        request: &Request,
        hypervisor: &FakeHypervisor,
    ) -> std::result::Result<Started, StartError> {
        let survey = Survey::of(request, hypervisor).await;
        self.run(request, hypervisor, survey).await
    }

    /// Starts the VM of a survey that was made before.
    pub async fn run(
        &self,
        request: &Request,
        vmm: &FakeHypervisor,
        survey: Survey,
    ) -> std::result::Result<Started, StartError> {
        let start = Start {
            request,
            vmm,
            log: &self.log,
        };
        let mut timeline = Timeline::begin();
        start.run(survey, FirstImage::none(), &mut timeline).await
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

pub fn timeouts() -> Timeouts {
    Timeouts {
        restore: Duration::from_millis(500),
        agent: Duration::from_secs(2),
        max_stretch: 1,
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
            made_before: self.specs.lock().len() - 1,
            alive: self.alive.clone(),
            growth: self.growth.clone(),
        }
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
        if matches!(self.fault, Some(Fault::BootRefused | Fault::AllRefused)) {
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
            Some(Fault::LoadRefused | Fault::AllRefused) => return Err(refused("load")),
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
        assert_eq!(std::fs::read(saved.join("state")).unwrap(), b"state");
        Ok(Arc::new(self.vm(spec, "loaded", self.guest_fault(true))))
    }
}

pub struct FakeVm {
    guest: Guest,
    channel: AgentChannel,
    origin: &'static str,
    fault: Option<Fault>,
    ended: watch::Sender<bool>,
    made_before: usize,
    alive: Arc<AtomicUsize>,
    growth: Arc<Mutex<Vec<String>>>,
}

/// As a real one's process.
impl Drop for FakeVm {
    fn drop(&mut self) {
        self.end();
    }
}

impl FakeVm {
    fn grow(&self, to: String) -> Result<()> {
        if self.fault == Some(Fault::GrowRefused) {
            return Err(refused("resize"));
        }
        self.growth.lock().push(to);
        Ok(())
    }

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
        std::fs::write(dir.join("state"), b"state").unwrap();
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

    async fn resize_vcpus(&self, vcpus: u32) -> Result<()> {
        self.grow(format!("{vcpus} vCPUs"))
    }

    async fn resize_memory(&self, mib: u32) -> Result<u32> {
        self.grow(format!("{mib} MiB"))?;
        Ok(mib)
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

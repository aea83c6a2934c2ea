//! A monitor under test, and VMs for it in directories of their own.

use std::{
    fs::{self, OpenOptions},
    os::{fd::AsRawFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hypervisors::{
    AgentChannel, DiskSlots, GuestRoot, Hypervisor, KernelSpec, MemoryBacking, MemorySpec,
    SavedForm, Vm, VmSpec,
    clh::{Clh, ClhConfig, SAVED_CONFIG, SAVED_STATE, SavedConfig},
    qemu::{AcceleratorChoice, Qemu, QemuConfig},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

pub const MIB: u32 = 160;
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);
/// Between two attempts to reach a guest that tells nobody when it is ready.
const RETRY: Duration = Duration::from_millis(50);

pub struct Subject {
    pub hypervisor: Box<dyn Hypervisor>,
    /// Whether guests run here. Where they do not, the monitor's own side is all that is tested.
    runs_guests: bool,
    kernel: PathBuf,
    initrd: PathBuf,
    dir: TempDir,
}

pub fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// A KVM that runs guests: told, because finding out takes longer than a test.
fn kvm() -> bool {
    std::env::var_os("IMPRINT_TEST_KVM").is_some()
}

pub async fn qemu() -> Option<Subject> {
    let accelerator = if kvm() {
        AcceleratorChoice::Kvm
    } else {
        AcceleratorChoice::Tcg
    };
    let config = QemuConfig {
        accelerator,
        ..QemuConfig::default()
    };
    if !config.binary.exists() {
        return skip("QEMU", "its binary is missing");
    }
    let qemu = Qemu::probe(config, &log()).await.unwrap();
    Subject::new("QEMU", Box::new(qemu), true)
}

pub async fn clh() -> Option<Subject> {
    let Some(binary) = clh_binary() else {
        return skip(
            "Cloud Hypervisor",
            "it is neither on the PATH nor named by IMPRINT_TEST_CLH",
        );
    };
    if !Path::new("/dev/kvm").exists() {
        return skip("Cloud Hypervisor", "there is no /dev/kvm");
    }
    let config = ClhConfig {
        binary,
        verbosity: 1,
        ..ClhConfig::default()
    };
    let clh = Clh::probe(config, &log()).await.unwrap();
    Subject::new("Cloud Hypervisor", Box::new(clh), kvm())
}

fn clh_binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("IMPRINT_TEST_CLH") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("cloud-hypervisor"))
        .find(|binary| binary.exists())
}

fn skip(monitor: &str, why: &str) -> Option<Subject> {
    eprintln!("SKIPPED: {monitor}: {why}");
    None
}

/// The sources need not be there, as in the nested machine: no path may lead through them.
fn built_guest() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).join("build/guest")
}

impl Subject {
    fn new(name: &str, hypervisor: Box<dyn Hypervisor>, runs_guests: bool) -> Option<Self> {
        let guest = std::env::var_os("IMPRINT_TEST_GUEST").map_or_else(built_guest, PathBuf::from);
        let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initrd.img"));
        if !kernel.exists() || !initrd.exists() {
            // Where guests are said to run, nothing is passed over in silence.
            assert!(!kvm(), "there is no guest in {}", guest.display());
            return skip(name, "there is no guest in build/guest");
        }
        Some(Self {
            hypervisor,
            runs_guests,
            kernel,
            initrd,
            dir: tempfile::tempdir().unwrap(),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Says whether guests run, and that a step is skipped where they do not.
    pub fn runs_guests(&self, step: &str) -> bool {
        if !self.runs_guests {
            eprintln!("SKIPPED: {step}: no guest was said to run here (IMPRINT_TEST_KVM)");
        }
        self.runs_guests
    }

    /// Says whether a VM can be saved. A KVM that runs no guests may not give out a vCPU's state.
    pub fn saves(&self) -> bool {
        self.runs_guests("what is saved and restored")
    }

    /// A VM of this name with anonymous memory and a run directory.
    pub fn spec(&self, id: &str) -> VmSpec {
        let run_dir = self.path(id);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run_dir)
            .unwrap();
        VmSpec {
            id: self.name(id),
            run_dir,
            vcpus: 1,
            max_vcpus: 1,
            memory: MemorySpec {
                mib: MIB,
                max_mib: MIB,
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: self.kernel.clone(),
                root: GuestRoot::Initrd(self.initrd.clone()),
                command_line: "quiet panic=-1 no_timer_check".into(),
            },
            netns: None,
            slots: DiskSlots::default(),
            nic: None,
        }
    }

    /// The same with its memory in the file `memory`.
    pub fn spec_with_file(&self, id: &str, shared: bool) -> VmSpec {
        let path = self.path("memory");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        file.set_len(u64::from(MIB) << 20).unwrap();
        let mut spec = self.spec(id);
        spec.memory.backing = MemoryBacking::File { path, shared };
        spec
    }

    pub async fn boot(&self, spec: &VmSpec) -> Arc<dyn Vm> {
        let vm = self.hypervisor.boot(spec).await.unwrap();
        self.answer(&*vm).await;
        vm
    }

    /// Pauses, saves and ends a VM.
    pub async fn save(&self, vm: &dyn Vm) -> PathBuf {
        vm.pause().await.unwrap();
        let saved = self.path("saved");
        fs::create_dir(&saved).unwrap();
        vm.save(&saved).await.unwrap();
        vm.kill().await.unwrap();
        saved
    }

    /// A saved VM whose memory is in a file.
    pub async fn template(&self, shape: impl Fn(VmSpec) -> VmSpec) -> PathBuf {
        let spec = shape(self.spec_with_file("template", true));
        let vm = self.boot(&spec).await;
        self.save(&*vm).await
    }

    /// What a VM of `spec` is restored from: the saved files, made to fit where that is needed.
    pub fn fitted(&self, spec: &VmSpec, saved: &Path) -> PathBuf {
        if self.hypervisor.capabilities().saved_form == SavedForm::State {
            return saved.to_owned();
        }
        let dir = self.path(&format!("fitted-{}", spec.id));
        fs::create_dir_all(&dir).unwrap();
        for entry in fs::read_dir(saved).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if name != SAVED_CONFIG {
                let _ = fs::remove_file(dir.join(name));
                std::os::unix::fs::symlink(&path, dir.join(name)).unwrap();
            }
        }
        let config = SavedConfig::parse(&fs::read(saved.join(SAVED_CONFIG)).unwrap()).unwrap();
        let fitted = config.fitted(spec).unwrap();
        fs::write(dir.join(SAVED_CONFIG), fitted.encode().unwrap()).unwrap();
        dir
    }

    /// The file with the monitor's state among the saved ones.
    pub fn state_file(&self) -> &'static str {
        match self.hypervisor.capabilities().saved_form {
            SavedForm::State => "state",
            SavedForm::WithConfig => SAVED_STATE,
        }
    }

    pub async fn restore(&self, spec: &VmSpec, saved: &Path) -> Arc<dyn Vm> {
        let fitted = self.fitted(spec, saved);
        self.hypervisor.restore(spec, &fitted).await.unwrap()
    }

    fn name(&self, id: &str) -> String {
        let dir = self.dir.path().file_name().unwrap().to_string_lossy();
        format!("{}-{id}", dir.trim_start_matches('.'))
    }

    /// What is left in the run directory of `id`.
    pub fn leftovers(&self, id: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(id)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Processes whose command line names a VM or a file of this subject.
    pub fn processes(&self) -> Vec<String> {
        let (dir, name) = (self.dir.path().to_str().unwrap(), self.name(""));
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(dir) || line.contains(&name) {
                found.push(line);
            }
        }
        found
    }

    pub fn assert_nothing_left(&self) {
        assert_eq!(self.processes(), [] as [String; 0]);
    }

    /// Waits until the guest's agent is there, if guests run.
    pub async fn answer(&self, vm: &dyn Vm) {
        if !self.runs_guests {
            return;
        }
        let reached = async {
            match vm.agent_channel() {
                AgentChannel::VirtioSerial(path) => echo(path).await,
                AgentChannel::Vsock { cid } => connect(*cid).await,
                AgentChannel::HybridVsock(path) => connect_hybrid(path).await,
            }
        };
        timeout(ANSWER_DEADLINE, reached)
            .await
            .expect("the guest does not answer");
    }
}

/// Sends a session mark to the agent's port and takes it back.
async fn echo(path: &Path) {
    let mut mark = [0x7e; 17];
    for (index, byte) in mark[1..].iter_mut().enumerate() {
        *byte = b'a' + index as u8;
    }
    let mut agent = UnixStream::connect(path).await.unwrap();
    agent.write_all(&mark).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(mark.len()).any(|window| window == mark) {
        let read = agent.read_buf(&mut seen).await.unwrap();
        assert_ne!(read, 0, "the port was closed");
    }
}

async fn connect(cid: u32) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
    let attempt = move || {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Vsock, SockType::Stream, flags, None).unwrap();
        connect(fd.as_raw_fd(), &VsockAddr::new(cid, 1024)).is_ok()
    };
    while !tokio::task::spawn_blocking(attempt).await.unwrap() {
        pause().await;
    }
}

async fn connect_hybrid(path: &Path) {
    while !timeout(Duration::from_secs(1), accepted(path))
        .await
        .unwrap_or(false)
    {
        pause().await;
    }
}

async fn accepted(path: &Path) -> bool {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(b"CONNECT 1024\n").await.unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.is_ok() && &answer == b"OK"
}

/// There is no event to wait for: a guest tells only who asks whether it listens.
async fn pause() {
    let _ = timeout(RETRY, std::future::pending::<()>()).await;
}

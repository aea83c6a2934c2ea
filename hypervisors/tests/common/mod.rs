//! A real QEMU and a small real guest for tests, in directories of their own.

#![allow(
    dead_code,
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod tap;

use std::{
    fs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hypervisors::{
    AgentChannel, GuestRoot, Hypervisor, KernelSpec, MemoryBacking, MemorySpec, Vm, VmSpec,
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

pub fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// TCG, unless `IMPRINT_TEST_KVM` is set: a machine whose KVM is broken can still test the rest.
pub fn config() -> QemuConfig {
    let accelerator = match std::env::var_os("IMPRINT_TEST_KVM") {
        Some(_) => AcceleratorChoice::Kvm,
        None => AcceleratorChoice::Tcg,
    };
    QemuConfig {
        accelerator,
        ..QemuConfig::default()
    }
}

/// QEMU and a guest, or `None` and a word about it when the machine has none.
pub async fn bench() -> Option<Bench> {
    bench_with(config()).await
}

pub async fn bench_with(config: QemuConfig) -> Option<Bench> {
    let guest = std::env::var_os("IMPRINT_TEST_GUEST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/guest"),
        PathBuf::from,
    );
    let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initrd.img"));
    for needed in [&config.binary, &kernel, &initrd] {
        if !needed.exists() {
            eprintln!("SKIPPED: {} is missing", needed.display());
            return None;
        }
    }
    let qemu = Qemu::probe(config, &log()).await.unwrap();
    Some(Bench {
        qemu,
        kernel,
        initrd,
        dir: tempfile::tempdir().unwrap(),
    })
}

pub struct Bench {
    pub qemu: Qemu,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub dir: TempDir,
}

impl Bench {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A VM of this name with anonymous memory and a run directory.
    pub fn spec(&self, id: &str) -> VmSpec {
        let run_dir = self.path(id);
        fs::create_dir_all(&run_dir).unwrap();
        VmSpec {
            id: id.to_owned(),
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
            slots: hypervisors::DiskSlots::default(),
            nic: None,
        }
    }

    /// The same with its memory in the file `memory`.
    pub fn spec_with_file(&self, id: &str, shared: bool) -> VmSpec {
        let path = self.path("memory");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        file.set_len(u64::from(MIB) << 20).unwrap();
        let mut spec = self.spec(id);
        spec.memory.backing = MemoryBacking::File { path, shared };
        spec
    }

    /// A VM saved into the directory `saved` after its guest answered; it is gone.
    pub async fn template(&self) -> PathBuf {
        let vm = self
            .qemu
            .boot(&self.spec_with_file("template", true))
            .await
            .unwrap();
        answer(&*vm).await;
        vm.pause().await.unwrap();
        let saved = self.path("saved");
        fs::create_dir(&saved).unwrap();
        vm.save(&saved).await.unwrap();
        vm.kill().await.unwrap();
        saved
    }

    /// What is left in the run directory of `id`.
    pub fn leftovers(&self, id: &str) -> Vec<PathBuf> {
        fs::read_dir(self.path(id))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    /// Pids of processes that were started with this bench's directory in an argument.
    pub fn processes(&self) -> Vec<String> {
        let mine = self.dir.path().to_str().unwrap();
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(mine) {
                pids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        pids
    }
}

/// Waits until the guest's agent is there.
pub async fn answer(vm: &dyn Vm) {
    let reached = async {
        match vm.agent_channel() {
            AgentChannel::VirtioSerial(path) => echo(path).await,
            AgentChannel::Vsock { cid } => connect(*cid).await,
            AgentChannel::HybridVsock(_) => panic!("QEMU has no hybrid vsock"),
        }
    };
    timeout(ANSWER_DEADLINE, reached)
        .await
        .expect("the guest does not answer");
}

/// Sends a session mark to the agent's port and takes it back: the guest is up and its
/// virtio-serial port works in both directions.
async fn echo(path: &Path) {
    let mut mark = [0x7e; 17];
    for (index, byte) in mark[1..].iter_mut().enumerate() {
        *byte = b'a' + index as u8;
    }
    let mut agent = UnixStream::connect(path).await.unwrap();
    agent.write_all(&mark).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(mark.len()).any(|window| window == mark) {
        assert_ne!(
            agent.read_buf(&mut seen).await.unwrap(),
            0,
            "the port was closed"
        );
    }
}

/// Connects to the agent's vsock port. There is no event to wait for: the host's kernel tells only
/// who asks whether the guest listens, and waits up to 2 s before it says no.
async fn connect(cid: u32) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
    let attempt = move || {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Vsock, SockType::Stream, flags, None).unwrap();
        connect(fd.as_raw_fd(), &VsockAddr::new(cid, 1024)).is_ok()
    };
    while !tokio::task::spawn_blocking(attempt).await.unwrap() {
        let _ = timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
    }
}

pub async fn restore(bench: &Bench, id: &str, saved: &Path) -> Arc<dyn Vm> {
    bench
        .qemu
        .restore(&bench.spec_with_file(id, false), saved)
        .await
        .unwrap()
}
